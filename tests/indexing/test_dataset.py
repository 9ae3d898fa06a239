"""The data set: order, ids, ties, duplicates, fingerprint, refusals and speed."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.dataset import Dataset, DataSettings, load_dataset
from twofold.indexing.errors import DataError, SettingsError
from twofold.indexing.interactions import COLUMNS

T = 1_700_000_000
LOG = pl.DataFrame(
    {
        "user": ["v", "u", "u", "u", "v"],
        "item": ["b", "a", "b", "c", "a"],
        "event": ["purchase", "view", "view", "dislike", "purchase"],
        "time": [T + 5, T + 2, T + 2, T + 9, T + 1],
    }
)
ITEMS = pl.DataFrame({"item": ["c", "b", "a", "d"], "title": ["C", "B", None, "D"]})


def _same(one: Dataset, other: Dataset) -> None:
    for name in COLUMNS:
        left, right = getattr(one.interactions, name), getattr(other.interactions, name)
        assert left.dtype == right.dtype, name
        assert np.array_equal(left, right), name
    assert one.users.ids == other.users.ids
    assert one.items.ids == other.items.ids
    assert one.texts == other.texts
    assert one.table.equals(other.table)
    assert (one.kinds, one.has_times, one.has_order) == (
        other.kinds, other.has_times, other.has_order
    )  # fmt: skip
    assert (one.split is None) == (other.split is None)
    assert one.split is None or np.array_equal(one.split, other.split)  # type: ignore[arg-type]
    assert one.fingerprint == other.fingerprint
    assert one.notes == other.notes
    assert one.windows == other.windows


def test_known_answer() -> None:
    data = load_dataset(LOG, ITEMS)
    rows = data.interactions
    assert data.users.ids == ("u", "v")
    assert data.items.ids == ("a", "b", "c", "d")
    assert data.texts == ("", "B", "C", "D")
    assert data.table.to_dict(as_series=False)["item_id"] == ["a", "b", "c", "d"]
    assert rows.users.tolist() == [0, 0, 0, 1, 1]
    assert sorted(rows.items[:2].tolist()) == [0, 1]
    assert rows.items[2:].tolist() == [2, 0, 1]
    assert rows.steps.tolist() == [0, 0, 1, 0, 1]
    assert rows.times[3] == (T + 1) * 1000
    assert data.has_times
    assert data.has_order


def test_types_are_those_of_the_contract() -> None:
    rows = load_dataset(LOG, ITEMS).interactions
    types = {name: str(getattr(rows, name).dtype) for name in COLUMNS}
    assert types == {
        "users": "int64", "items": "int64", "steps": "int32", "times": "int64",
        "weights": "float32", "signs": "int8", "seen": "bool", "labels": "bool", "kinds": "int16",
    }  # fmt: skip


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "007", "7"]),
        st.sampled_from("abcd"),
        st.sampled_from(["view", "purchase", "dislike"]),
        st.integers(T, T + 4),
        st.sampled_from(["train", "test"]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 3))
def test_a_shuffled_file_gives_the_identical_data_set(
    rows: list[tuple[str, str, str, int, str]], random: Any, seed: int
) -> None:
    rows = [*rows, ("u", "a", "view", T, "train")]
    schema = ["user", "item", "event", "time", "split"]
    shuffled = list(rows)
    random.shuffle(shuffled)
    one = load_dataset(pl.DataFrame(rows, schema=schema, orient="row"), seed=seed)
    other = load_dataset(pl.DataFrame(shuffled, schema=schema, orient="row"), seed=seed)
    _same(one, other)


def test_formats_and_seeds_give_one_fingerprint(tmp_path: Path) -> None:
    items = ITEMS.with_columns(
        year=pl.Series([1990, 1991, None, 1993], dtype=pl.Int32),
        code=pl.Series(["01", "2", "3", "4"]),
    )
    LOG.write_csv(tmp_path / "log.csv")
    LOG.with_columns(pl.from_epoch("time")).write_parquet(tmp_path / "log.parquet")
    LOG.write_ndjson(tmp_path / "log.jsonl")
    items.write_csv(tmp_path / "items.csv")
    items.write_parquet(tmp_path / "items.parquet")
    prints = {
        load_dataset(tmp_path / f"log.{log}", tmp_path / f"items.{cat}", seed=seed).fingerprint
        for log in ("csv", "parquet", "jsonl") for cat in ("csv", "parquet") for seed in (0, 1)
    }  # fmt: skip
    assert len(prints) == 1
    changed = LOG.with_columns(pl.Series("time", [T + 6, T + 2, T + 2, T + 9, T + 1]))
    assert load_dataset(changed, items).fingerprint not in prints
    assert load_dataset(LOG, items.with_columns(title=pl.lit("x"))).fingerprint not in prints


def test_ties_follow_a_seeded_hash_not_ids() -> None:
    n = 200
    frame = pl.DataFrame(
        {"user": ["u"] * n, "item": [f"{i:03}" for i in range(n)], "time": [T] * n}
    )
    orders = [load_dataset(frame, seed=seed).interactions.items for seed in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert abs(np.corrcoef(orders[0], np.arange(n))[0, 1]) < 0.2
    # Another user's ties are broken in another order.
    two = pl.concat([frame, frame.with_columns(user=pl.lit("v"))])
    rows = load_dataset(two).interactions
    assert not np.array_equal(rows.items[:n], rows.items[n:])


def test_position_is_followed_and_each_is_a_step() -> None:
    frame = LOG.drop("time").with_columns(position=pl.Series([3, 2, 0, 1, 0]))
    data = load_dataset(frame)
    assert data.items.decode(data.interactions.items) == ["b", "c", "a", "a", "b"]
    assert data.interactions.steps.tolist() == [0, 1, 2, 0, 1]
    assert data.has_order
    assert not data.has_times


def test_without_times_all_rows_of_a_user_are_tied() -> None:
    data = load_dataset(LOG.drop("time"))
    assert not data.has_order
    assert data.interactions.steps.tolist() == [0] * 5


def test_exact_duplicates_count_once_where_there_is_an_order() -> None:
    twice = pl.concat([LOG, LOG.head(1)])
    data = load_dataset(twice)
    assert len(data.interactions) == 5
    assert any("1 of 6 interactions repeat another one exactly" in note for note in data.notes)
    kept = load_dataset(twice, settings=DataSettings(keep_duplicates=True))
    assert len(kept.interactions) == 6
    assert len(load_dataset(twice.drop("time")).interactions) == 6


def test_ids_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("user,item\n007,1.0\n7,1\n 7,01\n")
    data = load_dataset(tmp_path / "x.csv")
    assert data.users.ids == (" 7", "007", "7")
    assert data.items.ids == ("01", "1", "1.0")
    numbers = pl.DataFrame({"user": [7, 10], "item": [2**62, 1]})
    assert load_dataset(numbers).items.ids == ("1", str(2**62))


def test_codes_with_leading_zeros_stay_text(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text(
        "item,zip,year,price,none\na,01234,1999,1.5,\nb,99999,2001,2,\n"
    )
    data = load_dataset(pl.DataFrame({"user": ["u"], "item": ["a"]}), tmp_path / "i.csv")
    assert data.table.dtypes == [pl.String, pl.String, pl.Int64, pl.Float64, pl.String]
    assert data.texts[0] == "01234"


def test_unknown_items() -> None:
    log = pl.concat([LOG, LOG.head(2).with_columns(item=pl.lit("zz"), user=pl.lit("new"))])
    with pytest.raises(DataError, match=r"row 6, column 'item'.*2 of 7.*1 items.*'zz'"):
        load_dataset(log, ITEMS)
    data = load_dataset(log, ITEMS, DataSettings(drop_unknown_items=True))
    assert len(data.interactions) == 5
    assert data.users.ids == ("u", "v")
    assert any(note.startswith("dropped: 2 of 7") and "1 users" in note for note in data.notes)


def test_vectors_stay_in_the_table() -> None:
    items = ITEMS.with_columns(emb=pl.Series([[1.0, 2.0]] * 4))
    data = load_dataset(LOG, items, DataSettings(vector_column="emb"))
    assert data.table["emb"].to_list() == [[1.0, 2.0]] * 4
    for bad in ([[1.0, 2.0]] * 3 + [[1.0]], [[1.0, 2.0]] * 3 + [None], [[1.0, float("nan")]] * 4):
        with pytest.raises(DataError, match=r"column 'emb'.*vector"):
            load_dataset(
                LOG, items.with_columns(emb=pl.Series(bad)), DataSettings(vector_column="emb")
            )
    with pytest.raises(DataError, match="lists of numbers"):
        load_dataset(LOG, items, DataSettings(vector_column="title"))
    with pytest.raises(DataError, match="name this column for the vectors"):
        load_dataset(LOG, items, DataSettings(vector_column="nope"))


def test_times_of_availability_become_times_and_no_text(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text(
        "item,title,available_from,off\nc,C,2030-01-01,\nb,B,,1900000000\na,A,2030-01-01T12:00Z,\n"
    )
    given = DataSettings(available_until_column="off")
    data = load_dataset(LOG, file, given)
    assert data.windows == ("available_from", "off")
    assert data.texts == ("A", "B", "C")
    starts, ends = (data.table[name].dt.epoch("s").to_list() for name in data.windows if name)
    assert starts == [1_893_499_200, None, 1_893_456_000]
    assert ends == [None, 1_900_000_000, None]
    assert any("'off' says until when" in note for note in data.notes)
    with begin_generation(tmp_path / "own") as writer:
        data.save(writer)
        generation = writer.commit({})
    _same(Dataset.open(generation), data)
    plain = load_dataset(LOG, file, DataSettings(available_from_column=""))
    assert plain.windows == (None, None)
    assert "2030-01-01" in plain.texts[2]


def test_a_time_of_availability_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("item,available_from\na,2030-01-01\nb,2030-01-01\nc,soon\n")
    with pytest.raises(DataError, match=r"came 'soon'.*leave the cell empty") as caught:
        load_dataset(LOG, file)
    assert caught.value.row == 3
    assert caught.value.column == "available_from"


def test_save_and_open(tmp_path: Path) -> None:
    data = load_dataset(LOG.with_columns(split=pl.Series(["train"] * 4 + ["val"])), ITEMS)
    with begin_generation(tmp_path / "x") as writer:
        data.save(writer)
        writer.finish("data", "key")
        writer.commit({})
    _same(Dataset.open(open_artefact(tmp_path / "x")), data)


def _log(**columns: Any) -> pl.DataFrame:
    return LOG.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


U = ["u"] * 4
BAD_ROWS: list[tuple[str, pl.DataFrame, pl.DataFrame | None, str]] = [
    ("no user column", LOG.drop("user"), None, "expected a column for the user"),
    ("no item column", LOG.drop("item"), None, "expected a column for the item"),
    ("empty user", _log(user=[*U, ""]), None, "row 5, column 'user': expected the id of a user"),
    ("blank user", _log(user=[*U, "  "]), None, "row 5, column 'user'"),
    ("null item", _log(item=["a", None, "b", "c", "d"]), None, "row 2, column 'item'"),
    ("all null", _log(item=[None] * 5), None, "row 1, column 'item'"),
    ("float ids", _log(user=[1.0, 2.0, 3.0, 4.0, 5.0]), None, "row 1, column 'user'.*Float64"),
    ("boolean ids", _log(item=[True] * 5), None, "column 'item'.*Boolean"),
    ("text time", _log(time=["2024-01-01"] * 4 + ["soon"]), None, "row 5, column 'time'.*'soon'"),
    ("null time", _log(time=[T, T, T, T, None]), None, "row 5, column 'time'.*nothing"),
    ("far future", _log(time=["2024-01-01"] * 4 + ["2999-01-01"]), None, "row 5.*2999"),
    ("small numbers", _log(time=[1, 2, 3, 4, 5]), None, "row 1.*position_column"),
    ("mixed units", _log(time=[T * 1000, T, T, T, T]), None, "row 2, column 'time'"),
    ("bad position", _log(position=["0", "1", "2", "x", "3"]), None, "row 4, column 'position'"),
    ("half position", _log(position=[0.0, 1.0, 2.0, 0.5, 3.0]), None, "row 4, column 'position'"),
    ("date position", _log(position=[date(2024, 1, 1)] * 5), None, "row 1, column 'position'"),
    ("list time", _log(time=[[T]] * 5), None, "column 'time': expected one plain value a row"),
    ("bad split", _log(split=["train"] * 4 + ["holdout"]), None, "row 5, column 'split'"),
    ("two times", _log(date=["2024-01-01"] * 5), None, "time, date could all be the time"),
    ("item twice", LOG, pl.concat([ITEMS, ITEMS.head(1)]), "row 5, column 'item'.*once"),
    ("empty item id", LOG, ITEMS.with_columns(item=pl.Series(["c", "", "b", "a"])), "row 2"),
    ("no item id", LOG, ITEMS.drop("item"), "items table: expected a column for the item"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "log", "items", "says"), BAD_ROWS, ids=[one[0] for one in BAD_ROWS]
)
def test_bad_tables(name: str, log: pl.DataFrame, items: pl.DataFrame | None, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(log, items)
    assert "\n" not in str(caught.value)


def test_the_row_is_that_of_its_file(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "a.csv")
    LOG.with_columns(time=pl.Series([T, T, -1, T, T])).write_csv(tmp_path / "b.csv")
    with pytest.raises(DataError) as caught:
        load_dataset([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert (caught.value.file, caught.value.row, caught.value.column) == ("b.csv", 3, "time")


def test_binary_and_nested_attributes_are_kept_but_are_no_text() -> None:
    items = ITEMS.with_columns(raw=pl.lit(b"\xff"), deep=pl.struct("item"), day=date(2024, 1, 1))
    data = load_dataset(LOG, items)
    assert data.table.columns == ["item_id", "title", "raw", "deep", "day"]
    for name in ("raw", "deep"):
        with pytest.raises(SettingsError, match="are no text"):
            load_dataset(LOG, items, DataSettings(text_template=f"{{{name}}}"))


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match="two parts"):
        DataSettings(user_column="x", item_column="x")
    with pytest.raises(SettingsError, match="user_column"):
        DataSettings(user_column="")
    with pytest.raises(SettingsError, match=r"did you mean \{title\}"):
        load_dataset(LOG, ITEMS, DataSettings(text_template="{titel}"))
    assert replace(DataSettings(), time_column="t").named()["time"] == "t"


def test_a_million_interactions_load_in_seconds(tmp_path: Path) -> None:
    n, rng = 1_000_000, np.random.default_rng(0)
    frame = pl.DataFrame(
        {"user_id": rng.zipf(1.3, n) % 100_000, "item_id": rng.zipf(1.2, n) % 20_000,
         "rating": rng.integers(1, 6, n), "timestamp": rng.integers(T - 10**8, T, n)}
    )  # fmt: skip
    frame.write_csv(tmp_path / "log.csv")
    start = time.process_time()
    data = load_dataset(tmp_path / "log.csv")
    # 1.1 s by the clock on two idle cores, about 2 s of processor time, which other work on the
    # machine disturbs less.
    assert time.process_time() - start < 5
    assert len(data.interactions) > 990_000
