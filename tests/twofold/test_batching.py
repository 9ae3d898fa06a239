"""Requests that meet are computed together, and each gets its own answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from twofold.batching import Batcher


class Work:
    """Doubles numbers, slowly; keeps the batches, and how many were at work at once."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.at_work = self.most_at_work = 0
        self.lock = threading.Lock()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        with self.lock:
            self.batches.append(list(asked))
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        time.sleep(self.seconds)
        with self.lock:
            self.at_work -= 1
        if any(one < 0 for one in asked):
            raise ValueError(f"negative: {[one for one in asked if one < 0]}")
        return [2 * one for one in asked]


@pytest.mark.parametrize("places", [1, 2, 3])
def test_everyone_gets_their_own_answer(places: int) -> None:
    work = Work()
    batcher = Batcher(work, places=places, most=4)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: batcher.ask("same", n), range(100)))
    assert answers == [2 * n for n in range(100)]
    assert sorted(n for batch in work.batches for n in batch) == list(range(100))
    assert max(len(batch) for batch in work.batches) == 4
    assert work.most_at_work <= places
    assert batcher._free == places


def test_who_comes_alone_is_served_alone_and_at_once() -> None:
    work = Work(0.0)
    batcher = Batcher(work, places=1, most=4)
    assert [batcher.ask("same", n) for n in range(3)] == [0, 2, 4]
    assert work.batches == [[0], [1], [2]]


def test_only_one_kind_is_computed_together() -> None:
    work = Work()
    batcher = Batcher(work, places=1, most=8)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: batcher.ask(n % 2, n), range(60)))
    assert all(len({n % 2 for n in batch}) == 1 for batch in work.batches)
    assert max(len(batch) for batch in work.batches) > 1


def test_an_error_reaches_only_its_own_request() -> None:
    work = Work()
    batcher = Batcher(work, places=1, most=8)

    def ask(n: int) -> object:
        try:
            return batcher.ask("same", n)
        except ValueError as error:
            return str(error)

    asked = [-n if n % 7 == 3 else n for n in range(40)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, asked))
    assert answers == [2 * n if n >= 0 else f"negative: [{n}]" for n in asked]
    assert batcher._free == 1


def test_an_interrupted_leader_leaves_the_others_their_turn() -> None:
    class Interrupted(BaseException):
        pass

    begun, go_on = threading.Event(), threading.Event()
    calls: list[list[int]] = []

    def run(asked: Sequence[int]) -> list[int]:
        calls.append(list(asked))
        if len(calls) == 1:
            begun.set()
            go_on.wait(5)
        if len(calls) == 2:
            raise Interrupted
        return [2 * one for one in asked]

    batcher = Batcher(run, places=1, most=8)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.ask, "same", 1)
        assert begun.wait(5)
        others = [pool.submit(batcher.ask, "same", n) for n in (2, 3, 4)]
        deadline = time.monotonic() + 5
        while len(batcher._waiting) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        go_on.set()
        assert first.result(5) == 2
        ended = [one.exception(5) for one in others]
    assert [type(one) for one in ended].count(Interrupted) == 1
    assert sorted(one.result() for one in others if one.exception() is None)[0] >= 4
    assert batcher._free == 1


@pytest.mark.parametrize("chosen", [False, True])
def test_who_stops_waiting_keeps_nobody_from_a_place(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        pass

    work = Work(0.0)
    batcher = Batcher(work, places=1, most=8)
    with batcher.place():

        def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
            if chosen:  # The place is handed over in the very moment of the interruption.
                batcher._leave()
            raise Stopped

        monkeypatch.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(Stopped):
            batcher.ask("same", 1)
        monkeypatch.undo()
        if chosen:
            assert batcher._free == 1
            batcher._free = 0
    assert batcher._free == 1
    assert list(batcher._waiting) == []
    assert batcher.ask("same", 2) == 4


def test_a_held_place_is_not_shared() -> None:
    work = Work(0.0)
    batcher = Batcher(work, places=1, most=8)
    with ThreadPoolExecutor(1) as pool:
        with batcher.place():
            waiting = pool.submit(batcher.ask, "same", 1)
            time.sleep(0.05)
            assert work.batches == []
        assert waiting.result(5) == 2
    assert batcher._free == 1
