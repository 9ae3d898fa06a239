"""Pages of a live catalogue hold what was measured, in one cell or in two."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.report import retrieval_pages as module
from benchmarks.report.verdicts import index_verdicts

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


@pytest.mark.parametrize(("askers", "said"), [(1, "on 1 thread ("), (2, "on 2 threads (")])
def test_a_faster_index_is_named_with_the_threads_that_asked_it(askers: int, said: str) -> None:
    about = {"dataset": "toys", "n_items": 1000, "threads": 1, "recall": 0.99, "askers": askers}
    ours = {**about, "index": "ours", "peer": False, "ours_over_this": 1.0}
    other = {**about, "index": "other", "peer": True, "ours_over_this": 0.5}
    ((verdict, text),) = index_verdicts([ours, other])
    assert verdict == "behind"
    assert f"answers 2.00 times as many {said}" in text
