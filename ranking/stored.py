"""Rows of numbers as they are stored: in floating point, or in bytes with a scale a few columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.indexing.errors import InputError

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Form = Literal["single", "half", "int8"]
# Columns that share a scale: an outlier costs only its neighbours their precision.
GROUP = 32
LARGEST = 127


class Rows(Protocol):
    """A table of numbers that is read a few rows at a time."""

    @property
    def width(self) -> int:
        """Numbers a row."""
        ...

    def __len__(self) -> int: ...

    def row_bytes(self) -> int:
        """Return what a row takes."""
        ...

    def of(self, places: npt.NDArray[np.int64]) -> Tensor:
        """Return the rows at places ``(...)``, ``float32 (..., width)``."""
        ...

    def put(self, places: npt.NDArray[np.int64], rows: npt.NDArray[np.float32]) -> None:
        """Write rows ``(n, width)`` at places ``(n,)`` of a table that is being made."""
        ...

    def save(self, writer: GenerationWriter, name: str) -> None:
        """Write the table under a name of a generation."""
        ...


@dataclass(frozen=True)
class FloatRows:
    """Rows in half or single precision, ``(n, width)``."""

    values: npt.NDArray[Any]

    @property
    def width(self) -> int:
        """Numbers a row."""
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.values)

    def row_bytes(self) -> int:
        """Return what a row takes."""
        return self.width * self.values.itemsize

    def of(self, places: npt.NDArray[np.int64]) -> Tensor:
        """Return the rows at places."""
        return torch.from_numpy(self.values[places]).float()

    def put(self, places: npt.NDArray[np.int64], rows: npt.NDArray[np.float32]) -> None:
        """Write rows at places."""
        self.values[places] = rows

    def save(self, writer: GenerationWriter, name: str) -> None:
        """Write the values."""
        writer.put_array(name, self.values)


@dataclass(frozen=True)
class ByteRows:
    """Rows of 8-bit integers with a scale for each `GROUP` columns.

    Parameters
    ----------
    values
        Padded to whole groups, ``int8 (n, n_groups * GROUP)``.
    scales
        ``float16 (n, n_groups)``.
    width
        Numbers a row, padding left out.
    """

    values: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float16]
    width: int

    def __post_init__(self) -> None:
        n_groups = self.scales.shape[1]
        if self.values.shape != (len(self.scales), n_groups * GROUP):
            raise InputError("ByteRows: each group of columns needs a scale")

    def __len__(self) -> int:
        return len(self.values)

    def row_bytes(self) -> int:
        """Return what a row takes."""
        n_groups = self.scales.shape[1]
        return int(n_groups * (GROUP + self.scales.itemsize))

    def of(self, places: npt.NDArray[np.int64]) -> Tensor:
        """Return the rows at places."""
        scales = torch.from_numpy(self.scales[places]).float()[..., None]
        values = torch.from_numpy(self.values[places]).view(*scales.shape[:-1], GROUP)
        rows = torch.flatten(values * scales, -2)
        return rows if rows.shape[-1] == self.width else rows[..., : self.width]

    def put(self, places: npt.NDArray[np.int64], rows: npt.NDArray[np.float32]) -> None:
        """Write rows at places."""
        n_groups = self.scales.shape[1]
        padded = np.zeros((len(rows), n_groups * GROUP), dtype=np.float32)
        padded[:, : self.width] = rows
        groups = padded.reshape(len(rows), n_groups, GROUP)
        scales = (np.abs(groups).max(axis=2) / LARGEST).astype(np.float16)
        # As the scale is read back; one too small to be told from 0 has nothing to scale.
        read = scales.astype(np.float32)[..., None]
        whole = np.round(groups / np.where(read > 0, read, 1))
        self.values[places] = np.clip(whole, -LARGEST, LARGEST).reshape(len(rows), -1)
        self.scales[places] = scales

    def save(self, writer: GenerationWriter, name: str) -> None:
        """Write values and scales."""
        writer.put_array(f"{name}_bytes", self.values)
        writer.put_array(f"{name}_scales", self.scales)


def form_of(rows: Rows) -> Form:
    """Return in which form a table is stored."""
    if isinstance(rows, FloatRows):
        return "half" if rows.values.dtype == np.float16 else "single"
    return "int8"


def empty_rows(n: int, width: int, form: Form) -> Rows:
    """Return a table to be filled with :meth:`Rows.put`."""
    if form == "int8":
        n_groups = -(-width // GROUP)
        values = np.zeros((n, n_groups * GROUP), dtype=np.int8)
        return ByteRows(values, np.zeros((n, n_groups), dtype=np.float16), width)
    return FloatRows(np.zeros((n, width), dtype=np.float16 if form == "half" else np.float32))


def open_rows(generation: Generation, name: str, width: int) -> Rows | None:
    """Return the table that :meth:`Rows.save` wrote, memory-mapped; ``None`` if there is none."""
    if generation.has(f"{name}_bytes"):
        values: npt.NDArray[np.int8] = generation.array(f"{name}_bytes")
        scales: npt.NDArray[np.float16] = generation.array(f"{name}_scales")
        return ByteRows(values, scales, width)
    if not generation.has(name):
        return None
    numbers: npt.NDArray[Any] = generation.array(name)
    return FloatRows(numbers)


def spliced(old: Rows, fresh: Rows, places: npt.NDArray[np.int64]) -> Rows:
    """Return rows of two tables of one form as one table, bit by bit what they were.

    Parameters
    ----------
    old, fresh
        The tables.
    places
        Where each row of the result stands in `old`, or, from ``len(old)`` on, in `fresh`, ``int64
        (n,)``.

    Raises
    ------
    InputError
        If one is in floating point and the other in bytes.
    """
    if isinstance(old, FloatRows) and isinstance(fresh, FloatRows):
        return FloatRows(_spliced(old.values, fresh.values, places))
    if isinstance(old, ByteRows) and isinstance(fresh, ByteRows):
        values = _spliced(old.values, fresh.values, places)
        return ByteRows(values, _spliced(old.scales, fresh.scales, places), old.width)
    raise InputError(f"a {type(old).__name__} and a {type(fresh).__name__} do not make one table")


def _spliced(
    old: npt.NDArray[Any], fresh: npt.NDArray[Any], places: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    out = np.empty((len(places), *old.shape[1:]), dtype=old.dtype)
    kept = places < len(old)
    out[kept] = old[places[kept]]
    out[~kept] = fresh[places[~kept] - len(old)]
    return out
