"""The quality suite on a small world: ours, peers found by their trials, and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.data.datasets import DataSet
from benchmarks.harness.cells import Plan, Row
from benchmarks.harness.exercised import exercised
from benchmarks.harness.records import Records
from benchmarks.harness.running import Run
from benchmarks.harness.users import UserResults
from benchmarks.peers.cross_encoder import Recipe
from benchmarks.peers.task import Task
from benchmarks.suites import quality, quality_cross_encoder
from benchmarks.suites.quality import QUALITY, QUICK
from benchmarks.suites.quality_cross_encoder import TRAINING
from twofold.evaluation.quality import Ranked


@dataclass(frozen=True)
class Countdown:
    """Ranks items by number, from the end or the beginning, and may show what is excluded."""

    name: str = "countdown"
    honest: bool = True

    @property
    def grid(self) -> tuple[Mapping[str, Any], ...]:
        return ({"from": "beginning"}, {"from": "end"})

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        order = np.arange(task.log.n_items)[:: -1 if settings["from"] == "end" else 1]
        excluded = task.excluded.toarray() if self.honest else np.zeros(task.excluded.shape, bool)
        items = np.full((len(task.users), task.k), -1, dtype=np.int64)
        for row, banned in enumerate(excluded):
            shown = order[~banned[order]][: task.k]
            items[row, : len(shown)] = shown
        return Ranked(items)


@dataclass(frozen=True)
class Stand:
    plan: Plan
    users: UserResults
    records: Records

    def rows(self, *cells: str) -> list[Row]:
        return list(Run(QUALITY, self.plan, self.users, self.records).rows(cells))


@pytest.fixture
def stand(small_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.setattr(quality, "peers_of", lambda *_, **__: (Countdown(),))
    monkeypatch.setattr(quality, "USERS", 20)
    monkeypatch.setattr(quality_cross_encoder, "Recipe", lambda: Recipe(2, 2, 2))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    records = Records(tmp_path / "rows.jsonl")
    return Stand(Plan(small_data, QUICK), UserResults(tmp_path / "users"), records)


def test_a_peer_ranks_the_test_with_the_best_of_its_trials(stand: Stand) -> None:
    *trials, last = stand.rows("countdown")
    reached = [row["ndcg@10"] for row in trials]
    assert [row["trial"]["from"] for row in trials] == ["beginning", "end"]
    assert reached[0] != reached[1]
    search = last["search"]
    assert search["best"] == trials[int(np.argmax(reached))]["trial"]
    assert search["validation_ndcg@10"] == max(reached)
    assert (search["trials"], search["most_trials"], search["most_minutes"]) == (2, 8, 20.0)
    assert last["metrics"]["ndcg@10"]["low"] <= last["metrics"]["ndcg@10"]["mean"]
    # All stands recorded: nothing is run again.
    assert stand.rows("countdown") == []


def test_a_search_ends_when_its_time_is_spent(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.stands.searched.MINUTES", 0.0)
    # The first trial is always run: without one there would be nothing to choose.
    first, second, last = stand.rows("countdown")
    assert first["ndcg@10"] is not None
    assert second["skipped"] == "0 minutes are spent"
    assert last["search"]["trials"] == 1


def test_a_peer_that_shows_what_is_excluded_is_refused(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "peers_of", lambda *_, **__: (Countdown(honest=False),))
    with pytest.raises(ValueError, match="shows users what is excluded"):
        stand.rows("countdown")


def test_a_planted_leak_is_found(stand: Stand) -> None:
    validation, test = stand.rows("leaks")
    assert (validation["part"], test["part"]) == ("validation", "test")
    for row in (validation, test):
        assert row["planted_leak_found"]
        assert row["n_tested"] > 0
        assert row["n_again"] == 0
    assert validation["n_known"] < test["n_known"]


def test_ours_and_peers_are_paired_user_by_user(stand: Stand) -> None:
    rows = stand.rows()
    systems = {row["system"] for row in rows if row.get("kind") == "quality"}
    assert {"reranked", "fused stage one", "LambdaRank", "popularity", "countdown"} <= systems
    by_kind = {row.get("kind") for row in rows}
    assert {"ceiling", "latency", "probabilities", "slice", "pair", "leaks", "trial"} <= by_kind
    means = {
        row["system"]: row["metrics"]["ndcg@10"]["mean"]
        for row in rows
        if row.get("kind") == "quality" and row["group"] == "all"
    }
    told = [row for row in rows if row.get("kind") == "pair" and row["metric"] == "ndcg@10"]
    pairs = {row["other"]: row for row in told if "group" not in row}
    assert set(pairs) == set(means) - {"reranked"}  # the cells pairs and pairs: countdown
    for other, row in pairs.items():
        assert row["mean"] == pytest.approx(means["reranked"] - means[other], abs=1e-6)
        assert row["low"] <= row["mean"] <= row["high"]
        assert 0 < row["p"] <= 1
    (plain,) = [row for row in told if "group" in row]
    assert (plain["other"], plain["group"]) == ("plain cross-encoder", "20 users drawn")
    beside = {row["system"] for row in rows if row.get("group") == plain["group"]}
    assert {"reranked", "fused stage one", "plain cross-encoder"} <= beside
    (learned,) = [row for row in rows if row.get("kind") == "learned"]
    assert learned["about"]["ranker"]["n_trained"] > 0
    assert not list(stand.users.work("x").parent.iterdir())


def test_asked_less_only_some_peers_are_tried(stand: Stand) -> None:
    quick = Plan(stand.plan.data, quick=True)
    cells = QUALITY.named(quick)
    assert list(cells) == ["leaks", "twofold", "pairs"]
    assert cells["twofold"].settings.ranker.training.max_lists == 64


def test_the_cross_encoders_training_holds_while_ours_is_trained_otherwise(
    small_data: DataSet,
) -> None:
    def fingerprint(*overrides: str) -> str:
        plan = Plan(small_data, overrides)
        return exercised("quality", plan, QUALITY.named(plan))[TRAINING].fingerprint

    plain = fingerprint()
    assert fingerprint("ranker.training.learning_rate=0.01", "ranker.joint_layers=2") == plain
    assert fingerprint("ranker.rerank=7") != plain
    assert fingerprint("windows=2") != plain
