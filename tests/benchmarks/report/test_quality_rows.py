from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.quality_rows import QualityRun, read_quality, runs_of
from tests.benchmarks.report.rows import old_quality, pair, quality, told, write
from twofold.indexing.errors import InputError


def read(*rows: dict[str, Any]) -> list[QualityRun]:
    return runs_of(json.dumps(row) for row in rows)


def only(*rows: dict[str, Any]) -> QualityRun:
    (run,) = read(*rows)
    return run


def ndcg(run: QualityRun, system: str) -> float:
    row = run.of(system)
    assert row is not None
    return row.metrics["ndcg@10"].mean


def test_rows_of_the_harness_are_read() -> None:
    trial = told("quality", "EASE: trial 1", kind="trial", system="EASE", trial={"l2": 3})
    run = only(
        quality("twofold", "reranked", 0.3),
        quality("EASE", "EASE", 0.2, latency_ms={"p99": 7.0}),
        pair("EASE", 0.1, 0.015),
        pair("popularity", 0.2, 0.5),
        trial | {"ndcg@10": 0.19, "cell_seconds": 4.0},
        trial | {"ndcg@10": None, "cell_seconds": 0.0, "cell": "EASE: trial 2"},
        told("quality", "leaks", kind="leaks", part="test"),
    )
    assert (run.about.dataset, run.about.split) == ("movielens-100k", "leave-last-5")
    assert ndcg(run, "EASE") == 0.2
    ease = run.of("EASE")
    assert ease is not None
    assert ease.latency_ms == {"p99": 7.0}
    gap = run.pair("EASE")
    assert gap is not None
    assert (gap.gap.mean, gap.p, gap.p_holm) == (0.1, 0.015, 0.03)
    one, skipped = run.trials
    assert skipped.ndcg is None
    assert (one.settings, one.ndcg, one.seconds) == ({"l2": 3}, 0.19, 4.0)
    assert run.peers == ("EASE",)


def test_rows_of_the_old_form_are_read_with_differences_turned_round() -> None:
    run = only(
        old_quality("LambdaRank", 0.25, -0.04),
        old_quality("reranked", 0.29, 0.0, baseline=None, differences={}),
        old_quality("total", 0.0, 0.0, latency_ms={"p99": 9.0}, differences={}, baseline=None),
    )
    assert ndcg(run, "LambdaRank") == 0.25
    gap = run.pair("LambdaRank")
    assert gap is not None
    assert gap.gap.mean == 0.04
    assert gap.gap.low == pytest.approx(0.038)
    assert gap.p_holm is None
    assert [row.system for row in run.kind("latency")] == ["total"]
    assert run.opponents == ("LambdaRank",)


def test_the_old_form_counts_no_more_once_twofold_is_measured_anew() -> None:
    old = old_quality("LambdaRank", 0.25, -0.04)
    assert only(old, quality("EASE", "EASE", 0.2)).of("LambdaRank") is not None
    assert only(old, quality("twofold", "reranked", 0.2)).of("LambdaRank") is None


def test_the_latest_run_of_a_cell_counts_and_quick_ones_do_not() -> None:
    later = {"run": "2026-06-01T00:00:00+00:00"}
    run = only(
        quality("twofold", "reranked", 0.3),
        quality("twofold", "text", 0.1),
        quality("EASE", "EASE", 0.2),
        quality("twofold", "reranked", 0.31, **later),
        quality("EASE", "EASE", 0.9, quick=True, run="2026-07-01T00:00:00+00:00"),
    )
    assert ndcg(run, "reranked") == 0.31
    assert run.of("text") is None
    assert ndcg(run, "EASE") == 0.2


def test_overrides_and_protocols_are_runs_of_their_own() -> None:
    runs = read(
        quality("twofold", "reranked", 0.3),
        quality("twofold", "reranked", 0.2, overrides=["seed=1"]),
        quality("twofold", "reranked", 0.1, split="global-time", protocol=["global-time", 1]),
    )
    assert [(run.plain, run.about.split) for run in runs] == [
        (True, "leave-last-5"),
        (False, "leave-last-5"),
        (True, "global-time"),
    ]


@pytest.mark.parametrize(
    ("mean", "half", "p_holm", "word"),
    [
        (0.01, 0.005, 0.01, "ahead"),
        (-0.01, 0.005, 0.01, "behind"),
        (-0.01, 0.02, 0.01, "tied"),
        (-0.01, 0.005, 0.06, "tied"),
    ],
)
def test_a_difference_counts_where_interval_and_test_agree(
    mean: float, half: float, p_holm: float, word: str
) -> None:
    run = only(quality("twofold", "reranked", 0.3), pair("EASE", mean, p_holm, half))
    assert run.pairs[0].word == word


def test_a_system_that_is_a_peer_as_well_is_shown_by_the_peers_numbers() -> None:
    run = only(
        quality("twofold", "popularity", 0.10),
        quality("twofold", "reranked", 0.3),
        quality("popularity", "popularity", 0.11),
    )
    assert [row.system for row in run.kind("quality")] == ["reranked", "popularity"]
    assert ndcg(run, "popularity") == 0.11
    assert run.opponents == ("popularity",)


def test_a_group_that_is_all_users_is_none() -> None:
    run = only(
        quality("twofold", "reranked", 0.3),
        quality("twofold", "reranked", 0.3, group="warm"),
        quality("twofold", "reranked", 0.1, group="new", n_users=7),
    )
    assert run.groups == ("new",)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"line 1.*odd"):
        read(quality("twofold", "reranked", 0.3, kind="odd"))


def test_a_malformed_row_is_refused_with_its_line(tmp_path: Path) -> None:
    lacking = quality("twofold", "reranked", 0.3)
    del lacking["n_users"]
    file = write(tmp_path / "quality.jsonl", [quality("twofold", "reranked", 0.3), lacking])
    with pytest.raises(InputError, match=r"line 2.*n_users"):
        read_quality(file)
    assert read_quality(tmp_path / "none.jsonl") == []
