"""Labels of a table: how they are read, what may be known before them, the lists they make."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.errors import DataError, InputError
from twofold.indexing.item_set import ItemSet
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.indexing.vocabulary import Vocabulary
from twofold.labels_file import LabelPairs, known_before, lists_of_pairs, read_labels
from twofold.ranking.honesty import check_honest
from twofold.retrieval.features import standardise
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.merging import merge
from twofold.retrieval.queries import queries_of_users
from twofold.retrieval.settings import StageOneSettings
from twofold.retrieval.stage_one import fit_stage_one

T = 1_700_000_000
N_USERS, N_ITEMS = 8, 30
ROWS = [("u1", "i3", 1, 50), ("u1", "i4", 0, 60), ("u0", "i7", 1, 70), ("u1", "i29", 0, 55)]


def _dataset(**columns: Any) -> Dataset:
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", 10 * step)
        for user in range(N_USERS)
        for step, item in enumerate(rng.choice(N_ITEMS - 1, 10, replace=False))
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    frame = frame.with_columns(pl.col("time") + T)
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(N_ITEMS)]})
    return load_dataset(frame.drop([] if columns.get("times", True) else ["time"]), items)


DATA = _dataset()


def _frame(rows: list[tuple[str, str, int, int]] | None = None, **names: str) -> pl.DataFrame:
    schema = ["user_id", "item_id", "label", "time"]
    frame = pl.DataFrame(rows or ROWS, schema=schema, orient="row")
    return frame.with_columns(pl.col("time") + T).rename(names)


def _told(pairs: LabelPairs) -> list[tuple[str, str, bool]]:
    users, items = DATA.users.decode(pairs.users), DATA.items.decode(pairs.items)
    return list(zip(users, items, pairs.labels.tolist(), strict=True))


WANTED = [("u0", "i7", True), ("u1", "i29", False), ("u1", "i3", True), ("u1", "i4", False)]


def test_labels_are_read_from_every_kind_of_table(tmp_path: Path) -> None:
    frame = _frame()
    frame.write_csv(tmp_path / "labels.csv")
    frame.write_parquet(tmp_path / "labels.parquet")
    lines = [json.dumps(row) for row in frame.iter_rows(named=True)]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    sources = [frame, *(tmp_path / f"labels.{one}" for one in ("csv", "parquet", "jsonl"))]
    for source in sources:
        pairs = read_labels(source, DATA)
        assert _told(pairs) == WANTED
        assert pairs.times is not None
        assert pairs.times.tolist() == [(T + one) * 1000 for one in (70, 55, 50, 60)]
        assert pairs.distinct().tolist() == [0, 1]
    assert read_labels(frame.drop("time"), DATA).times is None


def test_columns_go_by_their_usual_names_or_those_of_the_settings() -> None:
    pairs = read_labels(_frame(user_id="customer", item_id="sku", time="ts"), DATA)
    assert _told(pairs) == WANTED
    assert any("'sku' is the item" in note and "labels" in note for note in pairs.notes)
    named = DataSettings(label_column="taken")
    assert _told(read_labels(_frame(label="taken"), DATA, named)) == WANTED
    # Other columns that interactions may have are nothing here.
    rated = _frame().with_columns(pl.lit(3).alias("rating"), pl.lit("x").alias("split"))
    assert _told(read_labels(rated, DATA)) == WANTED


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([*ROWS, ("u1", "i99", 1, 9)], "row 5, column 'item_id'.*came 'i99'"),
        ([*ROWS, ("nobody", "i1", 1, 9)], "row 5, column 'user_id'.*came 'nobody'.*1 of 5 labels"),
        ([*ROWS, ("u2", "i1", 2, 9)], "row 5, column 'label': expected 1"),
        ([*ROWS, ("u1", "i3", 0, 90)], "row 1, column 'label'.*one label a pair.*u1 and item i3"),
    ],
)
def test_bad_rows(rows: list[tuple[str, str, int, int]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labels(_frame(rows), DATA)


def test_tables_without_labels_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'label'.*label_column"):
        read_labels(_frame().drop("label"), DATA)
    with pytest.raises(DataError, match="no label is left"):
        read_labels(_frame([("nobody", "i1", 1, 9)]), DATA, drop_unknown=True)


def test_unknown_ones_are_counted_where_they_may_be_dropped() -> None:
    rows = [*ROWS, ("u1", "i99", 1, 9), ("nobody", "i1", 1, 9)]
    pairs = read_labels(_frame(rows), DATA, drop_unknown=True)
    assert _told(pairs) == WANTED
    notes = " ".join(pairs.notes)
    assert "'i99'" in notes
    assert "1 of 5 labels are of 1 users without interactions, such as 'nobody'" in notes


def test_of_repeats_the_first_counts() -> None:
    pairs = read_labels(_frame([*ROWS, ("u1", "i3", 1, 20), ("u1", "i3", 1, 90)]), DATA)
    assert _told(pairs) == WANTED
    assert pairs.times is not None
    assert pairs.times[2] == (T + 20) * 1000


def test_pairs_are_in_order_of_numbers_whatever_the_order_of_ids() -> None:
    turned = replace(
        DATA,
        users=Vocabulary(reversed(DATA.users.ids), what="user"),
        items=Vocabulary(reversed(DATA.items.ids), what="item"),
    )
    pairs = read_labels(_frame(), turned)
    numbers = pairs.users * N_ITEMS + pairs.items
    assert (np.diff(numbers) > 0).all()
    assert turned.items.decode(pairs.items) == ["i4", "i3", "i29", "i7"]


def test_what_is_known_ends_before_the_first_label_and_holds_no_labelled_item() -> None:
    log = DATA.interactions
    own = DATA.items.decode(log.items[(log.users == 2) & (log.steps == 1)])[0]
    early = DATA.items.decode(log.items[(log.users == 2) & (log.steps == 8)])[0]
    rows = [("u2", own, 1, 50), ("u2", early, 0, 90)]
    known = known_before(read_labels(_frame(rows), DATA), DATA)
    left = known.log.steps[known.log.users == 2].tolist()
    # The event at the label's own time is left out, as are the later ones.
    assert left == [0, 2, 3, 4]
    assert (known.n_late, known.n_own) == (5, 1)
    assert len(known.log) == len(log) - 6
    assert len(known.notes) == 2
    untimed = known_before(read_labels(_frame(rows).drop("time"), DATA), DATA)
    assert untimed.log.steps[untimed.log.users == 2].tolist() == [0, 2, 3, 4, 5, 6, 7, 9]
    assert (untimed.n_late, untimed.n_own) == (0, 2)
    assert not known_before(read_labels(_frame([("u2", "i29", 1, 999)]), DATA), DATA).notes


def test_lists_hold_the_labelled_items_with_the_features_they_would_be_served_with() -> None:
    pairs = read_labels(_frame(), DATA)
    known = known_before(pairs, DATA).log
    vectors = normalised(np.random.default_rng(1).normal(size=(N_ITEMS, 5)))
    settings = StageOneSettings(per_source=4, max_history=5)
    index = VectorIndex.build(vectors, device="cpu")
    stage_one = fit_stage_one(known, index, settings, has_times=True)
    n_sources = len(stage_one.sources())
    retriever = stage_one.retriever(Fusion("zscore", (1.0,) * n_sources))
    queries = queries_of_users(known, pairs.distinct(), max_history=5)
    popularity = np.ones(N_ITEMS, dtype=np.float32)
    lists = lists_of_pairs(pairs, queries, retriever, popularity=popularity)
    assert lists.popularity is popularity
    check_honest(lists, repeat=False)
    shown = [[one for one in row if one >= 0] for row in lists.candidates.items.tolist()]
    assert [sorted(DATA.items.decode(np.array(row))) for row in shown] == [
        ["i7"],
        ["i29", "i3", "i4"],
    ]
    assert lists.refused is not None
    hit, refused = lists.candidates.items[lists.labels], lists.candidates.items[lists.refused]
    assert DATA.items.decode(hit) == ["i7", "i3"]
    assert sorted(DATA.items.decode(refused)) == ["i29", "i4"]
    assert lists.n_held_out.tolist() == [1, 1]
    assert lists.border is not None
    assert lists.border.times.tolist() == [(T + 70) * 1000, (T + 50) * 1000]
    # Nobody proposes everything, and yet what no source proposed has the features of its scores.
    served = retriever.retrieve(queries, None)
    assert any(set(row) - set(all_of) for row, all_of in zip(shown, served.items, strict=True))
    also = np.array([[*row, -1, -1][:3] for row in shown])
    answers = [source.answer(queries) for source in retriever.sources]
    merged = merge(answers, queries.admission, 4, also=also)
    told = standardise(merged.scores, merged.proposed, (merged.items >= 0).sum(axis=1))
    for row, items in enumerate(shown):
        for column, item in enumerate(items):
            (place,) = np.flatnonzero(merged.items[row] == item)
            np.testing.assert_array_equal(lists.features[row, column], told[row, place])
    with pytest.raises(InputError, match="in their order"):
        lists_of_pairs(pairs, queries.take(np.array([1, 0])), retriever)
    barred = ItemSet(np.arange(N_ITEMS) != hit[0])
    with pytest.raises(InputError, match="1 labelled items may not be proposed"):
        lists_of_pairs(pairs, replace(queries, eligible=(barred, None)), retriever)
