"""What a data set looks like, in numbers that decide what can be expected of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.dataset import Dataset
from twofold.indexing.interactions import Interactions

BUCKETS = ((0, 0), (1, 2), (3, 5), (6, 20), (21, 100), (101, None))
"""Lengths of history that are told apart, both ends included."""
TOP_SHARE = 0.01


@dataclass(frozen=True)
class Description:
    """A data set in numbers. Shares lie between 0 and 1.

    Parameters
    ----------
    n_users, n_items, n_interactions, n_labels
        Counts; labels are the interactions that count as hits.
    n_items_without_interactions
        Items that only their text can recommend.
    density
        Distinct (user, item) pairs over all possible ones.
    first_time, last_time
        Range of the times in milliseconds since 1970 UTC, or ``None`` without times.
    has_order
        Whether times or positions gave an order.
    tied_share
        Share of interactions that have no order against their user's neighbouring ones.
    text_share
        Share of the items that have a text.
    text_characters_median, text_characters_most
        Length of the texts that are there.
    history_lengths
        ``(bucket, number of users)`` by the number of labels a user.
    kinds
        ``(name, number of interactions)``.
    n_dislikes
        Interactions that are dislikes.
    repeat_share
        Share of labels whose item the user had met before, which are misses unless seen items may
        be recommended again.
    top_share
        Share of labels that go to the most popular hundredth of the items.
    fingerprint
        Of the content.
    """

    n_users: int
    n_items: int
    n_interactions: int
    n_labels: int
    n_items_without_interactions: int
    density: float
    first_time: int | None
    last_time: int | None
    has_order: bool
    tied_share: float
    text_share: float
    text_characters_median: int
    text_characters_most: int
    history_lengths: tuple[tuple[str, int], ...]
    kinds: tuple[tuple[str, int], ...]
    n_dislikes: int
    repeat_share: float
    top_share: float
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers under their names, ready for JSON."""
        numbers = asdict(self)
        numbers["history_lengths"] = dict(self.history_lengths)
        numbers["kinds"] = dict(self.kinds)
        return numbers

    def to_rows(self) -> list[tuple[str, str]]:
        """Return what a person reads: names and values."""
        rows = [
            ("users", f"{self.n_users:,}"),
            ("items", f"{self.n_items:,}"),
            ("items without interactions", f"{self.n_items_without_interactions:,}"),
            ("interactions", f"{self.n_interactions:,}"),
            ("of them labels", f"{self.n_labels:,}"),
            ("of them dislikes", f"{self.n_dislikes:,}"),
            ("density", f"{self.density:.3%}"),
            ("first time", _moment(self.first_time)),
            ("last time", _moment(self.last_time)),
            ("order", "given" if self.has_order else "none"),
            ("tied in time", f"{self.tied_share:.1%}"),
            ("items with text", f"{self.text_share:.1%}"),
            ("characters a text, median", f"{self.text_characters_median:,}"),
            ("characters a text, most", f"{self.text_characters_most:,}"),
            ("labels on items met before", f"{self.repeat_share:.1%}"),
            ("labels on the top 1% of items", f"{self.top_share:.1%}"),
        ]
        rows += [(f"users with {name} labels", f"{n:,}") for name, n in self.history_lengths]
        rows += [(f"interactions: {name}", f"{n:,}") for name, n in self.kinds]
        return [*rows, ("fingerprint", self.fingerprint)]


def describe(dataset: Dataset) -> Description:
    """Return a data set in numbers."""
    rows = dataset.interactions
    pairs = rows.users * np.int64(rows.n_items) + rows.items
    n_labels = int(rows.labels.sum())
    lengths = np.array([len(text) for text in dataset.texts if text], dtype=np.int64)
    possible = max(1, rows.n_users * rows.n_items)
    timed = dataset.has_times and len(rows) > 0
    kinds = np.bincount(rows.kinds, minlength=len(dataset.kinds))
    return Description(
        n_users=rows.n_users,
        n_items=rows.n_items,
        n_interactions=len(rows),
        n_labels=n_labels,
        n_items_without_interactions=rows.n_items - len(np.unique(rows.items)),
        density=len(np.unique(pairs)) / possible,
        first_time=int(rows.times.min()) if timed else None,
        last_time=int(rows.times.max()) if timed else None,
        has_order=dataset.has_order,
        tied_share=tied_share(rows),
        text_share=len(lengths) / max(1, rows.n_items),
        text_characters_median=int(np.median(lengths)) if len(lengths) else 0,
        text_characters_most=int(lengths.max()) if len(lengths) else 0,
        history_lengths=_history_lengths(rows),
        kinds=tuple((name, int(n)) for name, n in zip(dataset.kinds, kinds, strict=True)),
        n_dislikes=int((rows.signs < 0).sum()),
        repeat_share=int((met_before(rows) & rows.labels).sum()) / max(1, n_labels),
        top_share=_top_share(rows),
        fingerprint=dataset.fingerprint,
    )


def tied_share(rows: Interactions) -> float:
    """Return the share of interactions that share a step with another one of their user."""
    if len(rows) == 0:
        return 0.0
    same = (rows.users[1:] == rows.users[:-1]) & (rows.steps[1:] == rows.steps[:-1])
    return float((np.append(same, False) | np.insert(same, 0, False)).mean())


def met_before(rows: Interactions) -> npt.NDArray[np.bool_]:
    """Return where the user had the item in an earlier row that counts as seen, ``bool (n,)``."""
    pairs = rows.users * np.int64(rows.n_items) + rows.items
    known = np.flatnonzero(rows.seen)
    first = np.full(len(rows), len(rows), dtype=np.int64)
    distinct, place = np.unique(pairs, return_inverse=True)
    earliest = np.full(len(distinct), len(rows), dtype=np.int64)
    np.minimum.at(earliest, place[known], known)
    first = earliest[place]
    before: npt.NDArray[np.bool_] = first < np.arange(len(rows))
    return before


def _history_lengths(rows: Interactions) -> tuple[tuple[str, int], ...]:
    n_labels = np.bincount(rows.users[rows.labels], minlength=rows.n_users)
    counted = []
    for low, high in BUCKETS:
        within = (n_labels >= low) & (n_labels <= (np.inf if high is None else high))
        name = f"{low}+" if high is None else f"{low}" if low == high else f"{low}-{high}"
        counted.append((name, int(within.sum())))
    return tuple(counted)


def _top_share(rows: Interactions) -> float:
    popularity = np.sort(np.bincount(rows.items[rows.labels], minlength=rows.n_items))[::-1]
    top = popularity[: max(1, round(TOP_SHARE * rows.n_items))]
    return int(top.sum()) / max(1, int(popularity.sum()))


def _moment(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "none"
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
