"""Compiled functions work wherever they may be kept, and other threads run beside them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from twofold.indexing import compiled as module
from twofold.indexing.compiled import compiled


def _total(values: Any) -> Any:
    total = 0.0
    for _ in range(400):
        for value in values:
            total += value
    return total


def test_a_function_that_cannot_be_kept_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def njit(**options: Any) -> Callable[[Any], Any]:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function '_total': no locator available")
        return numba.njit(**options)  # type: ignore[no-any-return]

    monkeypatch.setattr(module, "njit", njit)
    assert compiled(_total)(np.ones(3)) == 1200
    assert [one.get("cache", False) for one in asked] == [True, False]


def test_other_threads_run_beside_it() -> None:
    total, values = compiled(_total), np.ones(400_000)
    total(values[:1])
    ticks, done = 0, threading.Event()

    def work() -> None:
        total(values)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
    worker.join()
    assert ticks > 5  # seen: over 100; 1 where the interpreter is held
