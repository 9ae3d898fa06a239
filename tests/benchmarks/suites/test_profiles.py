"""The suite of profiles on a small world: texts that tell of users, misses, and labelled pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan
from benchmarks.stands.by_profile import RETRIEVED, keeping_all, reranked
from benchmarks.stands.held_out import split_of
from benchmarks.suites import profiles
from benchmarks.suites.profiles import PROFILES
from tests.benchmarks.measuring import rows_of
from tests.twofold.small_world import TASTES, small_tables
from twofold.embedding import embedded
from twofold.indexing.progress import Silent
from twofold.learning import learn
from twofold.retrieval.candidates import rank
from twofold.retrieval.queries import queries_of_users

Int64s = npt.NDArray[np.int64]
GONE = "i3"  # of the test's items, one that the table of items lacks


@pytest.fixture
def told_data(small_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Return the small world with a split, refusals, a profile a user, and an item without text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(3)
    log, items = small_tables()
    last = pl.col("timestamp").rank("ordinal", descending=True).over("user_id")
    part = pl.when(last <= 2).then(pl.lit("test")).when(last == 3).then(pl.lit("val"))
    log = log.with_columns(
        part.otherwise(pl.lit("train")).alias("split"), label=pl.lit(1, dtype=pl.Int64)
    )
    taken = set(log.select("user_id", "item_id").iter_rows())
    refused = [
        {"user_id": user, "item_id": f"i{item}", "split": "train", "label": 0}
        for user in log["user_id"].unique(maintain_order=True)
        for item in rng.choice(60, 6, replace=False)
        if (user, f"i{item}") not in taken
    ]
    log = pl.concat(
        [log.drop("timestamp"), pl.DataFrame(refused).select([*log.columns[:2], "split", "label"])]
    )
    log.write_parquet(tmp_path / "interactions.parquet")
    items.filter(pl.col("item_id") != GONE).write_parquet(tmp_path / "items.parquet")
    users = [f"u{user}" for user in range(79)]  # of the last nothing is said
    pl.DataFrame(
        {"user": users, "profile_text": [TASTES[number % 2] for number in range(79)]}
    ).write_parquet(tmp_path / "user_profiles.parquet")
    settings = (
        *small_data.settings,
        'data.text_template="{title}"',
        "data.drop_unknown_items=true",
    )
    return replace(small_data, protocol="file", settings=settings)


def test_lists_by_texts_stand_beside_both_stages(told_data: DataSet) -> None:
    rows = rows_of(PROFILES, told_data, quick=True, cells=("twofold",))
    found = {
        row["system"]: row for row in rows if row["kind"] == "quality" and row["group"] == "all"
    }
    assert {"text alone", "text alone, reranked", "text alone, known items kept"} <= set(found)
    assert {"fused stage one", "LambdaRank", "reranked", "popularity"} <= set(found)
    recall = {name: row["metrics"]["recall@10"]["mean"] for name, row in found.items()}
    # Seen items fill a list that keeps them.
    assert recall["text alone, known items kept"] < recall["text alone"]
    gains = {(row["system"], row["metric"]): row for row in rows if row["kind"] == "gain"}
    gain = gains["text alone, reranked", "recall@10"]
    assert gain["mean"] == pytest.approx(recall["text alone, reranked"] / recall["text alone"] - 1)
    (learned,) = [row for row in rows if row["kind"] == "learned"]
    assert 0.9 < learned["share_there"] < 1
    # What has no text counts as missed, and whoever took nothing else is counted too.
    log = pl.read_parquet(told_data.interactions).filter(pl.col("split") == "test")
    assert found[RETRIEVED]["n_users"] == log["user_id"].n_unique()
    split = split_of(Plan(told_data))
    assert int(split.test.sum()) == log.filter(pl.col("item_id") != GONE).height < log.height
    pairs = {
        row["other"]: row for row in rows if row["kind"] == "pair" and row["metric"] == "recall@10"
    }
    gap = recall["reranked"] - recall["text alone, reranked"]
    assert pairs["text alone, reranked"]["mean"] == pytest.approx(gap)


def test_only_what_was_found_is_reranked(told_data: DataSet, tmp_path: Path) -> None:
    plan = Plan(told_data, ("ranker.train=false",))
    dataset, settings = plan.dataset, plan.settings()
    index, _ = embedded(dataset, settings, tmp_path / "vectors", Silent())
    learned = learn(dataset, dataset.interactions, index, settings, Silent())
    queries = queries_of_users(dataset.interactions, np.arange(9), max_history=10)
    rng = np.random.default_rng(0)
    free, both = list[Int64s](), list[Int64s]()
    for banned in queries.excluded.toarray():
        free.append(rng.choice(np.flatnonzero(~banned), 5, replace=False))
        both.append(np.append(free[-1], np.flatnonzero(banned)[:2]))
    for asked, items in ((queries, free), (keeping_all(queries), both)):
        shown = np.stack(items)
        found = rank(shown, rng.random(shown.shape).astype(np.float32), shown.shape[1])
        after = reranked(learned, asked, found, threads=1)
        np.testing.assert_array_equal(np.sort(after.items), np.sort(found.items))
        assert (after.items != found.items).any()
        assert (np.diff(after.scores) <= 0).all()


def test_labelled_pairs_are_told_apart(told_data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "QUICK_USERS", 60)
    rows = rows_of(PROFILES, told_data, quick=True, cells=("pairs",))
    found = {row["system"]: row for row in rows if row["kind"] == "pairs"}
    assert set(found) == {"reranked", "same g, text zeroed", "plain cross-encoder"}
    ours = found["reranked"]
    assert ours["n_users"] == 60
    # Of users who refused as much as they took, as many pairs of both.
    assert 0.3 < ours["hits"] / ours["n_pairs"] < 0.7
    # Half of what was refused is of the other taste. Seen: 0.80.
    assert ours["metrics"]["auc"]["mean"] > 0.7
    (pair,) = [row for row in rows if row["kind"] == "auc"]
    gap = ours["metrics"]["auc"]["mean"] - found["plain cross-encoder"]["metrics"]["auc"]["mean"]
    assert pair["mean"] == pytest.approx(gap)
    assert pair["low"] <= pair["mean"] <= pair["high"]
