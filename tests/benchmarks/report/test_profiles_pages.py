from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.html import page
from benchmarks.report.profiles_pages import profiles_pages
from benchmarks.report.recorded import Recorded
from benchmarks.report.verdicts import all_verdicts
from tests.benchmarks.report.rows import around, told, write


def row(cell: str, kind: str, system: str, **more: Any) -> dict[str, Any]:
    about = {"dataset": "ifdb", "protocol": ["file", 1], "split": "file"}
    return told("profiles", cell, kind=kind, system=system, **about, **more)


def system(name: str, value: float) -> dict[str, Any]:
    metrics = {metric: around(value) for metric in ("recall@10", "ndcg@10", "mrr@10")}
    return row("twofold", "quality", name, group="all", n_users=500, metrics=metrics, latency_ms={})


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    by_text, after = "text alone", "text alone, reranked"
    metrics = {"auc": around(0.6), "gauc": around(0.58)}
    gap = {"metric": "recall@10", "p": 0.01, **around(0.1234)}
    rows = [
        *[system(by_text, 0.05), system(after, 0.11), system("reranked", 0.21)],
        row("twofold", "gain", after, other=by_text, metric="recall@10", **around(1.2)),
        row("twofold", "pair", "reranked", other=after, **gap),
        row("twofold", "learned", "reranked", share_there=0.91),
        row("pairs", "pairs", "reranked", n_users=500, n_pairs=1468, hits=830, metrics=metrics),
        row("pairs", "auc", "reranked", other="plain cross-encoder", **around(0.04)),
    ]
    write(tmp_path / "profiles.jsonl", rows)
    return Recorded(tmp_path)


def test_the_page_tells_lists_gains_and_pairs(recorded: Recorded) -> None:
    text = "\n".join(profiles_pages(recorded))
    assert "## ifdb: what a text retrieves, reranked\n" in text
    assert "of all that is held out 0.910 can be found" in text
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert names[2:] == ["text alone", "text alone, reranked", "reranked"]
    assert "- recall@10, text alone, reranked against text alone: +120% [+119%, +121%]" in text
    assert "- recall@10, reranked − text alone, reranked: +0.1234 [+0.1134, +0.1334]" in text
    assert "- AUC of 1,468 labelled pairs of 500 users, reranked: 0.6000" in text
    assert "- AUC, reranked − plain cross-encoder: +0.0400 [+0.0300, +0.0500]" in text


def test_published_numbers_stand_beside_what_followed_their_recipe(recorded: Recorded) -> None:
    html = page(recorded)
    assert "text alone, reranked" in html
    assert "+ cross-encoder rerank" in html
    words, told = zip(*all_verdicts(recorded), strict=True)
    assert words == ("behind", "behind")
    assert "what has no text counted as missed: published numbers above ours" in told[0]
    assert "+ cross-encoder rerank 0.4315" in told[0]
    assert "+ cross-encoder rerank 0.3097" in told[1]


def test_without_rows_there_is_no_section(tmp_path: Path) -> None:
    assert list(profiles_pages(Recorded(tmp_path))) == []
