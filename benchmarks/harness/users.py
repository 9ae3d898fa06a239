"""Per-user results, kept on this machine so that a new metric or pair needs no new run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.cache import cache_folder


@dataclass(frozen=True)
class UserResults:
    """Arrays of cells, each in a file named by the cell's fingerprint.

    Parameters
    ----------
    folder
        Where they lie.
    """

    folder: Path

    def has(self, fingerprint: str) -> bool:
        """Return whether a cell's arrays are here."""
        return self._file(fingerprint).exists()

    def save(self, fingerprint: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep a cell's arrays; a reader sees all of them or none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(fingerprint)
        half = file.with_suffix(".half")
        with half.open("wb") as out:
            np.savez_compressed(out, **dict(arrays))  # type: ignore[arg-type]  # names are free
            out.flush()
            os.fsync(out.fileno())
        half.replace(file)

    def load(self, fingerprint: str) -> dict[str, npt.NDArray[Any]]:
        """Return a cell's arrays."""
        with np.load(self._file(fingerprint), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}

    def work(self, fingerprint: str) -> Path:
        """Return where a cell keeps what a run that was cut off goes on from."""
        return self.folder / "work" / fingerprint

    def _file(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.npz"


def user_results() -> UserResults:
    """Return the results that are kept in the cache folder."""
    return UserResults(cache_folder() / "benchmarks" / "users")
