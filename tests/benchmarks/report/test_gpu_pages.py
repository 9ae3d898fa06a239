"""Tables of what a GPU did: each cell's latest rows, and no number that was not measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.report import gpu_pages

HARDWARE = {"gpu": "some card", "cpu": "some cpu", "cores": 4, "threads": 4}


def _row(cell: str, run: str = "1", **values: Any) -> dict[str, Any]:
    about = {"dataset": "films", "command": "films", "commit": "0123456789ab"}
    return {"cell": cell, "run": run, "hardware": HARDWARE, **about, **values}


def test_every_cell_has_a_table_of_its_latest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked: dict[str, Any] = {"users": 1, "candidates": 100, "p50_ms": 2.0, "p99_ms": 3.0}
    rows = [
        _row("reranking, 1 joint", runtime="old", candidates_per_s=1.0, **ranked),
        _row("embedding", device="cpu", dtype="float32", texts_per_s=1200.0),
        _row("exact search, grown", n_items=2_000_000, index="exact", batch=1, system="FAISS")
        | {"device": "cuda", "qps": 5000.0, "p50_ms": 0.2, "speedup_vs_cpu": 9.0, "recall": 1.0}
        | {"share_of_bandwidth": 0.5},
        _row("reranking, 1 joint", "2", runtime="bfloat16", candidates_per_s=5e4, **ranked),
        _row("reranking, 1 joint", "2", runtime="cuda", candidates_per_s=2e5, **ranked)
        | {"speedup_vs_cpu": 4.0, "share_of_peak": 0.0123, "device_busy_ms": 0.25},
        _row("fine-tuning", device="cuda", epoch_seconds=1.25, speedup_vs_cpu=2.0, ndcg10=0.1),
    ]
    monkeypatch.setattr(gpu_pages, "recorded", lambda suite: rows)
    lines = "\n".join(gpu_pages.gpu_pages()).splitlines()
    assert lines[0] == "## films: a GPU, some card"
    tables = [line for line in lines if line.startswith("|") and "---" not in line]
    assert tables[1] == "| 1 | 100 | bfloat16 | 2.00 | 3.00 | 50,000 | – | – | – |"
    assert tables[2] == "| 1 | 100 | cuda | 2.00 | 3.00 | 200,000 | 4.0 | 1.23% | 0.25 |"
    assert tables[4] == "| cpu | float32 | 1,200 | – | – |"
    assert tables[6] == (
        "| 2,000,000 | exact | 1 | FAISS | cuda | 5,000 | 0.20 | 9.0 | 1.0000 | 50.0% |"
    )
    assert tables[8] == "| cuda | 1.2 | 2.0 | 0.1000 |"
    assert lines[-1].endswith("4 cores of some cpu, some card, torch on 4 threads.")
