"""What a peer is told, and what it must answer: the protocol of whatever ranks beside twofold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from twofold.evaluation.quality import Ranked
from twofold.indexing.interactions import Interactions

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Whom to recommend to, and all that may be known: nothing of the test is in it.

    Parameters
    ----------
    log
        What may be known, numbers for users and items.
    texts
        The text of each item, in order of numbers.
    users
        Whom to answer, ``int64 (n,)``.
    excluded
        What each of them must not be shown, ``bool (n, n_items)``, CSR with sorted indices.
    asked_at
        When each of them asks, milliseconds since 1970, ``int64 (n,)``; ``None`` without times.
    repeat
        Whether what a user has had may come back.
    k
        Length of the lists to return.
    seed, threads
        For whatever draws or computes in parallel.
    """

    log: Interactions
    texts: tuple[str, ...]
    users: Int64s
    excluded: sp.csr_matrix
    asked_at: Int64s | None
    repeat: bool
    k: int
    seed: int
    threads: int


class Peer(Protocol):
    """Something that people would use instead."""

    @property
    def name(self) -> str:
        """Name of its rows."""
        ...

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Settings that a search tries, JSON values, at most 8; what most people take first."""
        ...

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return the best ``task.k`` items for each user, learned from ``task.log`` alone.

        Nothing excluded is among them; -1 pads lists that end earlier.
        """
        ...
