"""Whether training lists know what they are to predict: refused where they do, told where alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.indexing.errors import InputError, LeakError
from twofold.ranking.lists import Lists

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ALIKE = 0.9
N_EXAMPLES = 5
# Pairs of items whose words are compared at a time.
CHUNK = 1 << 16


def honesty_report(
    windows: Sequence[Lists], texts: Sequence[str], *, repeat: bool
) -> list[dict[str, Any]]:
    """Return what is strange but allowed in each window, once all are found honest.

    That is what :func:`near_duplicates` says; under ``known`` how many hits stand in their history
    before its labels begin, looked at and bought later, or bought again, which without `repeat` no
    list can hold; and under ``tied`` how many stand there at the very step or time at which its
    labels begin: somebody took the same thing twice at once, or looked at it and bought it within
    one tick of the clock.

    Parameters
    ----------
    windows
        The lists of each window.
    texts
        Item texts in order of item numbers.
    repeat
        Whether items that a user has seen may be recommended again.

    Raises
    ------
    LeakError
        As of :func:`check_honest`.
    """
    for lists in windows:
        check_honest(lists, repeat=repeat)
    return [
        {
            "known": _n_in_history(lists, -1),
            "tied": _n_in_history(lists, 0),
            **near_duplicates(texts, lists),
        }
        for lists in windows
    ]


def check_honest(lists: Lists, *, repeat: bool) -> None:
    """Refuse training lists that know what they are to predict.

    A history must end before its labels begin, by steps or, where these are not known, by times.
    Events of the very step or time of the first label may stand on both sides: they have no order.
    Without `repeat` no hit that is learned from may be in its own list's history at all.

    Parameters
    ----------
    lists
        Lists with a border.
    repeat
        Whether items that a user has seen may be recommended again.

    Raises
    ------
    InputError
        If the lists do not say where their labels begin.
    LeakError
        If a list leaks.
    """
    rows = lists.queries.rows()
    _refuse(
        lists,
        rows[_after(lists) > 0],
        "training lists know events that are later than their first label",
        "cut the histories where the labels begin",
    )
    if not repeat:
        _refuse(
            lists,
            rows[_are_hits(lists, _listed(lists))],
            "training lists have a hit in their own history",
            "take it out of one of them, or let items be recommended again (stage_one.repeat)",
        )


def near_duplicates(texts: Sequence[str], lists: Lists) -> dict[str, Any]:
    """Return how many hits read like another item of their own list's history.

    Such a hit is no leak by its number, and can be told by its text alone: an item that is listed
    twice, or in another size. Texts are compared without capitals, spaces and punctuation; two are
    equal, or alike where the Jaccard index of their sets of words is at least 0.9.

    Parameters
    ----------
    texts
        Item texts in order of item numbers; empty ones are like nothing.
    lists
        The lists.

    Returns
    -------
    dict
        JSON values: ``hits`` held out, ``equal`` and ``alike`` hits (those equal to none, but like
        some), the ``lists`` that have such hits, and a few ``examples`` of texts.
    """
    hits, words = _hits(lists), _Words.of(texts, lists)
    equal, alike = np.zeros((2, len(hits.rows)), dtype=bool)
    examples: list[dict[str, str]] = []
    for which, past in _pairs(lists, hits):
        items = hits.items[which]
        others = items != past
        which, past, items = which[others], past[others], items[others]
        same = (words.texts[items] == words.texts[past]) & (words.texts[items] >= 0)
        near = words.alike(items, past)
        equal[which[same]] = True
        alike[which[near]] = True
        for place in np.flatnonzero(same | near)[: N_EXAMPLES - len(examples)]:
            examples.append({"hit": texts[items[place]], "history": texts[past[place]]})
    alike &= ~equal
    return {
        "hits": len(hits.rows),
        "equal": int(equal.sum()),
        "alike": int(alike.sum()),
        "lists": len(np.unique(hits.rows[equal | alike])),
        "examples": examples,
    }


class _Hits(NamedTuple):
    """Hits to find, each with its list, ``int64 (n,)`` each."""

    rows: Int64s
    items: Int64s


def _hits(lists: Lists) -> _Hits:
    """Return all hits, those outside the lists too where they are known."""
    if lists.held_out is None:
        return _listed(lists)
    held = lists.held_out
    rows = np.repeat(np.arange(len(lists)), np.diff(held.indptr))
    return _Hits(rows, held.indices.astype(np.int64))


def _listed(lists: Lists) -> _Hits:
    """Return the hits that are among the candidates: those that are learned from."""
    rows, columns = np.nonzero(lists.labels)
    return _Hits(rows, lists.candidates.items[rows, columns])


def _after(lists: Lists) -> Int64s:
    """Return the sign of each history event's place behind the first label's, ``int64``."""
    if lists.border is None:
        raise InputError(
            "lists were expected that say where their labels begin, as label_lists makes them; "
            "without that nobody can tell whether a history ends before them"
        )
    queries, rows = lists.queries, lists.queries.rows()
    steps, times = lists.border.steps[rows], lists.border.times[rows]
    by_step, by_time = np.sign(queries.steps - steps), np.sign(queries.times - times)
    return np.asarray(np.where(steps >= 0, by_step, by_time))


def _are_hits(lists: Lists, hits: _Hits) -> Bools:
    """Return which history events are of items that are hits of their own list."""
    n_items = np.int64(lists.queries.n_items)
    events = lists.queries.rows() * n_items + lists.queries.items
    return np.isin(events, hits.rows * n_items + hits.items)


def _n_in_history(lists: Lists, when: int) -> int:
    """Return how many hits stand in their history before the labels (-1) or with the first (0)."""
    there = (_after(lists) == when) & _are_hits(lists, _hits(lists))
    pairs = lists.queries.rows() * np.int64(lists.queries.n_items) + lists.queries.items
    return len(np.unique(pairs[there]))


def _refuse(lists: Lists, rows: Int64s, what: str, remedy: str) -> None:
    """Raise where there are rows of lists that leak."""
    if not len(rows):
        return
    bad = np.unique(rows)
    users = ", ".join(str(one) for one in lists.queries.users[bad[:3]])
    raise LeakError(f"{len(bad):,} {what} (users of number {users}, ...); {remedy}")


def _pairs(lists: Lists, hits: _Hits) -> Iterator[tuple[Int64s, Int64s]]:
    """Yield the numbers of hits beside each item of their list's history, some lists at a time."""
    lengths, starts = lists.queries.lengths(), lists.queries.indptr
    many = lengths[hits.rows]
    cuts = np.flatnonzero(np.diff(np.cumsum(many) // CHUNK)) + 1
    for part in np.split(np.arange(len(hits.rows)), cuts):
        n = many[part]
        which = np.repeat(part, n)
        within = np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n)
        yield which, lists.queries.items[starts[hits.rows[which]] + within]


class _Words(NamedTuple):
    """Texts and words of items as numbers.

    `texts` says which have the same text, -1 for none, ``int64 (n_items,)``; `words` which words
    stand in it, ``int32 (n_items, n_words)`` of ones; `sizes` how many, ``int64 (n_items,)``.
    """

    texts: Int64s
    words: sp.csr_matrix
    sizes: Int64s

    @classmethod
    def of(cls, texts: Sequence[str], lists: Lists) -> _Words:
        """Return those of the items that stand in histories or are hits; others have no text."""
        needed = np.unique(np.concatenate([lists.queries.items, _hits(lists).items]))
        same = np.full(len(texts), -1, dtype=np.int64)
        numbers: dict[str, int] = {}
        known: dict[str, int] = {}
        columns: list[int] = []
        sizes = np.zeros(len(texts), dtype=np.int64)
        for item in needed.tolist():
            words = _folded(texts[item])
            if words:
                same[item] = numbers.setdefault(" ".join(words), len(numbers))
            own = {known.setdefault(word, len(known)) for word in words}
            columns += sorted(own)
            sizes[item] = len(own)
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        ones = np.ones(len(columns), dtype=np.int32)
        shape = (len(texts), max(1, len(known)))
        return cls(same, sp.csr_matrix((ones, columns, indptr), shape=shape), sizes)

    def alike(self, items: Int64s, others: Int64s) -> Bools:
        """Return whether pairs of items have nearly the same words, ``bool (n,)``."""
        a, b = self.sizes[items], self.sizes[others]
        # What differs so much in size cannot have so much in common.
        out = (np.minimum(a, b) >= ALIKE * np.maximum(a, b)) & (np.minimum(a, b) > 0)
        at = np.flatnonzero(out)
        left, right = self.words[items[at]], self.words[others[at]]
        common = np.asarray(left.multiply(right).sum(axis=1)).ravel()
        out[at] = common >= ALIKE * (a[at] + b[at] - common)
        return np.asarray(out)


def _folded(text: str) -> list[str]:
    """Return the words of a text without capitals and punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(one if one.isalnum() else " " for one in plain).split()
