"""Which column of a table plays which part."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NoReturn

from twofold.indexing.errors import DataError
from twofold.indexing.tables import Table

_NAMES = {
    "user": ("user_id user uid customer_id customer reviewer_id member_id account_id visitor_id"),
    "item": (
        "item_id item iid movie_id movie product_id product asin parent_asin article_id book_id "
        "track_id song_id game_id video_id news_id sku isbn"
    ),
    "time": (
        "datetime time timestamp ts date unix_review_time event_time unix_timestamp created_at"
    ),
    "position": "position",
    "event": "event event_type event_name action behavior behaviour",
    "rating": "rating ratings overall stars book_rating",
    "weight": "weight play_count plays",
    "label": "label",
    "split": "split",
    "available_from": "available_from",
    "available_until": "available_until",
}
ALIASES: dict[str, tuple[str, ...]] = {part: tuple(names.split()) for part, names in _NAMES.items()}
"""Names that a column may have for each part; capitals, spaces and underscores do not matter."""

REQUIRED = ("user", "item")


def map_columns(
    table: Table, parts: tuple[str, ...], named: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the column that plays each part, for the parts that the table has.

    Parameters
    ----------
    table
        The table.
    parts
        Parts to look for, keys of `ALIASES`.
    named
        Columns that the settings name for parts: ``None`` looks for an alias, ``""`` says that
        the table has none.

    Raises
    ------
    DataError
        If a named column does not exist, a required one is missing, or two columns could play the
        same part.
    """
    found: dict[str, str] = {}
    for part in parts:
        name = named.get(part)
        if name == "":
            continue
        column = _named(table, part, name) if name is not None else _by_alias(table, part)
        if column is not None:
            found[part] = column
        elif part in REQUIRED:
            _refuse_missing(table, part)
    return found


def _named(table: Table, part: str, name: str) -> str:
    columns = table.frame.columns
    if name in columns:
        return name
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise DataError(
        f"the settings name this column for the {part}, but the table has "
        f"{', '.join(columns)}{hint}",
        file=table.name,
        column=name,
    )


def _by_alias(table: Table, part: str) -> str | None:
    aliases = ALIASES[part]
    if part == "item" and table.what == "items":
        aliases = (*aliases, "id")
    keys = [_key(alias) for alias in aliases]
    columns = [column for column in table.frame.columns if _key(column) in keys]
    # The contract's own name wins over every alias.
    exact = [column for column in columns if column == aliases[0]]
    if len(exact) == 1 or len(columns) == 1:
        return (exact or columns)[0]
    if not columns:
        return None
    raise DataError(
        f"columns {', '.join(columns)} could all be the {part}; name one in the settings "
        f"({part}_column)",
        file=table.name,
    )


def _refuse_missing(table: Table, part: str) -> NoReturn:
    columns = table.frame.columns
    raise DataError(
        f"expected a column for the {part} (such as {', '.join(ALIASES[part][:3])}), came columns "
        f"{', '.join(columns)}; rename one, name it in the settings ({part}_column), or add the "
        "header line if the file has none",
        file=table.name,
    )


def _key(name: str) -> str:
    """Return a name without capitals, separators and a type after a colon (``user_id:token``)."""
    return "".join(one for one in name.split(":")[0].lower() if one.isalnum())
