"""One generation of an artefact, opened for reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.errors import ArtefactError, InputError
from twofold.indexing.manifest import MEASUREMENTS

SUFFIXES = ("", ".npy", ".parquet", ".json")
AGAIN = "restore it or build the artefact again"


@dataclass(frozen=True)
class Generation:
    """One complete index, opened for reading; it may be shared by threads.

    Names are those given to the writer: ``factors/users`` is the array in ``factors/users.npy``.
    Arrays are mapped, not read, so they cost no memory until they are used.

    Parameters
    ----------
    folder
        Where the files lie.
    manifest
        What the build said about itself; empty for a generation still being written.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Number of the generation with leading zeros, such as ``0001``."""
        return self.folder.name

    @property
    def root(self) -> Path:
        """Folder of the artefact."""
        return self.folder.parent.parent

    def has(self, name: str) -> bool:
        """Say whether the generation holds an array, a frame, a JSON value, a file or a folder."""
        check_name(name)
        return any((self.folder / f"{name}{suffix}").exists() for suffix in SUFFIXES)

    def path(self, name: str) -> Path:
        """Return where a file or folder lies, for those who read it themselves.

        Raises
        ------
        ArtefactError
            If there is no such file or folder.
        """
        check_name(name)
        path = self.folder / name
        if not path.exists():
            raise self._gone(name)
        return path

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return an array, read-only and memory-mapped.

        Raises
        ------
        ArtefactError
            If there is no such array, or its file is damaged.
        """
        path = self.path(f"{name}.npy")
        try:
            # Without the memmap class around it, small reads are faster; the map stays alive.
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} is not a whole array ({error}); {AGAIN}") from error

    def frame(self, name: str) -> pl.DataFrame:
        """Return a table.

        Raises
        ------
        ArtefactError
            If there is no such table, or its file is damaged.
        """
        path = self.path(f"{name}.parquet")
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"{path} is not a whole table ({error}); {AGAIN}") from error

    def json(self, name: str) -> Any:
        """Return a JSON value.

        Raises
        ------
        ArtefactError
            If there is no such value, or its file is damaged.
        """
        path = self.path(f"{name}.json")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} is not whole JSON ({error}); {AGAIN}") from error

    def measurements(self) -> Any:
        """Return what the build measured, quality and times; an empty dict where nothing was."""
        return self.json(Path(MEASUREMENTS).stem)

    def _gone(self, name: str) -> ArtefactError:
        if not self.folder.exists():
            return ArtefactError(
                f"{self.folder} was removed by a later build; open the artefact again"
            )
        return ArtefactError(f"{self.folder} holds no '{name}'; {AGAIN}")


def check_name(name: str) -> None:
    """Refuse names that would leave the generation's folder.

    Raises
    ------
    InputError
        If the name is empty, absolute or climbs.
    """
    parts = PurePosixPath(name).parts
    if not parts or "\\" in name or any(part in ("/", "..") for part in parts):
        raise InputError(f"'{name}' cannot name a file of an artefact; give a relative name")
