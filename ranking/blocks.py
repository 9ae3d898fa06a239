"""Token states of candidates, block by block, and where each token stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Learned(NamedTuple):
    """What gradients reach of blocks whose other states are stored: two rows of each.

    Parameters
    ----------
    rows
        Where each block's reader and its soft token stand, ``int64 (n_blocks, 2)``.
    states
        Their states, ``float32 (n_blocks, 2, d)``.
    """

    rows: Tensor
    states: Tensor


@dataclass(frozen=True)
class Blocks:
    """Token states of candidates: a block each, packed or with room between them.

    Parameters
    ----------
    states
        States of all rows, those between blocks of no meaning, ``float32 (n_rows, d)``.
    starts
        First row of each block, ``int64 (n_blocks,)``.
    lengths
        Tokens a block, at least 1, ``int64 (n_blocks,)``.
    owners
        The block that each row is of, or follows, ``int64 (n_rows,)``.
    longest
        No block, with the room behind it, is longer: so that nobody has to wait for a device to
        tell.
    learned
        Rows that gradients reach, whose values `states` holds without; ``None`` where gradients, if
        any, reach all of `states`.
    """

    states: Tensor
    starts: Tensor
    lengths: Tensor
    owners: Tensor
    longest: int
    learned: Learned | None = None

    @classmethod
    def packed(cls, states: Tensor, lengths: Tensor, longest: int) -> Blocks:
        """Return blocks that stand one after the other, parameters as of the class."""
        starts = torch.cumsum(lengths, 0) - lengths
        return cls(states, starts, lengths, owners(lengths, len(states)), longest)

    def whole(self) -> Blocks:
        """Return the same blocks, gradients reaching the learned rows through `states`."""
        if self.learned is None:
            return self
        rows, learned = self.learned.rows.flatten(), self.learned.states.flatten(0, 1)
        states = self.states.index_copy(0, rows, learned.to(self.states.dtype))
        return replace(self, states=states, learned=None)

    def places(self) -> Tensor:
        """Return where each row stands in its block, from 0, ``int64 (n_rows,)``."""
        rows = torch.arange(len(self.states), device=self.states.device)
        return rows - self.starts[self.owners]

    def ends(self) -> Tensor:
        """Return the last row of each block, ``int64 (n_blocks,)``."""
        return self.starts + self.lengths - 1


def owners(lengths: Tensor, n_tokens: int) -> Tensor:
    """Return the number of the block that each token is of, ``int64 (n_tokens,)``.

    Parameters
    ----------
    lengths
        Tokens a block, block after block, ``int64 (n_blocks,)``.
    n_tokens
        Their sum.
    """
    numbers = torch.arange(len(lengths), device=lengths.device)
    return numbers.repeat_interleave(lengths, output_size=n_tokens)
