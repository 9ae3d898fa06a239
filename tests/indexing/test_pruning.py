"""What no generation needs leaves the live log; numbers go on, and late writers are told."""

from __future__ import annotations

from pathlib import Path

from twofold.indexing.live_log import ItemChange, LiveEvent, LiveLog, Position


def _event(user: str) -> LiveEvent:
    return LiveEvent(user, "i", 1, "purchase", 1.0, 1, seen=True, label=True)


def test_what_no_generation_needs_is_pruned_and_numbers_go_on(tmp_path: Path) -> None:
    log = LiveLog(tmp_path)
    assert log.prune(Position(9, 9)) == 0
    log.append([_event(f"u{n}") for n in range(4)])
    log.append_items([ItemChange(f"i{n}", "remove") for n in range(3)])
    assert log.after(1, 3) == (log.after(0)[0][1:3], 3)
    assert [one.item for one in log.item_changes_after(0, 2)[0]] == ["i0", "i1"]
    assert log.prune(Position(4, 3)) == 6
    assert log.after(0) == ([], 0)
    assert [one.item for one in log.item_changes_after(0)[0]] == ["i2"]
    assert not log.append_items([ItemChange("i9", "remove")], read=2)
    log.append([_event("u9")])
    assert log.after(4)[1] == 5
    assert log.prune(Position(4, 3)) == 0
    log.close()
