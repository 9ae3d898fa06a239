from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report.quality_pages import drawing, quality_pages, readme_quality
from benchmarks.report.recorded import Recorded
from tests.benchmarks.report.rows import behind, old_quality, quality, write


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    skipped = quality("twofold", "reranked", 0.1, overrides=["skip_labels=1"])
    write(tmp_path / "quality.jsonl", [*behind(), skipped])
    return Recorded(tmp_path)


def test_the_readme_begins_with_where_twofold_is_not_first(recorded: Recorded) -> None:
    parts = list(readme_quality(recorded))
    assert parts[0].startswith("- **behind**: movielens-100k, leave-last-5: not first by NDCG@10")
    assert (
        "behind Faster (ours − theirs -0.0123 [-0.0173, -0.0073], p 0.002 after Holm)" in parts[0]
    )
    assert parts[1].startswith("![NDCG@10 with 95 % intervals")
    assert "(docs/assets/quality.svg)" in parts[1]


def test_the_readmes_table_has_peers_between_popularity_and_both_stages(recorded: Recorded) -> None:
    (table,) = list(readme_quality(recorded))[2:]
    names = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    assert names[2:] == ["popularity", "Faster", "Alike", "fused stage one", "reranked"]
    assert "0.3333 [0.3233, 0.3433]" in table
    assert "+0.0123 [+0.0073, +0.0173]" in table


def test_the_results_page_has_a_section_a_run(recorded: Recorded) -> None:
    text = "\n".join(quality_pages(recorded))
    assert "## movielens-100k, leave-last-5\n" in text
    assert "stage two trained without each user's latest 1 labels" in text
    assert "- NDCG@10, reranked − Alike: +0.0011 [-0.0039, +0.0061], p 0.700 after Holm" in text
    assert "Commit 0123456789, 2 cores of Made-up 9, no GPU, 2026-05-04." in text


def test_old_rows_make_the_same_page(tmp_path: Path) -> None:
    rows = [
        old_quality("LambdaRank", 0.25, -0.04),
        old_quality("reranked", 0.29, 0.0, baseline=None, differences={}),
    ]
    write(tmp_path / "quality.jsonl", rows)
    text = "\n".join(quality_pages(Recorded(tmp_path)))
    assert "- NDCG@10, reranked − LambdaRank: +0.0400 [+0.0380, +0.0420]" in text
    assert "python -m benchmarks quality movielens-100k --record" in text


def test_the_drawing_shows_the_readmes_systems(recorded: Recorded) -> None:
    svg = drawing(recorded).svg()
    assert "Faster" in svg
    assert "0.3333 [0.3233, 0.3433]" in svg
    assert "0.1000" not in svg
