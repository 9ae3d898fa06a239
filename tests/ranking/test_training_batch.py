"""How training reads a batch: what is left out of histories, and what is drawn for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import (
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_tables,
    randomise,
    trained_by,
)
from twofold.ranking.further_misses import with_further_misses
from twofold.ranking.labelled import draw
from twofold.ranking.lists import Lists
from twofold.ranking.settings import RankerSettings
from twofold.ranking.text_rows import text_rows
from twofold.ranking.training_batch import ReadBatch, Reading, batch_logits, read_batch, shortened
from twofold.retrieval.queries import Queries

HISTORIES = [[0, 1, 2, 3, 4, 5], [6], [], [7, 8, 9]]


QUERIES = make_queries(HISTORIES)


def _shortened(seed: int, dropout: float, truncation: float) -> Queries:
    rng = np.random.default_rng(seed)
    return shortened(QUERIES, dropout=dropout, truncation=truncation, max_history=4, rng=rng)


def _histories(queries: Queries) -> list[list[int]]:
    return [one.tolist() for one in np.split(queries.items, queries.indptr[1:-1])]


def test_each_event_is_left_out_with_its_chance_and_never_all() -> None:
    counts, sole = np.zeros(10), np.zeros(10)
    for seed in range(400):
        found = _histories(_shortened(seed, 0.7, 0.0))
        for whole, part in zip(HISTORIES, found, strict=True):
            assert part == [item for item in whole if item in part]
            assert bool(part) == bool(whole)
            counts[part] += 1
            if len(part) == 1:
                sole[part] += 1
    shares = counts / 400
    # What is left where all would go is one of them at random: it adds .7 ** 6 / 6.
    assert np.abs(shares[:6] - 0.32).max() < 0.08
    assert shares[6] == 1
    assert sole[:6].min() > 10


def test_truncated_histories_keep_some_latest_events() -> None:
    lengths, whole = set(), 0
    for seed in range(200):
        queries = _shortened(seed, 0.0, 0.6)
        for all_of_it, part in zip(HISTORIES, _histories(queries), strict=True):
            assert part == all_of_it[len(all_of_it) - len(part) :]
            assert bool(part) == bool(all_of_it)
        whole += len(_histories(queries)[0]) == 6
        lengths.add(len(_histories(queries)[0]))
    # Up to what the model reads, or all where nothing is cut.
    assert lengths == {1, 2, 3, 4, 6}
    assert 50 < whole < 110


def test_the_columns_of_events_stay_together() -> None:
    before, after = QUERIES, _shortened(3, 0.5, 0.5)
    place = {item: row for row, item in enumerate(before.items.tolist())}
    rows = [place[item] for item in after.items.tolist()]
    for name in ("kinds", "weights", "times", "steps"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[rows])
    assert after.excluded is before.excluded


def _lists() -> Lists:
    rng = np.random.default_rng(0)
    items = np.stack([rng.permutation(N_ITEMS - 4)[:6] + 4 for _ in HISTORIES]).astype(np.int64)
    labels = np.zeros(items.shape, dtype=bool)
    labels[:, 0] = True
    lists = planted_lists(items, labels, make_features(items.shape), make_queries([[0, 1, 2]] * 4))
    return replace(lists, popularity=np.ones(N_ITEMS, dtype=np.float32))


def _batch(folder: Path, **changes: Any) -> tuple[ReadBatch, dict[str, Any]]:
    """Return a batch, and where the random numbers stand after it."""
    rng = np.random.default_rng(4)
    settings = trained_by(RankerSettings(), negatives=3, text_query_share=0.5, **changes)
    batch = read_batch(make_model(folder, 1).shape, make_tables(folder), _lists(), settings, rng)
    return batch, dict(rng.bit_generator.state)


def test_without_the_techniques_a_batch_is_what_it_was(tiny_bert: Path) -> None:
    batch, state = _batch(tiny_bert)
    lists, rng = _lists(), np.random.default_rng(4)
    asked = rng.random(4) < 0.5
    dropped = rng.random(4) < RankerSettings().training.collaborative_dropout
    drawn = draw(lists, 3, rng)
    said = text_rows(lists.queries, drawn, asked, make_tables(tiny_bert), limit=64, rng=rng)
    assert state == rng.bit_generator.state
    assert asked.any()
    assert not asked.all()
    assert batch.queries.items.tolist() == [0, 1, 2] * 4
    np.testing.assert_array_equal(batch.items, said.drawn.items)
    np.testing.assert_array_equal(batch.drawn.weights, said.drawn.weights)
    np.testing.assert_array_equal(batch.dropped, dropped)


def test_text_queries_say_what_is_left_of_the_history(tiny_bert: Path) -> None:
    batch, _ = _batch(tiny_bert, history_dropout=0.9)
    spoken = np.flatnonzero(np.isfinite(batch.likeness).any(axis=1))
    assert len(spoken)
    for row in spoken:
        said = batch.items[row, (batch.drawn.labels[row] > 0).numpy()][1:]
        left = batch.queries.take(np.array([row])).items
        assert 0 < len(said) <= len(left) < 3
        assert set(said) <= set(left)


def test_the_model_reads_the_shortened_histories(tiny_bert: Path) -> None:
    batch, _ = _batch(tiny_bert, history_dropout=0.6)
    assert 4 <= len(batch.queries.items) < 12
    longer, _ = _batch(tiny_bert, history_truncation=0.9)
    assert len(longer.queries.items) < 12
    model = randomise(make_model(tiny_bert, 1))
    logits = batch_logits(model, Reading(make_tables(tiny_bert), batch))
    whole = replace(batch, queries=_lists().queries)
    others = batch_logits(model, Reading(make_tables(tiny_bert), whole))
    assert (logits != others).any()


def test_further_misses_are_in_the_batch(tiny_bert: Path) -> None:
    batch, _ = _batch(tiny_bert, popular_negatives=2, batch_negatives=1)
    assert batch.items.shape == batch.features.shape[:2] == (4, 4 + 3)
    rng = np.random.default_rng(4)
    rng.random(8)
    drawn = draw(_lists(), 3, rng)
    more = with_further_misses(drawn, _lists(), popular=2, in_batch=1, rng=rng)
    quiet = np.isnan(batch.likeness).all(axis=1)
    assert quiet.any()
    np.testing.assert_array_equal(batch.items[quiet], more.items[quiet])
    logits = batch_logits(make_model(tiny_bert, 1), Reading(make_tables(tiny_bert), batch))
    assert logits.shape == batch.items.shape
