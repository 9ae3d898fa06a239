"""Text queries in training: what is said is an answer, and everything else stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.ranking.worlds import make_features, make_queries, make_tables
from twofold.ranking.items import ItemTables
from twofold.ranking.labelled import Drawn
from twofold.ranking.text_rows import LONGEST, TextRows, text_rows

PASTS = [[0, 1, 2], [3, 4], []]


def _rows(tables: ItemTables, which: list[bool], first: int = 5, seed: int = 0) -> TextRows:
    items = np.arange(first, first + 5)[None].repeat(3, 0).astype(np.int64)
    labels = torch.zeros(3, 5)
    labels[:, 0] = 1.0
    drawn = Drawn(items, torch.from_numpy(make_features((3, 5))), labels, torch.full((3, 5), 2.0))
    return text_rows(
        make_queries(PASTS),
        drawn,
        np.array(which),
        tables,
        limit=64,
        rng=np.random.default_rng(seed),
    )


def test_items_that_are_said_become_hits_in_the_place_of_misses(tiny_bert: Path) -> None:
    tables, counts = make_tables(tiny_bert), set()
    for seed in range(20):
        rows = _rows(tables, [True, False, True], seed=seed)
        drawn = rows.drawn
        said = drawn.items[0][drawn.labels[0].numpy() > 0][1:]
        counts.add(len(said))
        assert said.tolist() == PASTS[0][-len(said) :]
        assert drawn.items[0, 0] == 5
        assert len(rows.tokens[0])
        # Nothing is said in the second list, and the third has no history to say.
        for row in (1, 2):
            assert not len(rows.tokens[row])
            assert drawn.items[row].tolist() == [5, 6, 7, 8, 9]
            assert drawn.labels[row].tolist() == [1, 0, 0, 0, 0]
            assert np.isnan(rows.likeness[row]).all()
    assert counts == set(range(1, LONGEST + 1))


def test_likeness_is_the_cosine_with_what_is_said(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert)
    for seed in range(6):
        rows = _rows(tables, [True, True, True], seed=seed)
        for row in (0, 1):
            items = rows.drawn.items[row]
            few = int((rows.drawn.labels[row] > 0).sum()) - 1
            query = tables.texts[PASTS[row][-few:]].mean(axis=0)
            for place, item in enumerate(items):
                vector = tables.texts[item]
                wanted = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
                np.testing.assert_allclose(rows.likeness[row, place], wanted, atol=1e-6)
            if few == 1:
                np.testing.assert_allclose(rows.likeness[row, -1], 1.0, atol=1e-6)


def test_what_is_said_is_no_miss_where_repeats_are_candidates(tiny_bert: Path) -> None:
    for seed in range(6):
        drawn = _rows(make_tables(tiny_bert), [True, True, True], first=0, seed=seed).drawn
        for row in (0, 1):
            said = drawn.items[row][drawn.labels[row].numpy() > 0]
            misses = drawn.items[row][(drawn.labels[row] == 0).numpy() & (drawn.items[row] >= 0)]
            assert not set(said) & set(misses)
            gone = torch.from_numpy(drawn.items[row] < 0)
            assert not drawn.weights[row][gone].any()
