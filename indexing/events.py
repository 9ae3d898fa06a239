"""What every kind of event and rating counts for: the one table that all of the project follows.

Stage one, histories, exclusions, labels and metrics read the columns that these rules fill
(:class:`twofold.indexing.interactions.Interactions`) and never look at raw events again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twofold.indexing.errors import SettingsError


@dataclass(frozen=True)
class EventRule:
    """What one event counts for.

    Parameters
    ----------
    weight
        How much it raises the item, at least 0; above 0 exactly where `sign` is +1. The strongest
        statement, a purchase or a like, weighs 1.
    sign
        +1 raises the item, -1 is a dislike, 0 says neither.
    seen
        Whether the item is not recommended again.
    label
        Whether it is a hit for training and metrics; only where `sign` is +1.

    Raises
    ------
    SettingsError
        If the four contradict each other.
    """

    weight: float
    sign: int
    seen: bool
    label: bool

    def __post_init__(self) -> None:
        if self.sign not in (-1, 0, 1):
            raise SettingsError(f"sign of an event must be -1, 0 or 1, came {self.sign}")
        if not math.isfinite(self.weight) or self.weight < 0:
            raise SettingsError(f"weight of an event must be at least 0, came {self.weight}")
        if (self.weight > 0) != (self.sign > 0):
            raise SettingsError(
                "an event has a weight above 0 exactly where its sign is 1, came weight "
                f"{self.weight} with sign {self.sign}; dislikes and impressions weigh 0"
            )
        if self.label and self.sign <= 0:
            raise SettingsError("only an event of sign 1 can be a label; set label to false")


EVENT_RULES: dict[str, EventRule] = {
    "view": EventRule(0.1, 1, seen=True, label=True),
    "click": EventRule(0.2, 1, seen=True, label=True),
    "cart": EventRule(0.5, 1, seen=True, label=True),
    "purchase": EventRule(1.0, 1, seen=True, label=True),
    "like": EventRule(1.0, 1, seen=True, label=True),
    "dislike": EventRule(0.0, -1, seen=True, label=False),
    "skip": EventRule(0.0, 0, seen=True, label=False),
    "impression": EventRule(0.0, 0, seen=False, label=False),
}
POSITIVE = EventRule(1.0, 1, seen=True, label=True)
NEUTRAL = EventRule(0.0, 0, seen=True, label=False)
"""A rating between the thresholds: the user knows the item, and nothing more is said."""

EVENT_ALIASES = {
    "page_view": "view",
    "pageview": "view",
    "addtocart": "cart",
    "add_to_cart": "cart",
    "buy": "purchase",
    "order": "purchase",
    "transaction": "purchase",
}


@dataclass(frozen=True)
class EventSettings:
    """How events and ratings count.

    Parameters
    ----------
    rules
        Rules beside or instead of the built-in ones, each ``(event, weight, sign, seen, label)``,
        such as ``("wishlist", 0.75, 1, True, True)``.
    like_at_least
        Ratings from here up are likes. ``None`` makes a positive of every rating above
        `dislike_at_most`, with weight 1.
    dislike_at_most
        Ratings up to here are dislikes. ``None`` means that no rating is one; ratings between the
        two thresholds count as seen and nothing else.

    Raises
    ------
    SettingsError
        If a rule contradicts itself or the thresholds cross.
    """

    rules: tuple[tuple[str, float, int, bool, bool], ...] = ()
    like_at_least: float | None = None
    dislike_at_most: float | None = None

    def __post_init__(self) -> None:
        low, high = self.dislike_at_most, self.like_at_least
        if low is not None and high is not None and low >= high:
            raise SettingsError(
                f"dislike_at_most ({low}) must be below like_at_least ({high}); change one"
            )
        self.table()

    def table(self) -> dict[str, EventRule]:
        """Return the rule of every event name."""
        own = {
            name: EventRule(weight, sign, seen=seen, label=label)
            for name, weight, sign, seen, label in self.rules
        }
        return {**EVENT_RULES, **own}
