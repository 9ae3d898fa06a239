"""Small rows as the suites record them; all numbers are made up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HARDWARE = {"cpu": "Made-up 9", "cores": 2, "memory_gib": 8.0, "gpu": None, "threads": 2}
USERS = 500
TIMES = {"p50": 8.0, "p95": 10.0, "p99": 12.5}


def around(mean: float, half: float = 0.01, n_users: int = USERS) -> dict[str, Any]:
    """Return a number with its interval."""
    return {"mean": mean, "low": mean - half, "high": mean + half, "n_users": n_users}


def told(suite: str, cell: str, **more: Any) -> dict[str, Any]:
    """Return a row with all that the harness adds."""
    return {
        "suite": suite,
        "dataset": "movielens-100k",
        "cell": cell,
        "quick": False,
        "run": "2026-05-04T03:02:01+00:00",
        "command": f"python -m benchmarks {suite} movielens-100k",
        "commit": "0123456789abcdef",
        "hardware": HARDWARE,
        "protocol": ["leave-last-n", 5],
        "overrides": [],
        "fingerprint": f"{suite}-{cell}",
        **more,
    }


def quality(cell: str, system: str, ndcg: float, **more: Any) -> dict[str, Any]:
    """Return a row of a system on all users."""
    known = {
        "system": system,
        "group": "all",
        "kind": "quality",
        "n_users": USERS,
        "metrics": {"ndcg@10": around(ndcg), "recall@10": around(2 * ndcg)},
        "latency_ms": {},
        "split": "leave-last-5",
    }
    return told("quality", cell, **{**known, **more})


def pair(other: str, mean: float, p: float, half: float = 0.005) -> dict[str, Any]:
    """Return twofold's paired difference to another system, in a cell of its own."""
    more = {"metric": "ndcg@10", **around(mean, half)}
    both = {"kind": "pair", "system": "reranked", "other": other, "p": p}
    return told("quality", f"pairs: {other}", **both, **more)


def old_quality(name: str, ndcg: float, gap: float, **more: Any) -> dict[str, Any]:
    """Return a row as `twofold evaluate --json` writes it, `gap` its difference to twofold."""
    row = {
        "name": name,
        "group": "all",
        "n_users": USERS,
        "metrics": {"ndcg@10": around(ndcg)},
        "baseline": "reranked",
        "differences": {"ndcg@10": around(gap, 0.002)},
        "latency_ms": {},
        "notes": [],
        **more,
    }
    about = {
        "dataset": "movielens-100k",
        "fingerprint": "f",
        "split": "leave-last-5",
        "split_reason": "",
        "protocol": "",
        "seed": 0,
        "commit": "fedcba9876543210",
        "versions": {},
        "hardware": HARDWARE,
        "settings": {"skip_labels": 0},
    }
    return {"format": 1, "row": row, "circumstances": about}


def behind() -> list[dict[str, Any]]:
    """Return a run in which one peer is ahead of twofold, one is tied, and one is behind."""
    return [
        quality("twofold", "popularity", 0.05),
        quality("twofold", "fused stage one", 0.31),
        quality("twofold", "reranked", 0.3333),
        quality("twofold", "reranked", 0.2, group="history 1-2", kind="slice", n_users=77),
        quality("twofold", "total", 0, kind="latency", metrics={}, latency_ms=TIMES),
        quality("Faster", "Faster", 0.3456, latency_ms={"p99": 3.25}),
        quality("Alike", "Alike", 0.3322),
        pair("popularity", 0.2833, 0.0004),
        pair("fused stage one", 0.0233, 0.0004),
        pair("Faster", -0.0123, 0.001),
        pair("Alike", 0.0011, 0.7),
    ]


def write(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows to a file, and return it."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
