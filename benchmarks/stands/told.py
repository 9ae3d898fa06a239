"""Rows of an evaluation as rows of a suite."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.harness.cells import Row
from twofold.evaluation.report import Row as Found


def told(row: Found, kind: str, split: str) -> Row:
    """Return a row of an evaluation as a row of the suite."""
    return {
        "kind": kind,
        "system": row.name,
        "group": row.group,
        "n_users": row.n_users,
        "split": split,
        "metrics": {name: asdict(found) for name, found in row.metrics.items()},
        "baseline": row.baseline,
        "differences": {name: asdict(found) for name, found in row.differences.items()},
        "latency_ms": dict(row.latency_ms),
    }
