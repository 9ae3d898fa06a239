"""What stage two reads of items, held in the memory of a device.

Gathering a candidate's states in main memory and sending them takes longer than a device takes to
score it. So the tables are copied there once, and a request sends item numbers. What changes later
is put behind what is there: a state of the tables stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.ranking.blocks import owners
from twofold.ranking.cross import Digest
from twofold.ranking.devices import moved
from twofold.ranking.digests import Digests, ItemDigests
from twofold.ranking.items import ItemTables
from twofold.ranking.relations import Relations
from twofold.ranking.stored import FloatRows, Rows, form_of

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
ROWS_AT_ONCE = 1 << 16
# Fewer candidates are looked up sooner than threads are told of them.
SHARED = 4096
MOST_THREADS = 8


@dataclass(frozen=True)
class DeviceRows:
    """Rows of numbers in the memory of a device.

    Parameters
    ----------
    built
        The rows as they were first put there, ``(n_built, width)``.
    later
        Those that came or changed since, behind them, ``(n_later, width)``.
    where
        Where each row stands, counted over both, ``int64 (n,)``; ``None`` where they stand in
        order.
    """

    built: Tensor
    later: Tensor
    where: Int64s | None = None

    @classmethod
    def of(cls, rows: Rows, device: torch.device) -> DeviceRows:
        """Return a copy of rows, in half precision unless they are stored in single."""
        dtype = torch.float32 if form_of(rows) == "single" else torch.float16
        built = torch.empty((len(rows), rows.width), dtype=dtype, device=device)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            which = np.arange(start, min(start + ROWS_AT_ONCE, len(rows)))
            built[start : start + len(which)] = rows.of(which).to(dtype).to(device)
        return cls(built, built[:0])

    @property
    def n_held(self) -> int:
        """How many rows are on the device, those that no one reads any more among them."""
        return len(self.built) + len(self.later)

    def read(self, rows: Int64s) -> Tensor:
        """Return rows ``(...)``, ``float32 (..., width)``."""
        device, places = self.built.device, rows if self.where is None else self.where[rows]
        if not len(self.later):
            return self.at(moved(torch.from_numpy(places), device))
        late = places >= len(self.built)
        out = self.built[moved(torch.from_numpy(np.where(late, 0, places)), device)]
        others = np.flatnonzero(late)
        behind = torch.from_numpy(places.ravel()[others] - len(self.built))
        flat = out.view(-1, out.shape[-1])
        flat[moved(torch.from_numpy(others), device)] = self.later[moved(behind, device)]
        return out.float()

    def at(self, rows: Tensor) -> Tensor:
        """Return rows as they were first put there, their numbers on the device already."""
        return self.built[rows].float()

    def runs(self, starts: Int64s, lengths: Int64s) -> Tensor:
        """Return the rows that follow each other from some on, run after run, in single precision.

        Which they are is counted on the device: sending their numbers would take longer.

        Parameters
        ----------
        starts, lengths
            First row of each run, of rows in order, and how many there are, ``int64 (n,)``.
        """
        device = self.built.device
        first, many = moved(torch.from_numpy(np.stack([starts, lengths])), device)
        owner = owners(many, int(lengths.sum()))
        rows = torch.arange(len(owner), device=device) + (first - many.cumsum(0) + many)[owner]
        if not len(self.later):
            return self.at(rows)
        late = rows >= len(self.built)
        behind = self.later[(rows - len(self.built)).clamp(min=0)]
        return torch.where(late[:, None], behind, self.built[rows.masked_fill(late, 0)]).float()

    def followed_by(self, fresh: Tensor, where: Int64s | None) -> DeviceRows:
        """Return these with others behind them, and where each row of the table then stands."""
        fresh = fresh.to(self.built.dtype).to(self.built.device)
        return DeviceRows(self.built, torch.cat([self.later, fresh]), where)


@dataclass(frozen=True)
class PlacedDigests:
    """Digests of all items in the memory of a device; parameters as of `Digests`."""

    vectors: DeviceRows
    masses: DeviceRows
    soft: DeviceRows

    def of(self, items: Int64s) -> Digest:
        """Return the digests of items ``(n,)``."""
        return Digest.parted(
            self.vectors.read(items), self.masses.read(items), self.soft.built.shape[1]
        )

    def soft_of(self, items: Int64s) -> Tensor:
        """Return the soft tokens of any shape ``(...)`` of items, ``float32 (..., d)``."""
        return self.soft.read(items)


@dataclass(frozen=True)
class PlacedItems:
    """What else is read of items.

    Parameters
    ----------
    left, right
        The sides of the low-rank relations.
    parts
        Text vectors and factors, of which soft tokens are made; ``None`` where digests hold those.
    states
        Lower-layer token states; ``None`` where none are stored, or digests are read.
    """

    left: DeviceRows
    right: DeviceRows
    parts: tuple[DeviceRows, DeviceRows] | None
    states: DeviceRows | None

    def strengths(
        self, relations: Relations, history: Int64s, there: Bools, candidates: Int64s
    ) -> Tensor:
        """Return what :meth:`Relations.between` does, ``float32 (B, H, m, width)``.

        Entries are looked up in main memory, in several threads; products of low rank are made on
        the device.
        """
        device = self.left.built.device
        counted = moved(torch.from_numpy(_counted(relations, history, there, candidates)), device)
        present = moved(torch.from_numpy(there), device)
        served = moved(torch.from_numpy(candidates >= 0), device)
        left = self.left.read(history) * present[..., None]
        right = self.right.read(np.maximum(candidates, 0)) * served[..., None]
        return self.joined(relations, counted, left, right)

    def joined(self, relations: Relations, counted: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Return all strengths of what was looked up and the sides of what is of low rank.

        Parameters
        ----------
        relations
            Tell which is which.
        counted
            ``float32 (B, H, m, n_counted)``.
        left, right
            Of history items and candidates, 0 at padding, ``float32 (B, H, r)`` and ``(B, m, r)``.
        """
        right = right.transpose(1, 2)
        out = counted.new_empty((*counted.shape[:3], relations.width))
        out[..., 0 : 2 * counted.shape[3] : 2] = counted
        start = 0
        for number, rank in enumerate(relations.low_rank.ranks):
            part = slice(start, start + rank)
            out[..., relations.column(number)] = left[..., part] @ right[:, part]
            start += rank
        return out


def _counted(
    relations: Relations, history: Int64s, there: Bools, candidates: Int64s
) -> npt.NDArray[np.float32]:
    """Return the counted strengths, ``float32 (B, H, m, n_counted)``."""
    threads = min(MOST_THREADS, torch.get_num_threads())
    if candidates.size < SHARED or threads == 1:
        return relations.entries(history, there, candidates)
    parts = np.array_split(np.arange(len(history)), threads)
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(
            lambda some: relations.entries(history[some], there[some], candidates[some]), parts
        )
        return np.concatenate(list(found))


@dataclass(frozen=True)
class Placed:
    """What a model reads, where that computes.

    Parameters
    ----------
    tables, digests
        As of a ranker.
    rows
        All that stands on a device, by name; empty in main memory.
    """

    tables: ItemTables
    digests: ItemDigests | None
    rows: Mapping[str, DeviceRows] = field(default_factory=dict)

    @classmethod
    def on(cls, device: torch.device, tables: ItemTables, digests: ItemDigests | None) -> Placed:
        """Return copies in the memory of a device."""
        stored = _stored(tables, digests)
        rows = {name: DeviceRows.of(one, device) for name, one in stored.items()}
        return cls._read_by(tables, digests, rows)

    def over(self, tables: ItemTables, digests: ItemDigests | None) -> Placed:
        """Return the same over tables in which items came, or a few are others.

        Parameters
        ----------
        tables
            The tables, with editions, by which they are told from those before.
        digests
            Of these tables.
        """
        if not self.rows or tables.editions is None:
            return Placed(tables, digests)
        n, held = len(self.tables.tokens), self.rows["left"]
        known = np.arange(n) if self.tables.editions is None else self.tables.editions
        others = np.flatnonzero(tables.editions[:n] != known)
        changed = np.concatenate([others, np.arange(n, len(tables.tokens))])
        where = np.zeros(len(tables.tokens), dtype=np.int64)
        where[:n] = np.arange(n) if held.where is None else held.where
        where[changed] = held.n_held + np.arange(len(changed))
        rows = {}
        for name, one in _stored(tables, digests).items():
            own = self.rows[name]
            if name == "states":
                # Tokens of an item that changed stand behind the others in the table itself.
                rows[name] = own.followed_by(one.of(np.arange(own.n_held, len(one))), None)
            else:
                rows[name] = own.followed_by(one.of(changed), where)
        return Placed._read_by(tables, digests, rows)

    @classmethod
    def _read_by(
        cls, tables: ItemTables, digests: ItemDigests | None, rows: Mapping[str, DeviceRows]
    ) -> Placed:
        """Return the tables and digests that read rows on a device."""
        parts = (rows["texts"], rows["factors"]) if "texts" in rows else None
        items = PlacedItems(rows["left"], rows["right"], parts, rows.get("states"))
        if "vectors" in rows:
            digests = PlacedDigests(rows["vectors"], rows["masses"], rows["soft"])
        return cls(replace(tables, placed=items), digests, rows)


def _stored(tables: ItemTables, digests: ItemDigests | None) -> dict[str, Rows]:
    """Return all tables that requests read rows of, by name; but for states, a row an item."""
    low_rank = tables.relations.low_rank
    out: dict[str, Rows] = {"left": FloatRows(low_rank.left), "right": FloatRows(low_rank.right)}
    if isinstance(digests, Digests):
        return out | {
            "vectors": digests.vectors,
            "masses": FloatRows(digests.masses),
            "soft": digests.soft,
        }
    out |= {"texts": FloatRows(tables.texts), "factors": FloatRows(tables.factors)}
    return out if tables.states is None else out | {"states": tables.states}
