"""Texts that tell of users, in a table beside a data set's own."""

from __future__ import annotations

from benchmarks.data.datasets import DataSet, table_in
from twofold.indexing.errors import InputError
from twofold.indexing.tables import read_table
from twofold.indexing.vocabulary import Vocabulary

TABLE = "user_profiles"
USER, TEXT = ("user", "user_id"), "profile_text"


def read_profiles(data: DataSet, users: Vocabulary) -> tuple[str, ...]:
    """Return the text of each user, empty where the table has none.

    Parameters
    ----------
    data
        The table ``user_profiles`` stands beside its interactions; columns ``user`` (or
        ``user_id``) and ``profile_text``.
    users
        The users, in their order.

    Raises
    ------
    InputError
        If there is no such table, a column is missing, or a user has two texts.
    """
    table = read_table(table_in(data.interactions.parent, TABLE), "user profiles").frame
    user = next((name for name in USER if name in table.columns), None)
    if user is None or TEXT not in table.columns:
        raise InputError(
            f"user profiles: expected columns {' or '.join(USER)}, and {TEXT}, came "
            f"{', '.join(table.columns)}; rename them"
        )
    told = dict(table.select(user, TEXT).iter_rows())
    if len(told) < table.height:
        raise InputError(
            f"user profiles: {table.height - len(told):,} users have a second text; keep one each"
        )
    return tuple(told.get(one) or "" for one in users.ids)
