"""Files of every format give the same table; damaged ones are refused with their place."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from twofold.indexing.columns import map_columns
from twofold.indexing.errors import DataError, InputError
from twofold.indexing.tables import Table, read_table

FRAME = pl.DataFrame(
    {"user_id": ["007", "7", "ü"], "item_id": ["a", "b,c", 'd"e'], "rating": [1, 2, 3]}
)


def _write(folder: Path) -> list[Path]:
    paths = [folder / f"x{end}" for end in (".csv", ".csv.gz", ".tsv", ".jsonl", ".jsonl.gz",
             ".parquet", ".parquet.brotli")]  # fmt: skip
    FRAME.write_csv(paths[0])
    paths[1].write_bytes(gzip.compress(paths[0].read_bytes()))
    FRAME.write_csv(paths[2], separator="\t")
    FRAME.write_ndjson(paths[3])
    paths[4].write_bytes(gzip.compress(paths[3].read_bytes()))
    FRAME.write_parquet(paths[5])
    FRAME.write_parquet(paths[6], compression="brotli")
    return paths


def test_all_formats_agree(tmp_path: Path) -> None:
    for path in _write(tmp_path):
        frame = read_table(path, "interactions").frame
        assert frame.with_columns(pl.col("rating").cast(pl.Int64)).equals(FRAME), path.name


def test_frames_of_python() -> None:
    for source in (FRAME, FRAME.lazy(), pa.table(FRAME.to_arrow())):
        assert read_table(source, "items").frame.equals(FRAME)


def test_pandas_frames() -> None:
    pandas = pytest.importorskip("pandas")
    source = pandas.DataFrame(FRAME.to_dict(as_series=False))
    assert read_table(source, "items").frame.equals(FRAME)


def test_several_files_are_one_table_with_places(tmp_path: Path) -> None:
    for name, rows in (("a.csv", 2), ("b.csv", 3)):
        FRAME.head(rows).write_csv(tmp_path / name)
    table = read_table([tmp_path / "a.csv", tmp_path / "b.csv"], "interactions")
    assert table.frame.height == 5
    assert table.place(1) == ("a.csv", 2)
    assert table.place(2) == ("b.csv", 1)


def test_semicolons_and_byte_order_marks(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfuser;item\n1;2\n")
    assert read_table(tmp_path / "x.csv", "interactions").frame.to_dicts() == [
        {"user": "1", "item": "2"}
    ]


GOOD = b"user,item\n1,2\n3,4\n"
BAD_FILES: list[tuple[str, bytes, str]] = [
    ("empty.csv", b"", "empty"),
    ("blank.csv", b"\n\n", "empty"),
    ("header.csv", b"user,item\n", "no rows"),
    ("wide.csv", b"user,item\n1,2\n3,4,5\n", "row 2: expected 2 columns, came 3"),
    ("latin.csv", b"user,item\n1,2\n\xe9,4\n", "row 2: expected UTF-8, came the byte 0xe9"),
    ("wide16.csv", "user,item\n1,2\n".encode("utf-16"), "UTF-16"),
    ("twice.csv", b"user,user\n1,2\n", "column 'user': two columns"),
    ("cut.csv", b"user,item,rating\n1,2,3\n1,2", "row 2: the last line has too few columns"),
    ("cut.csv.gz", gzip.compress(GOOD)[:-9], "cut off"),
    ("no.csv.gz", GOOD, "cannot be decompressed"),
    ("empty.parquet", b"", "empty"),
    ("cut.parquet", b"PAR1abcdefghijkl", "not a readable parquet file"),
    ("x.xlsx", GOOD, "expected a file ending in .csv"),
    ("x", GOOD, "expected a file ending in .csv"),
    ("bad.jsonl", b'{"user": 1}\n{"user": \n', "row 2: expected one JSON object a line"),
    ("list.jsonl", b"[1, 2]\n", "row 1: expected a JSON object, came list"),
    ("empty.jsonl", b"", "empty"),
]


@pytest.mark.parametrize(("name", "data", "says"), BAD_FILES, ids=[one[0] for one in BAD_FILES])
def test_bad_files(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name, "interactions")
    assert says in str(caught.value)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_other_objects(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "x.csv", "interactions")
    with pytest.raises(DataError, match="folder"):
        read_table(tmp_path, "interactions")
    with pytest.raises(InputError, match="came int"):
        read_table(3, "interactions")
    with pytest.raises(InputError, match="at least one file"):
        read_table([], "interactions")
    with pytest.raises(DataError, match="no rows"):
        read_table(FRAME.head(0), "items")


def test_files_that_disagree(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME.drop("rating").write_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"differ from those of a\.csv in rating"):
        read_table([tmp_path / "a.csv", tmp_path / "b.csv"], "interactions")


def _table(*columns: str, what: str = "interactions") -> Table:
    frame = pl.DataFrame({column: ["1"] for column in columns})
    return Table(what, frame, (("x.csv", 1),), as_text=True)


@pytest.mark.parametrize(
    ("user", "item", "time"),
    [("userId", "movieId", "timestamp"), ("reviewerID", "asin", "unixReviewTime"),
     ("customer_id", "product_id", "date"), ("uid", "iid", "ts"), ("User ID", "ITEM", "Time"),
     ("user_id:token", "item_id:token", "timestamp:float")],
)  # fmt: skip
def test_aliases(user: str, item: str, time: str) -> None:
    found = map_columns(_table(user, item, time, "other"), ("user", "item", "time", "rating"), {})
    assert found == {"user": user, "item": item, "time": time}


def test_ambiguous_missing_and_named_columns() -> None:
    with pytest.raises(DataError, match="asin, parent_asin could all be the item"):
        map_columns(_table("user", "asin", "parent_asin"), ("user", "item"), {})
    with pytest.raises(DataError, match="expected a column for the user"):
        map_columns(_table("who", "item"), ("user", "item"), {})
    with pytest.raises(DataError, match="did you mean 'whom'"):
        map_columns(_table("whom", "item"), ("user", "item"), {"user": "whm"})
    named = {"item": "asin", "user": None, "rating": ""}
    found = map_columns(
        _table("user", "asin", "parent_asin", "rating"), ("user", "item", "rating"), named
    )
    assert found == {"user": "user", "item": "asin"}
    # The contract's own name wins over aliases.
    assert map_columns(_table("user_id", "customer", "item"), ("user",), {}) == {"user": "user_id"}
    assert map_columns(_table("id", what="items"), ("item",), {}) == {"item": "id"}
