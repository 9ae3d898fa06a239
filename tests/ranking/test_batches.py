from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.ranking.worlds import make_queries, make_tables, make_tokenizer
from twofold.ranking.batches import (
    TextHistory,
    evidence_batch,
    gap_buckets,
    history_as_text,
    history_batch,
)
from twofold.ranking.items import ItemTables
from twofold.ranking.model import SoftItems

TEXTS = ["love war", "space", "the red robot", ""]


def _spoken(
    folder: Path, tables: ItemTables, limit: int, max_history: int = 9, which: bool = True
) -> TextHistory:
    queries = make_queries([[0, 1, 2], [3, 1], []], len(TEXTS))
    wanted = np.full(3, which)
    return history_as_text(queries, wanted, tables, limit=limit, max_history=max_history)


def _words(folder: Path, rows: TextHistory) -> list[str]:
    tokenizer = make_tokenizer(folder)
    return [" ".join(tokenizer.convert_ids_to_tokens(row.tolist())) for row in rows.rows]


def test_a_history_is_its_item_texts_with_sep_behind_each(tiny_bert: Path) -> None:
    spoken = _spoken(tiny_bert, make_tables(tiny_bert, TEXTS), 64)
    assert _words(tiny_bert, spoken) == [
        "[CLS] love war [SEP] space [SEP] the red robot [SEP]",
        "[CLS] [SEP] space [SEP]",
        "",
    ]
    assert spoken.dropped.tolist() == [0, 0, 0]


def test_whole_oldest_items_are_dropped_and_counted(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert, TEXTS)
    # The first history has 10 tokens: [CLS] and 3 + 2 + 4.
    for limit, dropped, start in ((10, 0, "love"), (9, 1, "space"), (7, 1, "space"), (6, 2, "the")):
        spoken = _spoken(tiny_bert, tables, limit)
        assert spoken.dropped.tolist() == [dropped, 0, 0]
        assert _words(tiny_bert, spoken)[0].startswith(f"[CLS] {start}")
        assert all(len(row) <= limit for row in spoken.rows)


def test_only_the_latest_items_are_spoken_and_only_where_wanted(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert, TEXTS)
    assert _words(tiny_bert, _spoken(tiny_bert, tables, 64, 1))[:2] == [
        "[CLS] the red robot [SEP]",
        "[CLS] space [SEP]",
    ]
    assert [len(row) for row in _spoken(tiny_bert, tables, 64, which=False).rows] == [0, 0, 0]


def test_a_spoken_history_has_no_soft_tokens(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert, TEXTS)
    queries = make_queries([[0, 1, 2], [3, 1], []], len(TEXTS))
    rows = [np.zeros(0, np.int32), np.array([2, 9, 3], np.int32), np.zeros(0, np.int32)]
    history = history_batch(queries, tables, max_history=2, as_text=rows)
    assert history.events.mask.tolist() == [[True, True], [False, False], [False, False]]
    assert history.token_mask is not None
    assert history.token_mask.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert isinstance(history.items, SoftItems)
    np.testing.assert_array_equal(history.items.texts[0].numpy(), tables.texts[[1, 2]])
    assert history.events.ages[0].tolist() == [1, 0]


def test_dropped_factors_are_zero_in_those_queries_alone(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert, TEXTS)
    queries = make_queries([[0, 1], [3, 1]], len(TEXTS))
    dropped = np.array([True, False])
    history = history_batch(queries, tables, max_history=4, factors_dropped=dropped)
    assert isinstance(history.items, SoftItems)
    assert not history.items.factors[0].any()
    np.testing.assert_array_equal(history.items.factors[1].numpy(), tables.factors[[3, 1]])
    np.testing.assert_array_equal(history.items.texts[0].numpy(), tables.texts[[0, 1]])


def test_gaps_are_told_in_doublings_of_seconds_to_the_latest_event() -> None:
    queries = make_queries([[0] * 7, [], [1, 2]], len(TEXTS))
    seconds = [0, 1, 2, 3, 4, 1_000_000, 10_000_000_000]
    times = np.array([seconds[-1] - one for one in seconds[::-1]] + [50, 50]) * 1000
    found = gap_buckets(replace(queries, times=times))
    assert found.tolist() == [31, 20, 3, 2, 2, 1, 0, 0, 0]


def test_evidence_stands_where_its_events_and_candidates_do(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert, TEXTS)
    queries = make_queries([[0, 1, 2], [], [3, 1]], len(TEXTS))
    candidates = np.array([[3, 0], [1, 2], [2, -1]], dtype=np.int64)
    found = evidence_batch(queries, candidates, tables, max_history=2)
    assert found.events.mask.tolist() == [[True, True], [False, False], [True, True]]
    assert found.events.ages.tolist() == [[1, 0], [0, 0], [1, 0]]
    assert found.events.gaps.tolist() == [[4, 0], [0, 0], [2, 0]]
    for number, matrix in enumerate(tables.relations.counted):
        wanted = matrix[[1, 2]][:, [3, 0]].toarray() / tables.relations.scales[number]
        np.testing.assert_allclose(found.strengths[0, ..., 2 * number].numpy(), wanted, rtol=1e-6)
    assert not found.strengths[1].any()
    assert not found.strengths[2, :, 1].any()
