"""Numbers out of their range are refused by name, what is left out is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from twofold.indexing.errors import SettingsError
from twofold.indexing.ranges import require

KINDS: dict[str, tuple[list[float | None], list[float], str]] = {
    "at_least_one": ([1, 7, None], [0, -1, float("nan")], "at least 1"),
    "natural": ([0, 0.0, 3, None], [-1, -0.5, float("nan")], "not be negative"),
    "positive": ([1e-9, 2, None], [0, -1.0, float("nan")], "above 0"),
    "shares": ([0, 0.5, 0.999, None], [1, 1.5, -0.1, float("nan")], r"in \[0, 1\)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_holds_what_it_says(kind: str) -> None:
    good, bad, told = KINDS[kind]
    for value in good:
        require(SimpleNamespace(x=value, y=1), "room", **{kind: ("x",)})
    for value in bad:
        with pytest.raises(SettingsError, match=rf"room\.x must .*{told}, not {value}"):
            require(SimpleNamespace(x=value, y=1), "room", **{kind: ("x",)})
