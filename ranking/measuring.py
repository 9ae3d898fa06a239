"""What is measured after each epoch: how well lists are ordered, and what probabilities say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import rankdata

from twofold.indexing.errors import InputError
from twofold.ranking.lists import Lists, mean_ndcg

N_BINS = 15
GAPS = ("log_loss", "ndcg10")

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def measured(parts: Sequence[Lists], logits: Sequence[npt.NDArray[np.float32]]) -> dict[str, float]:
    """Return what the logits of labelled lists are worth.

    ``ndcg10`` is the mean over lists, 0 to 1. The others are over the candidates of all lists in
    one pool, probabilities being the sigmoid of the logits as they are: calibration comes after the
    training, so ``log_loss`` and ``ece`` say how far it has to go, and mean little under objectives
    that only order.

    - ``auc``: how often a hit stands above a miss, ties counted half, 0 to 1 (Hanley and McNeil
      1982); NaN where only one label occurs.
    - ``accuracy``: the share of candidates told rightly when the highest logits are told to be
      hits, as many as there are hits. At 0.5 nearly none would be told where few candidates are
      hits. Chance gives ``1 - 2 b (1 - b)`` at a share ``b`` of hits. Of those tied at the border
      the right share is told.
    - ``log_loss``: mean of ``-log p`` of what happened, in nats.
    - ``ece``: expected calibration error over 15 bins of equal mass, 0 to 1 (Naeini, Cooper and
      Hauskrecht 2015), the bins of :func:`twofold.evaluation.reliability.reliability`.

    Parameters
    ----------
    parts
        Lists, a part a window; the same kind of lists each time, since those without a hit lower
        ``ndcg10`` and the share of hits.
    logits
        Finite logits of each part's candidates, ``float32 (n, m)``; padding is not read.

    Raises
    ------
    InputError
        If there is no candidate, or a candidate's logit is not finite.
    """
    masks = [part.mask() for part in parts]
    told = [given[mask] for given, mask in zip(logits, masks, strict=True)]
    labels = [part.labels[mask] for part, mask in zip(parts, masks, strict=True)]
    pool = np.concatenate([np.zeros(0), *told]).astype(np.float64)
    hits = np.concatenate([np.zeros(0, dtype=bool), *labels])
    if not len(pool) or not np.isfinite(pool).all():
        what = "one is not: lower the learning rates" if len(pool) else "there is no candidate"
        raise InputError(f"measuring needs finite logits of candidates, but {what}")
    ranks = rankdata(pool)
    return {
        "auc": _auc(ranks, hits),
        "accuracy": _accuracy(pool, hits),
        "ndcg10": mean_ndcg(parts, logits, 10),
        "log_loss": float(np.logaddexp(0.0, np.where(hits, -pool, pool)).mean()),
        "ece": _ece(pool, ranks, hits),
    }


def gap(train: Mapping[str, float], stop: Mapping[str, float]) -> dict[str, float]:
    """Return how much better the training lists are told than unseen ones, to see over-fitting.

    Each is the value on training lists minus that on early-stopping lists: over-fitting makes
    ``gap_log_loss`` negative and ``gap_ndcg10`` positive.

    Parameters
    ----------
    train, stop
        As of :func:`measured`, over the same kind of lists.
    """
    return {f"gap_{name}": train[name] - stop[name] for name in GAPS}


def sample(parts: Sequence[Lists], n: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Return positions of lists with a hit, drawn from all parts alike: what a gap is measured on.

    Parameters
    ----------
    parts
        Training lists, a part a window.
    n
        How many lists to draw in all; all of them where there are no more.
    seed
        The same seed draws the same lists.

    Returns
    -------
    list of int64 arrays
        Rising positions in each part, some maybe none.
    """
    hits = [part.hits() for part in parts]
    ends = np.cumsum([len(one) for one in hits])
    drawn = np.sort(np.random.default_rng(seed).permutation(int(ends[-1]))[:n])
    return [one[which] for one, which in zip(hits, _split(drawn, ends), strict=True)]


def _split(
    drawn: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.int64]]:
    """Return rising numbers over all parts as numbers within each part."""
    pieces = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
    return [piece - start for piece, start in zip(pieces, [0, *ends[:-1]], strict=True)]


def _auc(ranks: Floats, hits: Bools) -> float:
    n_hits, n_misses = int(hits.sum()), int((~hits).sum())
    if not n_hits or not n_misses:
        return float("nan")
    above = ranks[hits].sum() - n_hits * (n_hits + 1) / 2
    return float(above / (n_hits * n_misses))


def _accuracy(logits: Floats, hits: Bools) -> float:
    n_hits = int(hits.sum())
    if not n_hits:
        return 1.0
    border = np.partition(logits, -n_hits)[-n_hits]
    above, tied = logits > border, logits == border
    share = (n_hits - above.sum()) / tied.sum()
    right = hits[above].sum() + share * hits[tied].sum()
    # Each hit that is not told is missed, and a miss is told in its place.
    return float(1 - 2 * (n_hits - right) / len(hits))


def _ece(logits: Floats, ranks: Floats, hits: Bools) -> float:
    bins = np.floor(N_BINS * (ranks - 0.5) / len(ranks)).astype(np.int64)
    gaps = np.bincount(bins, weights=hits - expit(logits), minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(logits))
