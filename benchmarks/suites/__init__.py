"""What is measured: one file a suite."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness.cells import Suite
from benchmarks.suites.build import BUILD
from benchmarks.suites.endtoend import ENDTOEND
from benchmarks.suites.training import TRAINING

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (TRAINING, ENDTOEND, BUILD)}
