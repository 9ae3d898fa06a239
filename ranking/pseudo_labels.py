"""Lists without labels, labelled by a ranker itself where it is sure (self-training)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.ranking.lists import Lists
from twofold.ranking.training_settings import PseudoLabelSettings
from twofold.retrieval.candidates import Candidates


def labelled_by_itself(
    lists: Lists, logits: npt.NDArray[np.float32], settings: PseudoLabelSettings
) -> Lists:
    """Return lists of the candidates that a ranker is sure of (Lee 2013).

    Sure are, of all candidates of all lists together, the share with the highest logits, which are
    labelled hits, and the share with the lowest, which are labelled misses. The others are left
    out: nothing is learned from them.

    Parameters
    ----------
    lists
        Lists as they are served; their labels are not looked at.
    logits
        What the ranker says, ``float32 (n, m)``.
    settings
        Both shares.
    """
    there = lists.mask()
    if not there.any():
        return lists
    told = np.sort(logits[there])
    n_hits, n_misses = (
        max(1, round(share * len(told))) for share in (settings.hits, settings.misses)
    )
    hits = there & (logits >= told[-n_hits])
    misses = there & (logits <= told[n_misses - 1])
    kept = hits | misses
    # Those that are kept stay in their order, before the padding.
    order = np.argsort(~kept, axis=1, kind="stable")
    found = lists.candidates

    def moved(values: npt.NDArray[np.generic], fill: float) -> npt.NDArray[np.generic]:
        wide = order if values.ndim == 2 else order[:, :, None]
        out = np.take_along_axis(values, wide, axis=1)
        out[~np.take_along_axis(kept, order, axis=1)] = fill
        return out

    candidates = Candidates(
        moved(found.items, -1),  # type: ignore[arg-type]
        moved(found.scores, -np.inf),  # type: ignore[arg-type]
        moved(lists.features, 0),  # type: ignore[arg-type]
    )
    labels = np.take_along_axis(hits, order, axis=1)
    n_hits_a_list = labels.sum(axis=1).astype(np.int64)
    return Lists(lists.queries, candidates, labels, n_hits_a_list, popularity=lists.popularity)
