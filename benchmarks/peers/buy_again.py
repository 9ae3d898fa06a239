"""What a user takes again: how often they took it, and how lately."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.popularity import label_counts
from benchmarks.peers.task import Task
from twofold.evaluation import buy_again
from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import InputError


@dataclass(frozen=True)
class BuyAgain:
    """The user's own items by how often and how lately they took them, then what is popular.

    It is the opponent that ``twofold evaluate`` shows, searched as other peers are.

    Parameters
    ----------
    has_times
        Whether tasks have times; without, only how often counts.
    """

    has_times: bool = True
    name: str = "buy again"

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        """Half-lives, none first: how often alone."""
        days = [one for one in buy_again.HALF_LIVES if math.isfinite(one)] if self.has_times else []
        return tuple({"half_life_days": one} for one in (None, *days))

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return own items, best first, then popular ones.

        Raises
        ------
        InputError
            If the half-life is not above 0.
        """
        days = settings["half_life_days"]
        if days is not None and not days > 0:
            raise InputError(f"a half-life must be above 0, came {days}")
        opponent = buy_again.BuyAgain(math.inf if days is None else days, {})
        popularity = label_counts(task.log)
        found = opponent.ranking(task.log, task.users, task.excluded, popularity, task.k)
        return Ranked(found.items, found.scores)
