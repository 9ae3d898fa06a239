"""Memory in use is what was asked for and not given back."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness import memory


def test_what_is_given_back_is_no_longer_in_use() -> None:
    before = memory.allocated_mb()
    held = [np.ones(1 << 20, dtype=np.uint8) for _ in range(40)]
    while_held = memory.allocated_mb()
    # Every second goes: what is left keeps the heap from shrinking.
    del held[::2]
    assert while_held - before == pytest.approx(40, abs=2)
    assert memory.allocated_mb() - before == pytest.approx(20, abs=2)
