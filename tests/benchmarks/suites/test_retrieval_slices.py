"""What the slices, diversity and cold-items cells measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.suites import retrieval_slices as slices
from benchmarks.suites.retrieval import RETRIEVAL
from tests.benchmarks.measuring import rows_of
from twofold.indexing.vectors import normalised
from twofold.ranking.shaping import centre_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def _rows(data: DataSet, cell: str) -> list[dict[str, Any]]:
    return rows_of(RETRIEVAL, data, cells=(cell,))


def test_likeness_is_the_mean_cosine_of_two_items() -> None:
    vectors = normalised(np.random.default_rng(0).standard_normal((9, 4)) + 1)
    vectors[4] = 0
    items = np.array([[0, 1, 2], [3, 4, 5], [6, -1, -1], [8, 8, 8]])
    found = slices.likeness(items, vectors)
    seen = normalised(vectors - centre_of(vectors))
    pairs = [seen[a] @ seen[b] for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found[0] == pytest.approx(np.mean(pairs), abs=1e-6)
    assert found[1] == pytest.approx(seen[3] @ seen[5], abs=1e-6)
    assert np.isnan(found[2])
    assert found[3] == pytest.approx(1)


def test_slices_hold_everybody_once(small_data: DataSet) -> None:
    rows = _rows(small_data, "slices")
    by = {row["slice"]: row for row in rows}
    histories = [row for name, row in by.items() if name.startswith("history")]
    assert sum(row["n_users"] for row in histories) == by["all users"]["n_users"] == 80
    ages = [row for name, row in by.items() if name.startswith("items") and name != "items all"]
    n_labels = [row["n_labels"]["mean"] for row in ages]
    assert sum(n_labels) == by["items all"]["n_labels"]["mean"]
    told = sum(n * row["ndcg@10"]["mean"] for n, row in zip(n_labels, ages, strict=True))
    assert told == pytest.approx(sum(n_labels) * by["items all"]["ndcg@10"]["mean"])
    for row in rows:
        assert row["recall@union"]["mean"] >= row["recall@100"]["mean"] - 1e-12


def test_diversity_makes_lists_less_alike_and_caps_hold(small_data: DataSet) -> None:
    rows = _rows(small_data, "diversity")
    assert [row["diversity"] for row in rows] == list(slices.DIVERSITIES)
    assert rows[0]["ndcg@10 - plain"]["mean"] == 0
    alike = [row["alike"]["mean"] for row in rows]
    assert alike[-1] < alike[3] < alike[0]
    assert all(row["length"] == 10 for row in rows)
    items = pl.read_parquet(small_data.items)
    kinds = items.with_columns(genres=pl.Series([f"a, b{n % 6}" for n in range(len(items))]))
    kinds.write_parquet(small_data.items)
    # One column for the text keeps it what it was.
    own = replace(small_data, settings=(*small_data.settings, 'data.text_template="{title}"'))
    capped = [row for row in _rows(own, "diversity") if "at_most" in row]
    assert [row["at_most"]["genres"] for row in capped] == list(slices.CAPS)
    # Every item is of kind "a", so that a list is as long as its cap.
    assert [row["length"] for row in capped] == list(slices.CAPS)


def test_items_held_out_whole_are_found_by_text_alone_or_by_guesses(
    small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "COLD_SHARE", 0.2)
    monkeypatch.setattr(slices, "DEPTH", 30)
    # So few items say nothing of 64 factors.
    few = (*small_data.settings, "stage_one.collaborative.factors=4")
    rows = _rows(replace(small_data, settings=few), "cold-items")
    of = {(row["system"], row["guessed"]): row for row in rows if row["labels"] == "of cold items"}
    assert len(of) == 8
    assert {row["n_cold"] for row in of.values()} == {12}
    recalls = {key: row["recall"]["mean"] for key, row in of.items()}
    assert recalls["collaborative", False] == 0
    assert recalls["collaborative", True] > 0
    assert recalls["text", True] == recalls["text", False] > 0
    others = [row for row in rows if row["labels"] == "of other items"]
    assert [row["guessed"] for row in others] == [False, True]
    gap = others[1]["ndcg@10"]["mean"] - others[0]["ndcg@10"]["mean"]
    assert others[1]["ndcg@10 - without"]["mean"] == pytest.approx(gap)
