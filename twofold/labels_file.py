"""Labels of one's own: a table of users, items and whether the one took the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import DataError, InputError
from twofold.indexing.interaction_table import read_interactions
from twofold.indexing.interactions import Interactions
from twofold.indexing.problems import Problems, show
from twofold.indexing.tables import Source, Table, read_table
from twofold.ranking.lists import NEVER, Border, Lists
from twofold.retrieval.candidates import rank
from twofold.retrieval.queries import Queries
from twofold.retrieval.retriever import Retriever

Int64s = npt.NDArray[np.int64]

# All that a table of interactions may say and a table of labels does not.
OTHERS = ("event", "rating", "weight", "position", "split")


@dataclass(frozen=True)
class LabelPairs:
    """Pairs of users and items with a label, each once, in order of users and items.

    Parameters
    ----------
    users, items
        Their numbers in the data set, ``int64 (n,)``.
    labels
        Whether the user took the item, ``bool (n,)``.
    times
        Milliseconds of the labels, ``int64 (n,)``; ``None`` where the table has no times.
    notes
        What was mapped and dropped, a sentence each.
    """

    users: Int64s
    items: Int64s
    labels: npt.NDArray[np.bool_]
    times: Int64s | None
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.users)

    def fingerprint(self) -> str:
        """Return what tells these labels from others."""
        told = hashlib.sha256()
        for one in (self.users, self.items, self.labels, self.times):
            told.update(b"none" if one is None else one.tobytes())
        return told.hexdigest()

    def distinct(self) -> Int64s:
        """Return the users, each once, ascending, ``int64``."""
        return np.unique(self.users)


@dataclass(frozen=True)
class Known:
    """What may be known of users before their labels.

    Parameters
    ----------
    log
        The rows that may be known.
    n_late
        Rows of labelled users that were left out for they do not lie before the user's first label.
    n_own
        Rows that were left out for they are of an item that is labelled for their user.
    """

    log: Interactions
    n_late: int
    n_own: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        out = []
        if self.n_late:
            out.append(
                f"labels: {self.n_late:,} interactions that do not lie before their user's first "
                "label are not learned from"
            )
        if self.n_own:
            out.append(
                f"labels: {self.n_own:,} interactions of users with items that are labelled for "
                "them are not learned from"
            )
        return tuple(out)


def read_labels(
    source: Source,
    dataset: Dataset,
    settings: DataSettings | None = None,
    *,
    drop_unknown: bool = False,
) -> LabelPairs:
    """Return the labels of a table with columns user, item, label (1 or 0) and perhaps time.

    Columns go by the names that interactions may have too. Of equal rows one counts, with times the
    first.

    Parameters
    ----------
    source
        Path, list of paths, or pandas, polars or Arrow table.
    dataset
        The data set whose users and items are labelled.
    settings
        Names of the columns, as far as the interactions' settings give them; ``None`` finds them.
    drop_unknown
        Whether rows of users or items that the data set lacks are left out (counted in the notes)
        rather than refused.

    Raises
    ------
    DataError
        If the table cannot be used, names unknown users or items, or labels a pair both 1 and 0;
        the message names file, row and column and says what to do.
    """
    given = DataSettings() if settings is None else settings
    off = {f"{part}_column": "" for part in OTHERS}
    reading = replace(given, **off, drop_unknown_items=drop_unknown)  # type: ignore[arg-type]
    table, problems = read_table(source, "labels"), Problems(strict=True)
    known = pl.Series("item", list(dataset.items.ids), dtype=pl.String)
    read = read_interactions(table, reading, problems, known=known, to_learn=False)
    if "label" not in read.columns:
        raise DataError(
            "expected a column 'label' of 1 and 0, came columns "
            f"{', '.join(table.frame.columns)}; rename one or name it in the settings "
            "(label_column)",
            file=table.name,
        )
    frame, notes = _with_known_users(
        read.frame, dataset, read.columns["user"], table, problems, drop_unknown
    )
    if not frame.height:
        raise DataError("no label is left of a user and an item that are known", file=table.name)
    _refuse_both(frame, read.columns["label"], table, problems)
    # Of a pair's repeats the first in time counts: what is known must end before it.
    once = frame.sort("user", "item", "time").unique(
        ["user", "item"], keep="first", maintain_order=True
    )
    users = _numbered(once["user"], dataset.users.ids)
    items = _numbered(once["item"], dataset.items.ids)
    order = np.lexsort((items, users))
    return LabelPairs(
        users[order],
        items[order],
        once["label"].to_numpy()[order],
        once["time"].to_numpy()[order] if read.has_times else None,
        (*(one.replace("interactions", "labels") for one in read.notes), *notes),
    )


def known_before(pairs: LabelPairs, dataset: Dataset) -> Known:
    """Return what may be known when labels are learned from.

    Of a labelled user, where labels and interactions have times, that is what lies before the first
    label; and in any case nothing of the items that are labelled for this user. Stage one must be
    fitted on it, and histories taken from it.

    Parameters
    ----------
    pairs
        The labels.
    dataset
        The data set.
    """
    log = dataset.interactions
    late = np.zeros(len(log), dtype=bool)
    if pairs.times is not None and dataset.has_times:
        late = log.times >= _first(pairs, log.n_users)[log.users]
    n_items = np.int64(log.n_items)
    own = np.isin(log.users * n_items + log.items, pairs.users * n_items + pairs.items) & ~late
    return Known(log.take(~(late | own)), int(late.sum()), int(own.sum()))


def lists_of_pairs(
    pairs: LabelPairs,
    queries: Queries,
    retriever: Retriever,
    *,
    popularity: npt.NDArray[np.float32] | None = None,
    threads: int = 1,
) -> Lists:
    """Return one list a user: the labelled items, with the features that they would be served with.

    Each stands among all that stage one proposes to the user while features are standardised, and
    beside the other labelled items alone in the list. Items labelled 0 are refused.

    Parameters
    ----------
    pairs
        The labels.
    queries
        The queries of :meth:`LabelPairs.distinct`, in this order, from the log of
        :func:`known_before`.
    retriever
        Stage one fitted on that log.
    popularity
        As of :class:`~twofold.ranking.lists.Lists`.
    threads
        Cores to use.

    Raises
    ------
    InputError
        If the queries are of other users, or exclude an item that is labelled for them.
    """
    users, rows, counts = np.unique(pairs.users, return_inverse=True, return_counts=True)
    if not np.array_equal(queries.users, users):
        raise InputError("lists_of_pairs needs the queries of the labelled users, in their order")
    within = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    asked = np.full((len(users), int(counts.max(initial=1))), -1, dtype=np.int64)
    asked[rows, within] = pairs.items
    told = retriever.retrieve(queries, None, also=asked, threads=threads)
    n_items = np.int64(queries.n_items)
    own = np.arange(len(users))[:, None] * n_items
    keys = rows * n_items + pairs.items
    wanted = np.isin(own + told.items, keys) & (told.items >= 0)
    if int(wanted.sum()) != len(pairs):
        raise InputError(
            f"{len(pairs) - int(wanted.sum()):,} labelled items may not be proposed to their user; "
            "take the queries from the log of known_before"
        )
    scores = np.where(wanted, told.scores, np.float32(-np.inf))
    served = rank(
        told.items,
        scores,
        asked.shape[1],
        features=told.needed_features(),
        sources=told.sources,
    )
    there = served.items >= 0
    hits = np.isin(own + served.items, keys[pairs.labels]) & there
    return Lists(
        queries,
        served,
        hits,
        hits.sum(axis=1).astype(np.int64),
        refused=there & ~hits,
        border=Border(_first(pairs, int(users[-1]) + 1)[users], np.full(len(users), -1)),
        popularity=popularity,
    )


def _first(pairs: LabelPairs, n_users: int) -> Int64s:
    """Return the time of each user's first label, the greatest number where there is none."""
    out = np.full(n_users, NEVER, dtype=np.int64)
    if pairs.times is not None:
        np.minimum.at(out, pairs.users, pairs.times)
    return out


def _with_known_users(
    frame: pl.DataFrame,
    dataset: Dataset,
    column: str,
    table: Table,
    problems: Problems,
    drop: bool,
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the rows of users that the data set has, and a note of the others."""
    good = frame["user"].is_in(list(dataset.users.ids))
    bad = frame.filter(~good)
    if not bad.height:
        return frame, ()
    unknown = bad["user"].unique(maintain_order=True)
    examples = ", ".join(show(one) for one in unknown.head(3))
    counted = (
        f"{bad.height:,} of {frame.height:,} labels are of {len(unknown):,} users without "
        f"interactions, such as {examples}"
    )
    if not drop:
        problems.refuse(
            table,
            "users are known",
            bad["row"].to_numpy(),
            column=column,
            values=bad["user"].head(5).to_list(),
            expected="a user of the interactions",
            remedy=f"{counted}; leave them out, or drop unknown ones",
        )
    return frame.filter(good), (f"dropped: {counted}",)


def _refuse_both(frame: pl.DataFrame, column: str, table: Table, problems: Problems) -> None:
    """Refuse pairs that are labelled 1 and 0."""
    both = frame.filter(pl.col("label").n_unique().over("user", "item") > 1).sort("row")
    problems.refuse(
        table,
        "a pair has one label",
        both["row"].to_numpy(),
        column=column,
        values=[
            f"{int(label)} for user {user} and item {item}, and the other elsewhere"
            for label, user, item in both.select("label", "user", "item").head(5).iter_rows()
        ],
        expected="one label a pair of user and item",
        remedy="keep one of them",
    )


def _numbered(ids: pl.Series, known: Sequence[str]) -> Int64s:
    """Return the places of ids among the known ones."""
    return ids.cast(pl.Enum(list(known))).to_physical().cast(pl.Int64).to_numpy()
