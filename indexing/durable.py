"""Files that survive a crash: flushed to the disk, replaced in one step, known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twofold.indexing.errors import InputError


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises
    ------
    InputError
        If the value holds something that JSON does not have, such as NaN or an array.
    """
    return _dumps(value, indent=None, separators=(",", ":"))


def readable_json(value: Any) -> str:
    """Return a value as JSON for people and files: sorted keys, indented, no NaN.

    Raises
    ------
    InputError
        If the value holds something that JSON does not have, such as NaN or an array.
    """
    return _dumps(value, indent=1, separators=(",", ": ")) + "\n"


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a crash."""
    if os.name == "nt":  # Windows has no handle for this and needs none
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Give a file new content in one step: after a crash it holds the old or the new, whole."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    sync_file(fresh)
    os.replace(fresh, path)
    sync_folder(path.parent)


def files_under(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, as sorted relative names with forward slashes."""
    found = (Path(where) / name for where, _, names in os.walk(folder) for name in names)
    yield from sorted(one.relative_to(folder).as_posix() for one in found)


def _dumps(value: Any, *, indent: int | None, separators: tuple[str, str]) -> str:
    try:
        return json.dumps(
            value,
            sort_keys=True,
            ensure_ascii=False,
            allow_nan=False,
            indent=indent,
            separators=separators,
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a value that JSON can hold: {error}") from error
