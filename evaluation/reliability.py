"""Whether probabilities mean what they say: calibration error, reliability table and plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from twofold.evaluation.intervals import Interval, bootstrap_interval
from twofold.evaluation.judgements import Judgements
from twofold.indexing.errors import MissingDependencyError

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

N_BINS = 15


def ece(judged: Judgements, seed: int, n: int = 2000) -> Interval:
    """Return the expected calibration error over 15 bins of equal mass.

    ``sum over bins of (rows in bin / rows) * |share of hits - mean probability|``, with the bins of
    :func:`reliability`, which stay the same over all draws. The value is never negative and is
    biased upwards: even perfect probabilities have one above 0.

    M. Naeini, G. Cooper and M. Hauskrecht, AAAI 2015; equal mass after K. Nguyen and B. O'Connor,
    EMNLP 2015.
    """
    bins = _bins(judged.probabilities)
    gaps = judged.labels - judged.probabilities
    flat = judged.users * N_BINS + bins
    table = np.bincount(flat, weights=gaps, minlength=judged.n_users * N_BINS)
    table = table.reshape(judged.n_users, N_BINS)
    rows = judged.per_user(np.ones(len(gaps)))

    def statistic(counts: Floats) -> Floats:
        shown = counts @ rows
        gap = np.abs(counts @ table).sum(axis=1)
        out = np.full(len(gap), np.nan)
        np.divide(gap, shown, out=out, where=shown > 0)
        return out

    return bootstrap_interval(statistic, judged.n_users, seed, n)


@dataclass(frozen=True)
class Reliability:
    """Probabilities beside frequencies, one row a bin, lowest probabilities first.

    Parameters
    ----------
    n_rows
        Rows in the bin, ``int64 (n_bins,)``.
    low, high, mean
        Lowest, highest and mean probability in the bin, ``float64 (n_bins,)``.
    hit_share
        Share of hits in the bin, ``float64 (n_bins,)``.
    """

    n_rows: Int64s
    low: Floats
    high: Floats
    mean: Floats
    hit_share: Floats


def reliability(judged: Judgements) -> Reliability:
    """Return the reliability table over 15 bins of equal mass, without empty bins.

    Row ``i`` goes to bin ``floor(15 * (rank_i - 1/2) / n)``, its rank counted from 1 in rising
    order of probability; tied probabilities share their mean rank and so their bin, and the order
    of rows never matters.
    """
    bins = _bins(judged.probabilities)
    count = np.bincount(bins, minlength=N_BINS)
    used = np.flatnonzero(count)
    by_bin = [judged.probabilities[bins == one] for one in used]
    hits = np.bincount(bins, weights=judged.labels, minlength=N_BINS)
    return Reliability(
        n_rows=count[used].astype(np.int64),
        low=np.array([one.min() for one in by_bin]),
        high=np.array([one.max() for one in by_bin]),
        mean=np.array([one.mean() for one in by_bin]),
        hit_share=hits[used] / count[used],
    )


def plot_reliability(table: Reliability, path: str | Path, *, title: str = "") -> None:
    """Write the reliability diagram to a file; its ending (png, svg, pdf) says in what format.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "the reliability plot needs matplotlib: pip install 'matplotlib>=3.9'"
        ) from error
    # Figure without pyplot: no backend is chosen and no window system is touched.
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    top = float(max(table.mean.max(), table.hit_share.max(), 1e-6)) * 1.05
    axes.plot([0, top], [0, top], color="0.7", linewidth=1, label="perfect")
    axes.plot(table.mean, table.hit_share, marker="o", markersize=4, label="measured")
    axes.set(xlabel="mean probability", ylabel="share of hits", xlim=(0, top), ylim=(0, top))
    axes.set_title(title)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def _bins(probabilities: Floats) -> Int64s:
    ranks = rankdata(probabilities, method="average")
    bins: Int64s = np.floor(N_BINS * (ranks - 0.5) / len(ranks)).astype(np.int64)
    return bins
