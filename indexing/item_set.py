"""A set of items, in the forms that different searches want it in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError


@dataclass(frozen=True, eq=False)
class ItemSet:
    """Some of the items; two sets are the same only if they are one object.

    Parameters
    ----------
    mask
        True at the items, ``bool (n_items,)``; not to be written to.

    Raises
    ------
    InputError
        If the mask has another type or shape.
    """

    mask: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.mask.ndim != 1 or self.mask.dtype != np.bool_:
            raise InputError(
                f"a set of items needs a mask bool (n_items,), not {self.mask.dtype} "
                f"{self.mask.shape}"
            )

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def items(self) -> npt.NDArray[np.int64]:
        """Their numbers, ascending, ``int64 (n,)``."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The mask, eight items a byte, the first in the lowest bit, as FAISS reads it."""
        return np.packbits(self.mask, bitorder="little")

    def without(self, items: npt.NDArray[np.int64]) -> ItemSet:
        """Return the same but for some items."""
        mask = self.mask.copy()
        mask[items] = False
        return ItemSet(mask)
