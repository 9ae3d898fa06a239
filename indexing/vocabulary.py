"""External ids as numbers ``0..n-1`` and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cached_property

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError, UnknownIdError

Int64s = npt.NDArray[np.int64]


class Vocabulary:
    """An immutable two-way map between external ids and the numbers ``0..n-1``.

    Parameters
    ----------
    ids
        Distinct, non-empty ids; the position of an id is its number.
    what
        What an id names ("user" or "item"), for messages.

    Raises
    ------
    InputError
        If an id is empty or stands twice.

    Examples
    --------
    >>> items = Vocabulary(["a", "b"], what="item")
    >>> items.encode(["b", "x"], unknown="mark")
    array([ 1, -1])
    >>> items.decode([1])
    ['b']
    """

    def __init__(self, ids: Iterable[str], *, what: str) -> None:
        # Both are shared with the vocabularies that extend this one, and only ever grow: a number
        # beyond the own length is not there.
        self._all = list(ids)
        self._numbers = {one: number for number, one in enumerate(self._all)}
        self._length, self._what = len(self._all), what
        if len(self._numbers) != self._length:
            raise InputError(f"{what} ids must be distinct, but one stands twice")
        if "" in self._numbers:
            raise InputError(f"{what} ids must not be empty")

    @classmethod
    def sorted(cls, ids: Iterable[str], *, what: str) -> Vocabulary:
        """Return the vocabulary of the distinct ids, sorted."""
        return cls(sorted(set(ids)), what=what)

    def extended(self, ids: Sequence[str]) -> Vocabulary:
        """Return this vocabulary with more ids, whose numbers follow.

        What it takes does not depend on how many there are already. Readers of this one may go on
        meanwhile, but one vocabulary is extended at a time.

        Parameters
        ----------
        ids
            Distinct, non-empty ids that it lacks.

        Raises
        ------
        InputError
            If an id is empty or stands twice.
        """
        if self._length != len(self._all):  # extended once already: that one has the room
            return Vocabulary([*self.ids, *ids], what=self._what)
        new = {one: self._length + place for place, one in enumerate(ids)}
        if len(new) != len(ids) or any(one in self._numbers for one in new):
            raise InputError(f"{self._what} ids must be distinct, but one stands twice")
        if "" in new:
            raise InputError(f"{self._what} ids must not be empty")
        out = copy(self)
        out.__dict__.pop("ids", None)
        out.__dict__.pop("hashes", None)
        self._all.extend(ids)
        self._numbers.update(new)
        out._length = len(self._all)
        return out

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """All ids in the order of their numbers."""
        return tuple(self._all[: self._length])

    def __len__(self) -> int:
        return self._length

    def __contains__(self, one: object) -> bool:
        return self._number(one) >= 0

    def _number(self, one: object) -> int:
        """Return the number of an id, -1 where it is unknown."""
        number = self._numbers.get(one, -1)  # type: ignore[call-overload]
        return number if number < self._length else -1

    def number(self, one: str) -> int:
        """Return the number of one id.

        Raises
        ------
        UnknownIdError
            If the id is unknown.
        """
        number = self._number(one)
        if number < 0:
            raise UnknownIdError(
                f"{self._what} '{one}' is not in the index, which knows {len(self):,} {self._what}s"
            )
        return number

    def encode(self, ids: Iterable[str], *, unknown: str = "raise") -> Int64s:
        """Return the numbers of ids, ``int64 (n,)``.

        Parameters
        ----------
        ids
            External ids.
        unknown
            ``"raise"`` refuses unknown ids; ``"mark"`` gives -1 for them.

        Raises
        ------
        UnknownIdError
            If an id is unknown and `unknown` is ``"raise"``.
        """
        if unknown == "mark":
            return np.fromiter((self._number(one) for one in ids), dtype=np.int64)
        return np.fromiter((self.number(one) for one in ids), dtype=np.int64)

    def decode(self, numbers: Sequence[int] | Int64s) -> list[str]:
        """Return the ids of numbers in ``0..n-1``."""
        return [self._all[number] for number in numbers]

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """A hash of each id that depends on nothing but the id, ``uint64 (n,)``."""
        digests = b"".join(
            hashlib.blake2b(one.encode(), digest_size=8).digest() for one in self.ids
        )
        return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
