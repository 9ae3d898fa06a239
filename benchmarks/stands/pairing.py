"""Two systems over the same users: differences, intervals, and how likely they are by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from twofold.evaluation.intervals import bootstrap_mean
from twofold.evaluation.metrics import Truth, judge, metric_values
from twofold.evaluation.quality import Ranked
from twofold.evaluation.significance import holm, permutation_test

FIRST = "ndcg@10"  # the metric by which systems are told first, tied or behind


def paired_rows(
    systems: Mapping[str, Ranked], truth: Truth, ours: str, ks: Sequence[int], seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield a row a metric and other system: ours minus theirs, over users who hold something out.

    ``p`` is of a permutation test; ``p_holm`` is corrected for all systems that are compared by the
    same metric.

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
        gaps = {name: (values[ours][metric] - values[name][metric])[counted] for name in others}
        chances = [permutation_test(gap, seed) for gap in gaps.values()]
        for (name, gap), p, corrected in zip(
            gaps.items(), chances, holm(np.array(chances)), strict=True
        ):
            yield {
                "kind": "pair",
                "system": ours,
                "other": name,
                "metric": metric,
                **asdict(bootstrap_mean(gap, seed)),
                "p": float(p),
                "p_holm": float(corrected),
            }
