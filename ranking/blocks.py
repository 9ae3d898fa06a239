"""Token states of candidates, block by block, and where each token stands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
    """

    states: Tensor
    starts: Tensor
    lengths: Tensor
    owners: Tensor
    longest: int

    @classmethod
    def packed(cls, states: Tensor, lengths: Tensor, longest: int) -> Blocks:
        """Return blocks that stand one after the other, parameters as of the class."""
        starts = torch.cumsum(lengths, 0) - lengths
        return cls(states, starts, lengths, owners(lengths, len(states)), longest)

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
