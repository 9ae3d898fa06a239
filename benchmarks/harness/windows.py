"""A log walked forward: windows of time, each predicted from all that came before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import InputError
from twofold.indexing.splits import Split


def walk_forward(dataset: Dataset, n: int, *, first: float = 0.5) -> Iterator[Split]:
    """Yield one split a window, the earliest first: its labels tested, all before them known.

    Windows hold about as many labels each; labels of one millisecond stay together. Nothing is held
    out for validation: whoever tunes does so inside what is known.

    Parameters
    ----------
    dataset
        Data with real times.
    n
        Number of windows, at least 1.
    first
        Share of the labels that is known before the first window, between 0 and 1.

    Raises
    ------
    InputError
        If there are no times, the numbers are out of range, or the labels have too few times.
    """
    if not dataset.has_times:
        raise InputError("a log is walked forward by its times, and the data has none")
    if n < 1 or not 0 < first < 1:
        raise InputError(f"walk_forward needs n >= 1 and 0 < first < 1; came n={n}, first={first}")
    log = dataset.interactions
    times = np.sort(log.times[log.labels])
    shares = first + (1 - first) * np.arange(n) / n
    borders = np.unique(times[np.floor(shares * len(times)).astype(np.int64)])
    if len(borders) < n or borders[0] == times[0]:
        raise InputError(
            f"the labels have too few distinct times for {n} windows after the first {first:.0%}; "
            "ask for fewer"
        )
    nothing = np.zeros(len(log), dtype=bool)
    for number, begin in enumerate(borders):
        end = borders[number + 1] if number + 1 < n else times[-1] + 1
        before, inside = log.times < begin, (log.times >= begin) & (log.times < end)
        yield Split(
            name=f"window {number + 1} of {n}",
            reason=f"{inside.sum():,} events from {begin} to before {end} ms",
            train=before & log.labels,
            validation=nothing,
            test=inside & log.labels,
            context=before & ~log.labels,
        )
