"""How good both stages are beside what people would use instead: full ranking, one split for all.

The cell ``twofold`` learns both stages and ranks with every source, stage one, rerankers that read
its features alone, and stage two. Each peer is searched on validation, a trial a cell, and ranks
the test once with the best of its trials. Lists of every system are kept, and cells ``pairs`` set
ours beside them, user by user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from benchmarks.data.datasets import BEAUTY, COMPLETE_JOURNEY, IFDB, MOVIELENS, ONLINE_RETAIL
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.peers.all import peers_of, sources_of
from benchmarks.peers.cross_encoder import USERS
from benchmarks.peers.task import Peer
from benchmarks.stands.held_out import HeldOut, final_of, split_of, validation_of
from benchmarks.stands.ours import Ours
from benchmarks.stands.pairing import Pairs
from benchmarks.stands.searched import TRIALS, Best, Trial
from benchmarks.suites.quality_cross_encoder import cross_encoder_cells
from twofold.evaluation.leaks import checked_known
from twofold.indexing.errors import LeakError
from twofold.settings import Settings

OURS, PAIRS, LEAKS = "twofold", "pairs", "leaks"
CUTS = ("indexing/splits.py", "indexing/holding_out.py")
MEASURES = (
    *("evaluation/metrics.py", "evaluation/quality.py", "evaluation/intervals.py"),
    *("evaluation/exposure.py", "evaluation/serendipity.py", "evaluation/surroundings.py"),
    *("benchmarks/stands/held_out.py", "benchmarks/stands/kept_lists.py"),
    "twofold/held_out_queries.py",
)
SEARCHES = (*CUTS, *MEASURES, "benchmarks/stands/searched.py")
LEARNS = (
    *("indexing", "retrieval", "ranking", "evaluation", "twofold/learning.py"),
    *("twofold/lessons.py", "twofold/evaluate.py", "twofold/systems.py"),
    *("twofold/held_out_queries.py", "benchmarks/stands/ours.py"),
    "benchmarks/stands/kept_lists.py",
)
PAIRING = (
    *("benchmarks/stands/pairing.py", "benchmarks/stands/kept_lists.py", "evaluation/metrics.py"),
    *("evaluation/significance.py", "evaluation/intervals.py"),
)
# What a peer is given: the data, and the queries of a test.
ASKED = ("data", "seed", "threads", "stage_one.max_history", "stage_one.repeat")
QUICK_USERS, QUICK_PEERS, QUICK_TRIALS = 200, ("popularity", "implicit ALS", "buy again"), 1
QUICK = (
    *("windows=1", "ranker.rerank=20", "ranker.training.max_epochs=1"),
    *("ranker.training.negatives=7", "ranker.training.max_lists=64"),
)


def _cells(plan: Plan) -> list[Cell]:
    """Return the guard against leaks, ours, and each peer's trials, test and pair with ours."""
    stand = _Stand(plan)
    settings = stand.settings
    cells = [
        Cell(LEAKS, stand.leaks, settings, reads=ASKED, sources=("evaluation/leaks.py", *CUTS)),
        Cell(OURS, Ours(plan, settings, stand.most), settings, sources=LEARNS, keeps=True),
        Cell(PAIRS, Pairs(OURS), settings, reads=("seed",), sources=PAIRING, needs=(OURS,)),
    ]
    for peer in stand.peers:
        cells += stand.of_peer(peer)
    if not plan.quick:
        cells += cross_encoder_cells(plan, settings, OURS, n_users=USERS)
    return cells


@dataclass(frozen=True)
class _Stand:
    """What the cells of one data set share; made when a cell first asks for it."""

    plan: Plan

    @cached_property
    def settings(self) -> Settings:
        return self.plan.settings(*(QUICK if self.plan.quick else ()))

    @property
    def most(self) -> int | None:
        return QUICK_USERS if self.plan.quick else None

    @cached_property
    def peers(self) -> tuple[Peer, ...]:
        dataset = self.plan.dataset
        found = peers_of(
            self.settings.stage_one.repeat, len(dataset.texts), has_times=dataset.has_times
        )
        return tuple(one for one in found if not self.plan.quick or one.name in QUICK_PEERS)

    @cached_property
    def _validation(self) -> HeldOut:
        return validation_of(self.plan, self.settings, most=self.most)

    @cached_property
    def _test(self) -> HeldOut:
        return final_of(self.plan, self.settings, most=self.most)

    def of_validation(self) -> HeldOut:
        """Return what peers are searched on."""
        return self._validation

    def of_test(self) -> HeldOut:
        """Return what they are measured on."""
        return self._test

    def leaks(self, place: Place) -> Iterator[Row]:
        """Tell where what is known ends, and that a leak put there on purpose is found."""
        for part, held in (("validation", self._validation), ("test", self._test)):
            yield {
                "kind": "leaks",
                "part": part,
                "split": split_of(self.plan).name,
                **asdict(held.border),
                "planted_leak_found": self._planted(),
            }

    def _planted(self) -> bool:
        """Return whether one tested interaction among the known ones is noticed."""
        dataset, split = self.plan.dataset, split_of(self.plan)
        known = split.known_at_test.copy()
        known[np.flatnonzero(split.test)[0]] = True
        try:
            checked_known(
                dataset.interactions,
                known,
                split.test,
                has_times=dataset.has_times,
                by_time=split.name == "global-time",
            )
        except LeakError:
            return True
        return False

    def of_peer(self, peer: Peer) -> list[Cell]:
        """Return a peer's cells: its trials, the best of them on the test, and beside ours."""
        sources = (*SEARCHES, *sources_of(peer))
        grid = peer.grid[: QUICK_TRIALS if self.plan.quick else TRIALS]
        trials: list[Cell] = []
        for number, one in enumerate(grid):
            before = tuple(cell.name for cell in trials)
            trials.append(
                Cell(
                    f"{peer.name}: trial {number + 1}",
                    Trial(self.of_validation, peer, one, before),
                    self.settings,
                    also={"peer": dict(one)},
                    reads=ASKED,
                    sources=sources,
                    needs=before,
                )
            )
        names = tuple(cell.name for cell in trials)
        last = Cell(
            peer.name,
            Best(self.of_test, split_of(self.plan).name, peer, names),
            self.settings,
            reads=ASKED,
            sources=sources,
            needs=names,
            keeps=True,
        )
        paired = Cell(
            f"{PAIRS}: {peer.name}",
            Pairs(OURS, peer.name),
            self.settings,
            reads=("seed",),
            sources=PAIRING,
            needs=(OURS, peer.name),
        )
        return [*trials, last, paired]


QUALITY = Suite(
    "quality",
    "how good both stages are beside peers: full ranking, one split for all",
    _cells,
    (MOVIELENS, BEAUTY, IFDB, ONLINE_RETAIL, COMPLETE_JOURNEY),
)
