"""The queries of a test: each user who holds something out, as of the moment it was done."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twofold.evaluation.held_out import users_held_out
from twofold.indexing.dataset import Dataset
from twofold.indexing.interactions import Interactions
from twofold.retrieval.freshness import asked_before
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.settings import Settings


def held_out_queries(
    dataset: Dataset,
    known: Interactions,
    tested: npt.NDArray[np.bool_],
    settings: Settings,
    *,
    most: int | None = None,
) -> Queries:
    """Return one query a user of the test, in rising order of users.

    Parameters
    ----------
    dataset
        The data.
    known
        What may be known.
    tested
        Which of the data's interactions are held out, ``bool (n,)``.
    settings
        All settings.
    most
        At most so many users, drawn by the seed; ``None`` for all.
    """
    users = users_held_out(dataset.interactions, tested)
    users = np.sort(np.random.default_rng(settings.seed).permutation(users)[:most])
    stage_one = settings.stage_one
    queries = queries_of_users(
        known, users, max_history=stage_one.max_history, repeat=stage_one.repeat
    )
    if not dataset.has_times:
        return queries
    return asked_before(queries, dataset.interactions.take(tested))
