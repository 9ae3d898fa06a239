"""What is measured: one file a suite."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.harness.cells import Suite
from benchmarks.suites.als import ALS
from benchmarks.suites.build import BUILD
from benchmarks.suites.endtoend import ENDTOEND
from benchmarks.suites.gpu import GPU
from benchmarks.suites.layers import LAYERS
from benchmarks.suites.live import LIVE
from benchmarks.suites.profiles import PROFILES
from benchmarks.suites.quality import QUALITY
from benchmarks.suites.rerank import RERANK
from benchmarks.suites.retrieval import RETRIEVAL
from benchmarks.suites.serving import SERVING
from benchmarks.suites.soak import SOAK
from benchmarks.suites.training import TRAINING

SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        *(QUALITY, PROFILES, RETRIEVAL, RERANK, TRAINING, ENDTOEND, BUILD),
        *(SERVING, LIVE, SOAK, LAYERS, ALS, GPU),
    )
}
