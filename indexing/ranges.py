"""Numbers of settings that must lie in a range."""

from __future__ import annotations

from collections.abc import Callable

from twofold.indexing.errors import SettingsError


def require(
    settings: object,
    place: str,
    *,
    at_least_one: tuple[str, ...] = (),
    natural: tuple[str, ...] = (),
    positive: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
) -> None:
    """Refuse values out of range; one that is ``None`` is left out.

    Parameters
    ----------
    settings
        What has them.
    place
        Section that the message names.
    at_least_one, natural, positive, shares
        Names of settings that must be at least 1, at least 0, above 0, and in [0, 1).

    Raises
    ------
    SettingsError
        If one is out of range.
    """
    rules: tuple[tuple[tuple[str, ...], str, Callable[[float], bool]], ...] = (
        (at_least_one, "be at least 1", lambda value: value >= 1),
        (natural, "not be negative", lambda value: value >= 0),
        (positive, "be above 0", lambda value: value > 0),
        (shares, "be in [0, 1)", lambda value: 0 <= value < 1),
    )
    for names, told, holds in rules:
        for name in names:
            value = getattr(settings, name)
            if value is not None and not holds(value):
                raise SettingsError(f"{place}.{name} must {told}, not {value}")
