"""Systems take turns at little cost, and intervals hold from one run to the next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.harness.timing import Spread, in_rounds, ratio, spread, take_turns, timed
from twofold.indexing.errors import InputError


class Machine:
    """A clock that calls move on: its speed wanders, and some calls take far longer."""

    def __init__(self, seed: int) -> None:
        self.now, self._speed, self._rng = 0.0, 0.0, np.random.default_rng(seed)

    def clock(self) -> float:
        return self.now

    def call(self, seconds: float) -> None:
        # A first-order process, forgotten over some hundred calls, of standard deviation .1.
        self._speed = 0.99 * self._speed + 0.014 * self._rng.standard_normal()
        tail = 1 + 0.05 * abs(self._rng.standard_t(2))
        self.now += seconds * math.exp(self._speed) * tail


def test_order_is_turned_round_and_each_round_asks_all() -> None:
    asked: list[tuple[str, int]] = []

    def noting(name: str) -> Callable[[int], None]:
        return lambda query: asked.append((name, query))

    found = take_turns({name: noting(name) for name in "abc"}, [7, 8], rounds=3, warm_up=1)
    forward = [(name, query) for query in (7, 8) for name in "abc"]
    backward = [(name, query) for query in (7, 8) for name in "cba"]
    assert asked == [*[(name, 7) for name in "abc"], *forward, *backward, *forward]
    assert {name: one.shape for name, one in found.items()} == dict.fromkeys("abc", (3, 2))


def test_milliseconds_are_those_of_the_call() -> None:
    now = [0.0]

    def takes(seconds: float) -> Callable[[float], None]:
        def call(query: float) -> None:
            now[0] += seconds * query

        return call

    found = take_turns(
        {"a": takes(1.0), "b": takes(10.0)}, [1.0, 2.0, 4.0], rounds=2, clock=lambda: now[0]
    )
    np.testing.assert_allclose(found["a"], [[1e3, 2e3, 4e3]] * 2)
    np.testing.assert_allclose(found["b"], [[1e4, 2e4, 4e4]] * 2)
    told = timed(found["b"])
    assert (told.p50.value, told.calls, told.rounds) == (2e4, 6, 2)
    # Rounds that are alike leave nothing open.
    assert told.p50.low == told.p50.high == 2e4
    assert told.told()["p95_ms"] == pytest.approx(np.percentile([1e4, 2e4, 4e4] * 2, 95))
    assert ratio(found["b"], found["a"]).value == pytest.approx(10)


def test_known_answer_of_an_interval() -> None:
    # Logarithms 0, 1, 0, 1: variance 1/3, neighbours all but alike, so the least correlation.
    found = spread(2.0, [1.0, math.e, 1.0, math.e])
    half = 3.182446 * math.sqrt(2 * (1 / 3) / 4 * 2)
    assert math.log(found.high / 2) == pytest.approx(half, rel=1e-6)
    assert math.log(2 / found.low) == pytest.approx(half, rel=1e-6)
    # 0, 0, 1, 1: a quarter of twice the variance is told by neighbours.
    again = spread(2.0, [1.0, 1.0, math.e, math.e])
    wider = math.sqrt((1 + 0.5) / (1 - 0.5) / 2)
    assert math.log(again.high / 2) == pytest.approx(half * wider, rel=1e-6)
    alone = spread(2.0, [2.0])
    assert (alone.low, alone.high) == (0.0, math.inf)


def test_two_systems_are_told_apart_better_by_turns_than_alone() -> None:
    machine = Machine(3)
    found = take_turns(
        {"a": machine.call, "b": lambda query: machine.call(2 * query)},
        [1e-3] * 60,
        clock=machine.clock,
    )
    both, one = ratio(found["b"], found["a"]), timed(found["b"]).p50
    assert both.low < 2 < both.high
    assert both.high / both.low < one.high / one.low
    # A round that is three times as slow for both tells nothing of their ratio.
    under = np.array([[1.0, 1.0], [3.0, 3.0]])
    sure = ratio(2 * under, under)
    assert (sure.low, sure.value, sure.high) == (2.0, 2.0, 2.0)


def test_identical_runs_differ_by_less_than_the_interval() -> None:
    queries = np.random.default_rng(9).lognormal(-7, 0.3, 60).tolist()
    names = ("p50", "p95", "mean")

    def ran(seed: int) -> list[Spread]:
        machine = Machine(seed)
        found = timed(take_turns({"a": machine.call}, queries, clock=machine.clock)["a"])
        return [getattr(found, name) for name in names]

    held: list[list[bool]] = []
    for seed in range(200):
        pair = zip(ran(2 * seed), ran(2 * seed + 1), strict=True)
        held.append([first.low <= second.value <= first.high for first, second in pair])
    shares = np.mean(held, axis=0)
    assert (shares >= 0.9).all(), dict(zip(names, shares, strict=True))
    # An interval that held always would say nothing.
    assert (shares < 1).all()


def test_the_loop_costs_less_than_a_fiftieth_of_a_call_of_a_millisecond() -> None:
    def busy(_: int) -> None:
        end = time.perf_counter() + 1e-3
        while time.perf_counter() < end:
            pass

    def cost() -> float:
        begun = time.perf_counter()
        found = take_turns({"a": busy, "b": busy}, range(20), rounds=2, warm_up=0)
        whole = 1e3 * (time.perf_counter() - begun)
        told = sum(float(one.sum()) for one in found.values())
        assert told >= 80
        return (whole - told) / told

    assert np.median([cost() for _ in range(9)]) < 0.02


def test_calls_that_are_not_made_again_are_rounds_in_their_order() -> None:
    np.testing.assert_array_equal(in_rounds(np.arange(7.0), 3), [[0, 1], [2, 3], [4, 5]])
    assert in_rounds(np.arange(2.0)).shape == (2, 1)


@pytest.mark.parametrize("rounds", [0, 1])
def test_nothing_to_time_is_refused(rounds: int) -> None:
    with pytest.raises(InputError, match="at least one"):
        take_turns({"a": len} if rounds else {}, [], rounds=rounds)
