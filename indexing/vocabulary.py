"""External ids as numbers ``0..n-1`` and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
        self._ids: tuple[str, ...] = tuple(ids)
        self._what = what
        self._numbers = {one: number for number, one in enumerate(self._ids)}
        if len(self._numbers) != len(self._ids):
            raise InputError(f"{what} ids must be distinct, but one stands twice")
        if "" in self._numbers:
            raise InputError(f"{what} ids must not be empty")

    @classmethod
    def sorted(cls, ids: Iterable[str], *, what: str) -> Vocabulary:
        """Return the vocabulary of the distinct ids, sorted."""
        return cls(sorted(set(ids)), what=what)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids in the order of their numbers."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, one: object) -> bool:
        return one in self._numbers

    def number(self, one: str) -> int:
        """Return the number of one id.

        Raises
        ------
        UnknownIdError
            If the id is unknown.
        """
        try:
            return self._numbers[one]
        except KeyError:
            raise UnknownIdError(
                f"{self._what} '{one}' is not in the index, which knows {len(self):,} {self._what}s"
            ) from None

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
            get = self._numbers.get
            return np.fromiter((get(one, -1) for one in ids), dtype=np.int64)
        return np.fromiter((self.number(one) for one in ids), dtype=np.int64)

    def decode(self, numbers: Sequence[int] | Int64s) -> list[str]:
        """Return the ids of numbers in ``0..n-1``."""
        return [self._ids[number] for number in numbers]

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """A hash of each id that depends on nothing but the id, ``uint64 (n,)``."""
        digests = b"".join(
            hashlib.blake2b(one.encode(), digest_size=8).digest() for one in self._ids
        )
        return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
