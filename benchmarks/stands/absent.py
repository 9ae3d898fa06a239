"""What a test holds out of items that the catalogue lacks: misses of every system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.harness.cells import Plan
from twofold.evaluation.held_out import truth_of, users_held_out
from twofold.evaluation.metrics import Truth
from twofold.evaluation.quality import Ranked
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.splits import choose_split


@dataclass(frozen=True)
class Absent:
    """What each user holds out, whether the catalogue has it or not.

    Parameters
    ----------
    held_out
        Id of a user -> number of items.
    lost
        The users of whom the catalogue has none of these.
    share
        How much of all that is held out the catalogue has, in [0, 1].
    """

    held_out: Mapping[str, int]
    lost: tuple[str, ...]
    share: float

    @classmethod
    def of(cls, plan: Plan) -> Absent:
        """Return what the interactions alone hold out, beside what they do with the items."""
        settings = plan.settings()
        whole = load_dataset(
            plan.data.interactions,
            None,
            replace(settings.data, text_template=None),
            seed=settings.seed,
            progress=plan.progress,
        )
        all_of_it, there = (_counted(one, plan) for one in (whole, plan.dataset))
        lost = tuple(user for user in all_of_it if user not in there)
        return cls(all_of_it, lost, sum(there.values()) / sum(all_of_it.values()))

    def with_misses(
        self, lists: Mapping[str, Ranked], truth: Truth, users: Sequence[str]
    ) -> tuple[dict[str, Ranked], Truth]:
        """Return lists and truth of all users, what no list can hold counted as held out.

        Those of whom nothing can be found come last, each with empty lists.

        Parameters
        ----------
        lists
            System -> lists of users of whom something can be found.
        truth
            What can be found.
        users
            Their ids.
        """
        missing = np.array([self.held_out[one] for one in users]) - truth.n_held_out()
        missing = np.append(missing, [self.held_out[one] for one in self.lost]).astype(np.int64)
        missed = np.repeat(np.arange(len(missing)), missing)
        rows = np.concatenate([truth.rows, missed])
        items = np.concatenate([truth.items, np.full(len(missed), -1, dtype=np.int64)])
        whole = Truth.from_pairs(rows, items, len(missing))
        return {name: _with_empty(one, len(self.lost)) for name, one in lists.items()}, whole


def _counted(dataset: Dataset, plan: Plan) -> dict[str, int]:
    """Return how many items each user of the test holds out, by id."""
    split = choose_split(dataset, plan.data.protocol, n=plan.data.n_labels)
    users = users_held_out(dataset.interactions, split.test)
    counts = truth_of(dataset.interactions, split.test, users).n_held_out()
    return dict(zip(dataset.users.decode(users), counts.tolist(), strict=True))


def _with_empty(lists: Ranked, n: int) -> Ranked:
    width = lists.items.shape[1]
    items = np.concatenate([lists.items, np.full((n, width), -1, dtype=np.int64)])
    if lists.scores is None:
        return Ranked(items)
    nothing = np.full((n, width), -np.inf, dtype=lists.scores.dtype)
    return Ranked(items, np.concatenate([lists.scores, nothing]))
