"""How to read the user's tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from twofold.indexing.errors import SettingsError
from twofold.indexing.events import EventSettings


@dataclass(frozen=True)
class DataSettings:
    """How to read the user's tables.

    Parameters
    ----------
    text_template
        Text of an item, such as ``"{title}. {genres}"``. ``None`` joins all columns of strings or
        lists of strings, in order, by ``". "``.
    user_column, item_column, time_column, event_column, rating_column, weight_column, label_column
        Names of columns of the interactions. ``None`` finds them by their usual names, ``""`` says
        that there is none.
    position_column, split_column
        Likewise, for the place in the user's sequence, and the part (train, validation, test).
    items_column
        Name of the column of ids in the items table. ``None`` takes `item_column` if the table has
        it and finds it by its usual names otherwise.
    vector_column
        Column of the items with a list of numbers each, vectors that the user brings.
    available_from_column, available_until_column
        Columns of the items with the first moment an item may be recommended, and the first it may
        no longer; empty cells are open ends. ``None`` takes ``available_from`` and
        ``available_until`` where the table has them, ``""`` says that there is none.
    drop_unknown_items
        Whether interactions with items that the items table lacks are left out (counted in the
        notes) rather than refused.
    keep_duplicates
        Whether rows that agree in everything that is read, their time or position included, are
        kept as repeats rather than counted once.
    events
        What events and ratings count for.

    Raises
    ------
    SettingsError
        If two parts are to be read from one column.
    """

    text_template: str | None = None
    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    event_column: str | None = None
    rating_column: str | None = None
    weight_column: str | None = None
    label_column: str | None = None
    position_column: str | None = None
    split_column: str | None = None
    items_column: str | None = None
    vector_column: str | None = None
    available_from_column: str | None = None
    available_until_column: str | None = None
    drop_unknown_items: bool = False
    keep_duplicates: bool = False
    events: EventSettings = field(default_factory=EventSettings)

    def __post_init__(self) -> None:
        named = [column for column in self.named().values() if column]
        twice = sorted({column for column in named if named.count(column) > 1})
        if twice:
            raise SettingsError(f"column '{twice[0]}' is named for two parts; name another")
        if self.user_column == "" or self.item_column == "":
            raise SettingsError("user_column and item_column must name a column or be left out")

    def named(self) -> dict[str, str | None]:
        """Return the columns that were named, by their part."""
        return {
            "user": self.user_column,
            "item": self.item_column,
            "time": self.time_column,
            "event": self.event_column,
            "rating": self.rating_column,
            "weight": self.weight_column,
            "label": self.label_column,
            "position": self.position_column,
            "split": self.split_column,
        }
