"""Two systems over the same users: differences, intervals, and how likely they are by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.harness.cells import Place
from benchmarks.stands.kept_lists import KS, lists_of
from twofold.evaluation.intervals import bootstrap_mean
from twofold.evaluation.metrics import Truth, judge, metric_values
from twofold.evaluation.quality import Ranked
from twofold.evaluation.significance import permutation_test
from twofold.systems import FUSED, RERANKED


def paired_rows(
    systems: Mapping[str, Ranked], truth: Truth, ours: str, ks: Sequence[int], seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield a row a metric and other system: ours minus theirs, over users who hold something out.

    ``p`` is of a permutation test; whoever shows several together corrects them for their number.

    Parameters
    ----------
    systems
        Name -> lists of the same users.
    truth
        What they hold out.
    ours
        Name of the system that all others are compared with.
    ks
        Lengths of lists.
    seed
        For the draws.
    """
    counted = truth.n_held_out() > 0
    values = {
        name: metric_values(judge(one.items, truth, one.scores), ks)
        for name, one in systems.items()
    }
    others = [name for name in systems if name != ours]
    for metric in values[ours]:
        for name in others:
            gap = (values[ours][metric] - values[name][metric])[counted]
            yield {
                "kind": "pair",
                "system": ours,
                "other": name,
                "metric": metric,
                **asdict(bootstrap_mean(gap, seed)),
                "p": permutation_test(gap, seed),
            }


@dataclass(frozen=True)
class Pairs:
    """A cell that sets our reranked lists beside others, user by user.

    Parameters
    ----------
    ours
        The cell that keeps our lists.
    peer
        The cell that keeps a peer's; ``None`` for the other lists of `ours`.
    """

    ours: str
    peer: str | None = None

    def __call__(self, place: Place) -> Iterator[dict[str, Any]]:
        """Yield a row a metric and other system."""
        systems, truth = lists_of(place.kept(self.ours))
        first = RERANKED if RERANKED in systems else FUSED
        if self.peer is not None:
            theirs, _ = lists_of(place.kept(self.peer))
            systems = {first: systems[first], **theirs}
        yield from paired_rows(systems, truth, first, KS)
