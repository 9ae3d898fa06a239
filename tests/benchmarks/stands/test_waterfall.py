"""The own time of the parts of a request: nested ones count for the innermost alone."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from benchmarks.stands.loops import Loop, closed_loop
from benchmarks.stands.waterfall import REST, Part, Waterfall


def test_parts_add_up_to_the_whole_and_requests_are_apart() -> None:
    waterfall = Waterfall()

    def ask() -> None:
        time.sleep(0.01)
        with waterfall.span("outer"):
            time.sleep(0.02)
            for _ in range(2):
                with waterfall.span("inner", [1, 2]):
                    time.sleep(0.015)

    for _ in range(2):
        begun = time.perf_counter()
        told = waterfall.followed(ask)
        whole = 1e3 * (time.perf_counter() - begun)
        assert set(told) == {Part(REST), Part("outer"), Part("inner", (1, 2))}
        assert told[Part(REST)] >= 10
        assert told[Part("outer")] >= 20
        assert told[Part("inner", (1, 2))] >= 30
        assert sum(told.values()) == pytest.approx(whole, abs=2)


def test_a_part_that_raises_is_closed() -> None:
    waterfall = Waterfall()

    def ask() -> None:
        with waterfall.span("broken"):
            raise KeyError("broken")

    with pytest.raises(KeyError):
        waterfall.followed(ask)
    assert set(waterfall.followed(lambda: None)) == {Part(REST)}


def test_clients_ask_at_once_and_answers_stand_in_the_order_of_requests() -> None:
    together = threading.Barrier(4, timeout=60)

    def ask(number: int) -> int:
        # Broken unless four ask at once.
        together.wait()
        time.sleep(0.01 * (number % 4))
        return number

    four = closed_loop(ask, range(16), 4)
    assert list(four.answers) == list(range(16))
    assert (four.ms >= 10 * (np.arange(16) % 4)).all()
    one = closed_loop(str, range(5), 1)
    assert list(one.answers) == list("01234")
    assert (np.diff(one.ended) > 0).all()
    assert (one.ms <= 1e3 * one.ended).all()


def test_intervals_are_wider_where_the_machine_was_held_up_for_a_while() -> None:
    ended = np.arange(1, 401) / 100.0
    steady = Loop([None] * 400, np.tile([9.0, 10.0, 11.0, 10.0], 100), ended)
    rate, p50 = steady.rate(), steady.times().p50
    assert (rate.value, rate.low, rate.high) == pytest.approx((100, 100, 100))
    assert (p50.low, p50.value, p50.high) == pytest.approx((10, 10, 10))
    slow = np.where(np.arange(400) < 180, 30.0, 10.0)
    held_up = Loop([None] * 400, slow, ended).times().p50
    assert held_up.value == 10
    assert held_up.low < 10
    assert held_up.high > 30


def test_rounds_are_of_requests_as_they_were_answered() -> None:
    ended = np.arange(400, 0, -1) / 100.0
    falling = Loop([None] * 400, np.where(np.arange(400) < 200, 30.0, 10.0), ended)
    assert falling.rate().value == pytest.approx(100)
    shuffled = np.random.default_rng(0).permutation(400)
    other = Loop([None] * 400, falling.ms[shuffled], ended[shuffled])
    assert other.times() == falling.times()
