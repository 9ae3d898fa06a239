"""How good both stages are beside what people would use instead: full ranking, one split for all.

The cell ``twofold`` learns both stages and ranks with every source, stage one, rerankers that read
its features alone, and stage two. Each peer is searched on validation, a trial a cell, and ranks
the test once with the best of its trials. Lists of every system are kept, and ``pairs`` compares
them user by user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.data.datasets import BEAUTY, COMPLETE_JOURNEY, IFDB, MOVIELENS, ONLINE_RETAIL
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.peers.all import peers_of, sources_of
from benchmarks.peers.cross_encoder import USERS
from benchmarks.peers.task import Peer
from benchmarks.stands.held_out import DEPTH, HeldOut, final_of, split_of, validation_of
from benchmarks.stands.kept_lists import arrays_of, lists_of
from benchmarks.stands.pairing import paired_rows
from benchmarks.suites.quality_cross_encoder import cross_encoder_cells
from twofold.cache import cache_folder
from twofold.evaluate import evaluate
from twofold.evaluation.leaks import checked_known
from twofold.evaluation.metrics import Truth
from twofold.evaluation.quality import Ranked, measure_users, quality_rows
from twofold.evaluation.report import Row as Found
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.errors import LeakError
from twofold.ranking.members import Workplace
from twofold.settings import Settings
from twofold.systems import FUSED, RERANKED

KS = (5, 10, 20)
TRIALS, MINUTES = 8, 20.0  # what a peer's search may take on each data set
OURS, PAIRS, LEAKS = "twofold", "pairs", "leaks"
MEASURES = (
    *(
        "indexing/splits.py",
        "indexing/holding_out.py",
        "evaluation",
        "benchmarks/stands/held_out.py",
    ),
    *("benchmarks/stands/kept_lists.py", "benchmarks/suites/quality.py"),
)
LEARNERS = ("indexing", "retrieval", "ranking", "twofold/learning.py", "twofold/lessons.py")
QUICK_USERS, QUICK_PEERS, QUICK_TRIALS = 200, ("popularity", "implicit ALS", "buy again"), 1
QUICK = (
    *("windows=1", "ranker.rerank=20", "ranker.training.max_epochs=1"),
    *("ranker.training.negatives=7", "ranker.training.max_lists=64"),
)


def _cells(plan: Plan) -> list[Cell]:
    """Return the guard against leaks, ours, each peer's trials and its test, and the pairs."""
    stand = _Stand(plan)
    settings = stand.settings
    cells = [
        Cell(LEAKS, stand.leaks, settings, sources=("evaluation/leaks.py", "indexing/splits.py")),
        Cell(
            OURS,
            stand.ours,
            settings,
            sources=(*MEASURES, *LEARNERS, "twofold/evaluate.py", "twofold/systems.py"),
            keeps=True,
        ),
    ]
    names = [OURS]
    for peer in stand.peers:
        cells += stand.of_peer(peer)
        names.append(peer.name)
    if not plan.quick:
        cells += cross_encoder_cells(plan, settings, OURS, n_users=USERS)
    return [*cells, Cell(PAIRS, stand.pairs(names), settings, sources=MEASURES, needs=tuple(names))]


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
    def validation(self) -> HeldOut:
        return validation_of(self.plan, self.settings, most=self.most)

    @cached_property
    def test(self) -> HeldOut:
        return final_of(self.plan, self.settings, most=self.most)

    def leaks(self, place: Place) -> Iterator[Row]:
        """Tell where what is known ends, and that a leak put there on purpose is found."""
        for part, held in (("validation", self.validation), ("test", self.test)):
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
                repeat=self.settings.stage_one.repeat,
            )
        except LeakError:
            return True
        return False

    def ours(self, place: Place) -> Iterator[Row]:
        """Learn both stages, rank the test with everything, and keep the lists."""
        data = self.plan.data
        found = evaluate(
            data.interactions,
            data.items,
            self.settings,
            protocol=data.protocol,
            n=data.n_labels,
            ks=KS,
            name=data.name,
            quick=self.plan.quick,
            most=self.most,
            cache=cache_folder() / "benchmarks",
            work=Workplace(place.folder, place.fingerprint, progress=self.plan.progress),
            progress=self.plan.progress,
        )
        place.keep(arrays_of(found.lists, found.truth, self.test.task.users))
        split = found.circumstances.split
        for row in found.rows:
            kind = "latency" if row.latency_ms else "quality"
            kind = "ceiling" if "recall@all" in row.metrics else kind
            yield _told(row, kind, split)
        for row in found.slices:
            yield _told(row, "slice", split)
        n_users = max(row.n_users for row in found.rows)
        yield _told(
            Found("probabilities", "all", n_users, found.probabilities), "probabilities", split
        )
        yield {"kind": "learned", "system": RERANKED, "about": found.learned}

    def of_peer(self, peer: Peer) -> list[Cell]:
        """Return a peer's cells: its trials on validation, and the best of them on the test."""
        sources = (*MEASURES, *sources_of(peer))
        grid = peer.grid[: QUICK_TRIALS if self.plan.quick else TRIALS]
        trials: list[Cell] = []
        for number, one in enumerate(grid):
            before = tuple(cell.name for cell in trials)
            trials.append(
                Cell(
                    f"{peer.name}: trial {number + 1}",
                    _Trial(self, peer, one, before),
                    self.settings,
                    also={"peer": dict(one)},
                    sources=sources,
                    needs=before,
                )
            )
        names = tuple(cell.name for cell in trials)
        last = Cell(
            peer.name,
            _Best(self, peer, names),
            self.settings,
            sources=sources,
            needs=names,
            keeps=True,
        )
        return [*trials, last]

    def pairs(self, cells: list[str]) -> _Pairs:
        return _Pairs(cells)


@dataclass(frozen=True)
class _Trial:
    """One setting of a peer on validation, unless its search has taken all of its time."""

    stand: _Stand
    peer: Peer
    settings: Mapping[str, Any]
    before: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        spent = sum(place.rows(name)[0]["cell_seconds"] for name in self.before)
        told = {"kind": "trial", "system": self.peer.name, "trial": dict(self.settings)}
        if self.before and spent >= 60 * MINUTES:
            yield {**told, "skipped": f"{MINUTES:.0f} minutes are spent", "ndcg@10": None}
            return
        held = self.stand.validation
        values = _measured(self.peer, self.settings, held)[1]
        yield {**told, "ndcg@10": float(np.nanmean(values.of(self.peer.name, "ndcg@10")))}


@dataclass(frozen=True)
class _Best:
    """A peer under the best of its trials, on the test."""

    stand: _Stand
    peer: Peer
    trials: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        tried = [place.rows(name)[0] for name in self.trials]
        ran = [row for row in tried if row["ndcg@10"] is not None]
        best = max(ran, key=lambda row: row["ndcg@10"])
        held = self.stand.test
        ranked, values = _measured(self.peer, best["trial"], held)
        place.keep(arrays_of({self.peer.name: ranked}, held.truth, held.task.users))
        split = split_of(self.stand.plan).name
        search = {
            "trials": len(ran),
            "seconds": sum(row["cell_seconds"] for row in ran),
            "most_trials": TRIALS,
            "most_minutes": MINUTES,
            "best": best["trial"],
            "validation_ndcg@10": best["ndcg@10"],
        }
        for row in quality_rows(values, seed=held.task.seed):
            yield {**_told(row, "quality", split), "search": search}


@dataclass(frozen=True)
class _Pairs:
    """Ours against every other system, user by user."""

    cells: list[str]

    def __call__(self, place: Place) -> Iterator[Row]:
        systems: dict[str, Ranked] = {}
        truth: Truth | None = None
        for name in self.cells:
            lists, truth = lists_of(place.kept(name))
            systems |= lists
        if truth is None:
            raise ValueError("there is nothing to pair")
        ours = RERANKED if RERANKED in systems else FUSED
        yield from paired_rows(systems, truth, ours, KS)


def _measured(peer: Peer, settings: Mapping[str, Any], held: HeldOut) -> tuple[Ranked, Any]:
    """Return a peer's lists, checked, and every user's values."""
    task = held.task
    ranked = peer.lists(task, settings)
    if ranked.items.shape != (len(task.users), DEPTH):
        raise ValueError(f"{peer.name} answered {ranked.items.shape}, not a list a user")
    rows, columns = np.nonzero(ranked.items >= 0)
    if task.excluded[rows, ranked.items[rows, columns]].any():
        raise ValueError(f"{peer.name} shows users what is excluded for them")
    around = Surroundings.of_known(task.log, task.users, task.excluded, None, DEPTH)
    return ranked, measure_users({peer.name: ranked}, held.truth, around, KS)


def _told(row: Found, kind: str, split: str) -> Row:
    """Return a row of an evaluation as a row of the suite."""
    return {
        "kind": kind,
        "system": row.name,
        "group": row.group,
        "n_users": row.n_users,
        "split": split,
        "metrics": {name: asdict(found) for name, found in row.metrics.items()},
        "baseline": row.baseline,
        "differences": {name: asdict(found) for name, found in row.differences.items()},
        "latency_ms": dict(row.latency_ms),
    }


QUALITY = Suite(
    "quality",
    "how good both stages are beside peers: full ranking, one split for all",
    _cells,
    (MOVIELENS, BEAUTY, IFDB, ONLINE_RETAIL, COMPLETE_JOURNEY),
)
