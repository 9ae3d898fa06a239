"""Changes of items in the live log: durable, in order, whole, and never over what came between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twofold.indexing.live_log import ItemChange, LiveEvent, LiveLog, Position

VECTOR = np.array([0.6, 0.8], dtype=np.float32)
EVENT = LiveEvent("u", "new", 1, "purchase", 1.0, 1, seen=True, label=True)


def _put(item: str) -> ItemChange:
    return ItemChange(item, "put", '{"item_id": "a"}', "a text", VECTOR)


def test_changes_come_back_as_they_were_and_in_order(tmp_path: Path) -> None:
    log = LiveLog(tmp_path)
    assert log.item_changes_after(0) == ([], 0)
    assert log.append_items([_put("b"), ItemChange("a", "remove")])
    (put, gone), last = LiveLog(tmp_path).item_changes_after(0)
    assert (put.item, put.change, put.attributes, put.text) == (
        "b",
        "put",
        '{"item_id": "a"}',
        "a text",
    )
    assert put.vector is not None
    assert put.vector.dtype == np.float32
    np.testing.assert_array_equal(put.vector, VECTOR)
    assert (gone.item, gone.change, gone.text, gone.vector) == ("a", "remove", None, None)
    assert log.append_items([_put("c")])
    assert [one.item for one in log.item_changes_after(last)[0]] == ["c"]
    assert log.item_changes_after(last + 1) == ([], last + 1)


def test_what_was_checked_against_an_older_state_is_not_written(tmp_path: Path) -> None:
    log, other = LiveLog(tmp_path), LiveLog(tmp_path)
    _, read = log.item_changes_after(0)
    assert other.append_items([_put("a")], read=0)
    assert not log.append_items([_put("a")], read=read)
    changes, read = log.item_changes_after(read)
    assert [one.item for one in changes] == ["a"]
    assert log.append_items([_put("b")], read=read)


def test_a_call_that_fails_leaves_nothing(tmp_path: Path) -> None:
    log = LiveLog(tmp_path)
    wrong = ItemChange("b", "vanish")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="cannot write"):
        log.append_items([_put("a"), wrong])
    assert log.item_changes_after(0) == ([], 0)
    assert log.append_items([_put("a")])


def test_a_log_is_of_another_version_once_anybody_wrote(tmp_path: Path) -> None:
    log, other = LiveLog(tmp_path), LiveLog(tmp_path)
    assert log.version() == other.version() == -1
    seen = set()
    for writer in (log, other):
        writer.append([EVENT])
        seen.add(log.version())
        writer.append_items([_put("new")])
        seen.add(log.version())
    assert len(seen) == 4
    assert log.version() in seen
    log.after(0)
    assert log.version() in seen


def test_changes_are_forgotten_one_by_one(tmp_path: Path) -> None:
    log = LiveLog(tmp_path)
    log.append_items([_put("a"), _put("b"), ItemChange("a", "remove"), _put("a")])
    assert log.forget_items(lambda one: one.item == "a" and one.change == "put") == 2
    assert [one.item for one in log.item_changes_after(0)[0]] == ["b", "a"]
    assert log.append_items([_put("c")], read=4)


def test_a_generation_says_up_to_where_it_holds_the_log() -> None:
    assert Position.of({}) == (0, 0)
    assert Position.of({"live": {"events": 7, "items": 2}}) == Position(7, 2)
    assert Position.of({"live": Position(7, 2).to_dict()}) == Position(7, 2)
