"""Command lines that measure recorded rows again."""

from __future__ import annotations

import pytest

from benchmarks.report.recorded import command_of


@pytest.mark.parametrize(
    ("suite", "given", "told"),
    [
        ("build", "python -m benchmarks build x", "python -m benchmarks build x --record"),
        # Rows from before fingerprints hold what follows the suite, retrieval's with commas.
        ("rerank", "x", "python -m benchmarks rerank x --record"),
        ("retrieval", "x --cells a,b", "python -m benchmarks retrieval x --cells 'a;b' --record"),
        (
            "training",
            "x --cells 'default, seed 1'",
            "python -m benchmarks training x --cells 'default, seed 1' --record",
        ),
        (
            "retrieval",
            "python -m benchmarks retrieval x --cells 'a, b'",
            "python -m benchmarks retrieval x --cells 'a, b' --record",
        ),
    ],
)
def test_a_row_is_measured_again_by_todays_command(suite: str, given: str, told: str) -> None:
    assert command_of(suite, {"command": given}) == told
