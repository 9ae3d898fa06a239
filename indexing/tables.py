"""Tables as the user has them, files or frames, with the place of every row."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from twofold.indexing.errors import DataError, InputError

Source = Any
"""A path, a list of paths, or a pandas, polars or Arrow table."""

COMPRESSION: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
TEXT_FORMATS = {".csv": ",", ".tsv": "\t"}
JSON_FORMATS = (".jsonl", ".ndjson")
PARQUET_FORMATS = (".parquet", ".pq")
FORMATS = ".csv, .tsv, .jsonl, .ndjson (each also .gz, .bz2 or .xz) or .parquet"


@dataclass(frozen=True)
class Table:
    """A table and where its rows came from.

    Parameters
    ----------
    what
        ``"interactions"`` or ``"items"``.
    frame
        All rows. Columns of text files are strings exactly as written, empty ones null.
    parts
        Name of the file (``None`` for a frame given in Python) and number of rows of each part.
    as_text
        Whether the values came from a text file without types.
    """

    what: str
    frame: pl.DataFrame
    parts: tuple[tuple[str | None, int], ...]
    as_text: bool

    @property
    def name(self) -> str:
        """Name of the first file, or what the table holds."""
        return self.parts[0][0] or f"{self.what} table"

    def place(self, row: int) -> tuple[str | None, int]:
        """Return the file and the row in it, from 1, of a position counted from 0."""
        for file, n_rows in self.parts:
            if row < n_rows:
                return file or f"{self.what} table", row + 1
            row -= n_rows
        raise IndexError(row)


def read_table(source: Source, what: str) -> Table:
    """Return a table from files or from a frame.

    Parameters
    ----------
    source
        A path, a list of paths whose tables have the same columns, or a pandas, polars or Arrow
        table.
    what
        ``"interactions"`` or ``"items"``.

    Raises
    ------
    DataError
        If a file is missing, empty, damaged, not UTF-8 or of an unknown format, if it has no rows,
        or if the files of one table disagree about their columns.
    InputError
        If `source` is neither.
    """
    if isinstance(source, str | Path):
        source = [source]
    if isinstance(source, list | tuple):
        if not source:
            raise InputError(f"{what}: expected at least one file, came none; name one")
        return _concat([_read_file(Path(path), what) for path in source])
    frame = _from_python(source, what)
    if frame.height == 0:
        raise DataError("the table has no rows; give one with data", file=f"{what} table")
    return Table(what, frame, ((None, frame.height),), as_text=False)


def _from_python(source: Source, what: str) -> pl.DataFrame:
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    # pandas (2.2 and later), Arrow and most other libraries speak the Arrow stream protocol.
    if hasattr(source, "__arrow_c_stream__"):
        try:
            return pl.DataFrame(source)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise DataError(
                f"cannot be converted to a polars frame ({error}); give columns of one type each",
                file=f"{what} table",
            ) from error
    if type(source).__module__.split(".")[0] == "pandas":
        return pl.from_pandas(source)
    raise InputError(
        f"{what}: expected a path, a list of paths or a pandas, polars or Arrow table, came "
        f"{type(source).__name__}; convert it to one of these"
    )


def _concat(tables: Sequence[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    for table in tables[1:]:
        odd = set(first.frame.columns) ^ set(table.frame.columns)
        if odd:
            raise DataError(
                f"its columns differ from those of {first.name} in {', '.join(sorted(odd))}; "
                "give files with the same columns",
                file=table.name,
            )
    try:
        frame = pl.concat(
            [table.frame.select(first.frame.columns) for table in tables], how="vertical_relaxed"
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"columns of the {len(tables)} files have different types ({_line(error)}); give files "
            "of one format",
            file=first.name,
        ) from error
    parts = tuple(part for table in tables for part in table.parts)
    return Table(first.what, frame, parts, all(table.as_text for table in tables))


def _read_file(path: Path, what: str) -> Table:
    name = path.name
    suffixes = [suffix.lower() for suffix in path.suffixes]
    known = (*TEXT_FORMATS, *JSON_FORMATS, *PARQUET_FORMATS)
    format_ = next((suffix for suffix in reversed(suffixes) if suffix in known), None)
    if path.is_dir():
        raise DataError("this is a folder; name the files in it", file=name)
    if not path.exists():
        raise DataError("there is no such file; check the path", file=str(path))
    if format_ is None:
        raise DataError(f"expected a file ending in {FORMATS}; rename or convert it", file=name)
    try:
        if format_ in PARQUET_FORMATS:
            frame = _read_parquet(path, name)
        else:
            data = _read_bytes(path, suffixes[-1], name)
            if format_ in TEXT_FORMATS:
                frame = _read_text(data, TEXT_FORMATS[format_], name)
            else:
                frame = _read_json(data, name)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", file=name) from error
    if frame.height == 0:
        raise DataError("the file has a header but no rows; give one with data", file=name)
    return Table(what, frame, ((name, frame.height),), as_text=format_ in TEXT_FORMATS)


def _read_parquet(path: Path, name: str) -> pl.DataFrame:
    if path.stat().st_size == 0:
        raise DataError("the file is empty; give one with data", file=name)
    try:
        return pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"is not a readable parquet file ({_line(error)}); it may be cut off: write it again",
            file=name,
        ) from error


def _read_bytes(path: Path, suffix: str, name: str) -> bytes:
    data = path.read_bytes()
    if suffix in COMPRESSION:
        try:
            data = COMPRESSION[suffix](data)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise DataError(
                f"cannot be decompressed ({_line(error)}); it may be cut off: copy it again",
                file=name,
            ) from error
    if not data.strip():
        raise DataError("the file is empty; give one with data", file=name)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError("expected UTF-8, came UTF-16; save the file as UTF-8", file=name)
    return data.removeprefix(b"\xef\xbb\xbf")


def _read_text(data: bytes, separator: str, name: str) -> pl.DataFrame:
    header = data.split(b"\n", 1)[0].rstrip(b"\r")
    if separator == "," and b"," not in header:
        # Spreadsheets of many countries write semicolons into files that they call csv.
        separator = next((one for one in ";\t|" if one.encode() in header), separator)
    _refuse_cut_off(data, header, separator, name)
    try:
        frame = pl.read_csv(data, separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        _explain_text(data, separator, name)
        raise DataError(
            f"cannot be read as text with columns ({_line(error)}); look for an open quote",
            file=name,
        ) from error
    columns = next(csv.reader([header.decode(errors="replace")], delimiter=separator))
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise DataError("two columns have this name; rename one", file=name, column=twice[0])
    return frame


def _refuse_cut_off(data: bytes, header: bytes, separator: str, name: str) -> None:
    """Refuse a last line with too few columns: the file was cut while it was written."""
    if data.endswith(b"\n") or b"\n" not in data:
        return
    last = data.rsplit(b"\n", 1)[1]
    if b'"' not in last and last.count(separator.encode()) < header.count(separator.encode()):
        raise DataError(
            "the last line has too few columns and no end; the file may be cut off: copy it again",
            file=name,
            row=max(1, data.count(b"\n")),
        )


def _explain_text(data: bytes, separator: str, name: str) -> None:
    """Find the row that a fast reader refused without saying where it stands."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8, came the byte 0x{data[error.start]:02x}; save the file as UTF-8",
            file=name,
            row=max(1, data.count(b"\n", 0, error.start)),
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        n_columns = len(next(reader))
        for number, row in enumerate(reader, start=1):
            if len(row) > n_columns:
                raise DataError(
                    f"expected {n_columns} columns, came {len(row)}; put quotes around values that "
                    f"hold {separator!r}",
                    file=name,
                    row=number,
                )
    except csv.Error as error:
        raise DataError(f"cannot be read ({error})", file=name, row=reader.line_num) from error


def _read_json(data: bytes, name: str) -> pl.DataFrame:
    try:
        return pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        _explain_json(data, name)
        raise DataError(f"cannot be read as JSON lines ({_line(error)})", file=name) from error


def _explain_json(data: bytes, name: str) -> None:
    import json

    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"expected one JSON object a line ({error}); write each record on a line of its "
                "own",
                file=name,
                row=number,
            ) from error
        if not isinstance(value, dict):
            raise DataError(
                f"expected a JSON object, came {type(value).__name__}; write records as objects",
                file=name,
                row=number,
            )


def _line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:120]
