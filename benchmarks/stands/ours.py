"""Both stages learned and measured on a test, with everything that ranks the same candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.harness.cells import Place, Plan, Row
from benchmarks.stands.kept_lists import KS, arrays_of
from benchmarks.stands.told import told
from twofold.cache import cache_folder
from twofold.evaluate import evaluate
from twofold.evaluation.report import Row as Found
from twofold.ranking.members import Workplace
from twofold.settings import Settings
from twofold.systems import RERANKED


@dataclass(frozen=True)
class Ours:
    """Learns both stages, ranks the test with every system, and keeps the lists.

    Parameters
    ----------
    plan, settings
        The data, and all settings.
    most
        At most so many of the test's users; ``None`` for all.
    """

    plan: Plan
    settings: Settings
    most: int | None

    def __call__(self, place: Place) -> Iterator[Row]:
        """Yield a row a system, group, slice and kind of measure."""
        data, progress = self.plan.data, self.plan.progress
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
            work=Workplace(place.folder, place.fingerprint, progress=progress),
            progress=progress,
        )
        place.keep(arrays_of(found.lists, found.truth, found.test_users))
        split = found.circumstances.split
        for row in found.rows:
            kind = "latency" if row.latency_ms else "quality"
            yield told(row, "ceiling" if "recall@all" in row.metrics else kind, split)
        for row in found.slices:
            yield told(row, "slice", split)
        n_users = max(row.n_users for row in found.rows)
        probabilities = Found("probabilities", "all", n_users, found.probabilities)
        yield told(probabilities, "probabilities", split)
        yield {"kind": "learned", "system": RERANKED, "about": found.learned}
