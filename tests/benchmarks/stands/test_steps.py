"""Steps of a build: own seconds that add up, and each step's own peak of memory."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.harness.memory import resident_mb
from benchmarks.stands.steps import Steps


def test_own_seconds_of_nested_steps_add_up() -> None:
    steps = Steps()
    begun = time.perf_counter()
    with steps.step("outer"):
        time.sleep(0.02)
        for _ in range(2):
            with steps.step("inner", 3) as task:
                time.sleep(0.03)
                task.advance(3)
    whole = time.perf_counter() - begun
    inner, outer = steps.rows()
    assert (inner["step"], inner["times"], outer["step"], outer["times"]) == (
        *("inner", 2),
        *("outer", 1),
    )
    assert inner["seconds"] >= 0.06
    assert outer["seconds"] >= 0.02
    assert inner["seconds"] + outer["seconds"] == pytest.approx(whole, abs=0.02)


def test_peak_memory_is_that_of_the_step_and_of_those_around_it() -> None:
    steps = Steps()
    with steps.step("before"):
        pass
    with steps.step("around"), steps.step("large"):
        whole = np.ones(30 << 20)  # 240 MB
    del whole
    with steps.step("after"):
        pass
    peaks = {row["step"]: row["peak_mb"] for row in steps.rows()}
    assert peaks["large"] > peaks["before"] + 200
    assert peaks["around"] >= peaks["large"]
    assert peaks["after"] < peaks["large"] - 200
    assert steps.peak_mb == pytest.approx(peaks["around"], abs=20)
    assert peaks["after"] == pytest.approx(resident_mb(), abs=50)
