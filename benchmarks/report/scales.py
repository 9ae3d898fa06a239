"""Axes of charts: from numbers to places, and the numbers that are written along them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """An axis.

    Parameters
    ----------
    low, high
        Numbers at its ends; `low` above 0 where it is logarithmic.
    begin, end
        Their places.
    log
        Whether it is logarithmic.
    """

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a number, held inside the axis."""
        low, high, value = (self._shown(one) for one in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.begin + min(1.0, max(0.0, share)) * (self.end - self.begin)

    def _shown(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value

    def ticks(self) -> list[float]:
        """Return the numbers to write: round ones, four to nine of them."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def scale(
    values: Iterable[float], begin: float, end: float, *, log: bool = False, zero: bool = False
) -> Scale:
    """Return an axis that holds all numbers with some room; `zero` holds 0 too."""
    known = [one for one in values if math.isfinite(one) and (one > 0 or not log)]
    known += [0.0] if zero else []
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if log:
        low, high = (low, high) if known and low > 0 else (1.0, 10.0)
        room = max((high / low) ** 0.06, 1.1)
        return Scale(low / room, high * room, begin, end, log=True)
    room = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low if zero and low == 0 else low - room, high + room, begin, end)


def _ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((m for m in (1, 2, 2.5, 5, 10)), key=lambda m: abs(m * power - rough))
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    if high / low < 5:
        return [value for value in _ticks(low, high) if value > 0]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for heads in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        found = [h * 10.0**p for p in powers for h in heads if low <= h * 10.0**p <= high]
        if len(found) >= 3:
            return found
    return [low, high]


def short(value: float) -> str:
    """Return a number as it is written along an axis."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.6g}"
