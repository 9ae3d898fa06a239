from __future__ import annotations

import json
from typing import Any

from benchmarks.report.quality_rows import runs_of
from benchmarks.report.verdicts import spelt_p, verdicts
from tests.benchmarks.report.rows import quality


def told(*rows: dict[str, Any]) -> list[tuple[str, str]]:
    return list(verdicts(runs_of(json.dumps(row) for row in rows)))


def test_systems_that_were_not_paired_are_judged_by_their_own_intervals() -> None:
    behind, tied = told(
        quality("twofold", "reranked", 0.30),
        quality("Apart", "Apart", 0.33),
        quality("Near", "Near", 0.31),
        quality("Below", "Below", 0.27),
    )
    assert behind[0] == "behind"
    assert "behind Apart (0.3300 [0.3200, 0.3400] against 0.3000" in behind[1]
    assert "Near" not in behind[1]
    assert tied[0] == "tied"
    assert "from Near" in tied[1]
    assert "Below" not in tied[1]


def test_a_slice_in_which_another_is_ahead_is_told() -> None:
    some = {"kind": "slice", "n_users": 20}
    first, group = told(
        quality("twofold", "reranked", 0.30),
        quality("Other", "Other", 0.20),
        quality("twofold", "reranked", 0.10, group="history 1-2", **some),
        quality("Other", "Other", 0.15, group="history 1-2", **some),
        quality("twofold", "reranked", 0.10, group="history 3-5", **some),
        quality("Other", "Other", 0.11, group="history 3-5", **some),
    )
    assert first[0] == "ahead"
    assert group[0] == "behind"
    assert "group history 1-2: not first by NDCG@10, at 0.1000 [0.0900, 0.1100]" in group[1]
    assert "behind Other (0.1500" in group[1]


def test_nothing_is_told_of_overrides_or_without_twofold() -> None:
    assert told(quality("twofold", "reranked", 0.3, overrides=["seed=1"])) == []
    assert told(quality("Other", "Other", 0.3)) == []


def test_a_p_value_is_never_written_as_0() -> None:
    assert (spelt_p(0.0004), spelt_p(0.04)) == ("< 0.001", "0.040")
