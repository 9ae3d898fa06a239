"""Pages of engines that go on for long hold what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.report import live_pages as module

ABOUT = {
    "dataset": "toys",
    "commit": "0" * 40,
    "threads": 2,
    "hardware": {"cores": 2, "cpu": "any", "gpu": None},
}
SPENT = dict.fromkeys(
    (f"thousand_events{when}_{name}_ms" for when in ("", "_quiet") for name in ("p50", "p99")), 7.5
)
LIVED = {
    "events": 1234,
    "item_changes": 56,
    "readers": 8,
    "seconds": 9.0,
    "wrong": 3,
    "missing": 4,
    "wrong_after_loading": 5,
    **SPENT,
}
KILLED = {"kills": 20, "acknowledged": 177, "lost": 6, "half": 2}


@pytest.mark.parametrize(
    ("cells", "lived", "killed"),
    [
        ([LIVED, KILLED], True, True),
        ([KILLED, LIVED], True, True),
        ([{**LIVED, **KILLED}], True, True),
        ([KILLED], False, True),
        ([LIVED], True, False),
    ],
)
def test_a_live_catalogue_is_told_of_in_whatever_cells_it_stands(
    cells: list[dict[str, Any]], lived: bool, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**ABOUT, **one, "cell": str(place)} for place, one in enumerate(cells)]
    monkeypatch.setattr(module, "recorded", lambda suite: rows)
    told = "\n".join(module.live_pages())
    assert told.count("1,234 events") == lived
    assert told.count("3 wrong answers, 4 missing, 5 after") == lived
    assert told.count("20 times kill -9 while writing: 177 calls acknowledged, 6 lost") == killed


def test_kills_tell_what_they_came_on_top_of(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {**ABOUT, **KILLED, "cell": "kills", "rows_before": 4321}
    monkeypatch.setattr(module, "recorded", lambda suite: [row])
    assert "while writing, on top of 4,321 events and changes: 177" in "".join(module.live_pages())


def test_a_soak_tells_of_its_latest_run(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {
        **ABOUT,
        "requests": 163504,
        "clients": 16,
        "minutes": 10.0,
        "wrong": 7,
        "rss_mb_first": 2239.1,
        "rss_mb_last": 2257.8,
        "growth_mb_a_minute": 1.86,
    }
    monkeypatch.setattr(module, "recorded", lambda suite: [{**row, "wrong": 9}, row])
    told = "\n".join(module.soak_pages())
    assert "- 163,504 requests by 16 clients in 10 minutes: 7 wrong answers" in told
    assert "2,239 MiB once the caches were full, 2,258 at the end: +1.9 a minute" in told
    assert told.count("## toys") == 1
    assert "of it in use" not in told
    used = {"allocated_mb_first": 900.04, "allocated_mb_last": 900.5}
    row |= {**used, "allocated_growth_mb_a_minute": 0.057}
    told = "\n".join(module.soak_pages())
    assert "- of it in use 900.0 MiB, 900.5 at the end: +0.06 a minute" in told
