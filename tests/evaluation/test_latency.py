from __future__ import annotations

from time import sleep

import numpy as np
import pytest

from twofold.evaluation.latency import Latency, measure, measure_stages
from twofold.indexing.errors import InputError


def test_percentiles() -> None:
    latency = Latency.of(np.arange(101.0))
    assert (latency.p50, latency.p95, latency.p99, latency.mean) == (50, 95, 99, 50)
    assert latency.n == 101
    assert latency.percentiles() == {"p50": 50, "p95": 95, "p99": 99}


def test_one_query_at_a_time_after_warm_up() -> None:
    asked: list[int] = []
    latency = measure(asked.append, [1, 2, 3], warm_up=2, repeats=2)
    assert asked == [1, 2, 1, 2, 3, 1, 2, 3]
    assert latency.n == 6


def test_stages_hand_on_results_and_are_timed_apart() -> None:
    seen: list[int] = []

    def slow(query: int) -> int:
        sleep(0.004)
        return query + 1

    found = measure_stages({"slow": slow, "quick": seen.append}, [1, 2], warm_up=0, repeats=3)
    assert seen == [2, 3] * 3
    assert list(found) == ["slow", "quick", "total"]
    assert found["slow"].p50 >= 4
    assert found["quick"].p50 < 4
    total = found["slow"].mean + found["quick"].mean
    assert found["total"].mean == pytest.approx(total)


def test_the_first_slow_calls_are_not_measured() -> None:
    pauses = iter([0.05, 0.05, 0, 0, 0])
    assert measure(lambda _: sleep(next(pauses)), [1, 2, 3], warm_up=2).p99 < 40


def test_refusals() -> None:
    with pytest.raises(InputError, match="at least one"):
        measure(print, [])
    with pytest.raises(InputError, match="at least one"):
        measure_stages({}, [1])
    with pytest.raises(InputError, match="at least one"):
        measure(print, [1], repeats=0)
    with pytest.raises(InputError, match="total"):
        measure_stages({"total": print}, [1])
