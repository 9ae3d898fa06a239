"""The live suite counts wrong answers, and says how soon things count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.suites import live as suite
from tests.benchmarks.measuring import rows_of
from twofold.live_users import LiveUsers


@pytest.mark.parametrize("forgetful", [False, True])
def test_wrong_answers_are_counted(
    tmp_path: Path, small_data: DataSet, monkeypatch: pytest.MonkeyPatch, forgetful: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Few enough that nobody has seen everything.
    for name, value in (("EVENTS_A_CALL", 40), ("ITEMS_A_CALL", 12), ("CHECKED", 8)):
        monkeypatch.setattr(suite, name, value)
    monkeypatch.setattr(suite, "QUICK", suite.Size(400, 120, 0.2, 0 if forgetful else 2))
    if forgetful:
        take_in = LiveUsers.take_in

        def halved(users: LiveUsers, events: Any) -> None:
            take_in(users, list(events)[::2])

        monkeypatch.setattr(LiveUsers, "take_in", halved)
    found, left = rows_of(suite.LIVE, small_data, quick=True)
    assert found["events"] == 400
    assert found["item_changes"] == 120
    assert found["meanwhile_requests"] > 10
    assert (found["wrong"] + found["wrong_after_loading"] > 0) == forgetful
    if not forgetful:
        assert found["missing"] == 0, found["examples"]
        assert left["lost"] == left["half"] == 0
        assert left["acknowledged"] >= 2
