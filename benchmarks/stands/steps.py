"""What the steps of a build take: seconds, and memory at most."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.memory import forget_peak, peak_mb


@dataclass
class _Open:
    name: str
    begun: float
    inner: float = 0.0
    peak_mb: float = 0.0


class _Ignored:
    def advance(self, amount: float = 1) -> None:
        return None

    def note(self, text: str) -> None:
        return None


class Steps:
    """A progress that remembers what each step took; steps may be nested, in one thread.

    The kernel counts peak memory for the whole process, and begins anew at every step's beginning
    and end.
    """

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._told: dict[str, dict[str, Any]] = {}
        self.peak_mb = 0.0

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[_Ignored]:
        """Remember a step."""
        self.settle()
        this = _Open(name, time.perf_counter())
        self._open.append(this)
        try:
            yield _Ignored()
        finally:
            seconds = time.perf_counter() - this.begun
            self.settle()
            self._open.pop()
            if self._open:
                self._open[-1].inner += seconds
            told = self._told.setdefault(name, {"step": name, "times": 0, "seconds": 0.0})
            told["times"] += 1
            # What steps inside took is theirs, so that all steps add up.
            told["seconds"] += seconds - this.inner
            told["peak_mb"] = max(told.get("peak_mb", 0.0), this.peak_mb)

    def settle(self) -> None:
        """Take the peak up to now, and let it begin anew."""
        peak = peak_mb()
        self.peak_mb = max(self.peak_mb, peak)
        for one in self._open:
            one.peak_mb = max(one.peak_mb, peak)
        forget_peak(collect=False)

    def rows(self) -> list[dict[str, Any]]:
        """Return the steps in the order they ended first: times, own seconds, peak memory."""
        return list(self._told.values())
