"""What is measured: one file a suite."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness.cells import Suite
from benchmarks.suites.quality import QUALITY
from benchmarks.suites.training import TRAINING

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (QUALITY, TRAINING)}
