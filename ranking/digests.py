"""Digests of all items: everything a request needs of them where one layer is joint."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.caches import RowCache
from twofold.ranking.cross import Digest
from twofold.ranking.devices import moved
from twofold.ranking.items import ItemTables
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.stored import Form, Rows, empty_rows, open_rows

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

Int64s = npt.NDArray[np.int64]
BATCH_ITEMS = 256


class ItemDigests(Protocol):
    """Where requests read what they need of items."""

    def of(self, items: Int64s) -> Digest:
        """Return the digests of items ``(n,)``."""
        ...

    def soft_of(self, items: Int64s) -> Tensor:
        """Return the soft tokens of any shape ``(...)`` of items, ``float32 (..., d)``."""
        ...


@dataclass(frozen=True)
class Digests:
    """The digests of items, in order of item numbers.

    They belong to one model and one set of item tables: whoever changes either makes them anew.

    Parameters
    ----------
    vectors
        ``readers``, ``queries`` and ``gathered`` of :class:`~twofold.ranking.cross.Digest` beside
        each other, ``d + 2 * heads * size`` numbers an item.
    masses
        ``mass``: logarithms, which half precision would cut too short, ``float32 (n_items,
        heads)``.
    soft
        What histories hold of the items: :meth:`~twofold.ranking.model.RankerModel.soft`, ``d``
        numbers an item.
    """

    vectors: Rows
    masses: npt.NDArray[np.float32]
    soft: Rows

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.masses) == len(self.soft):
            raise InputError("Digests: vectors, masses and soft tokens must be of one length")

    def of(self, items: Int64s) -> Digest:
        """Return the digests of items ``(n,)``."""
        masses = torch.from_numpy(self.masses[items])
        return Digest.parted(self.vectors.of(items), masses, self.soft.width)

    def soft_of(self, items: Int64s) -> Tensor:
        """Return the soft tokens of any shape ``(...)`` of items, ``float32 (..., d)``."""
        return self.soft.of(items)

    def bytes_an_item(self) -> int:
        """Return what an item takes."""
        masses = self.masses.shape[1] * self.masses.itemsize
        return int(self.vectors.row_bytes() + self.soft.row_bytes() + masses)

    def save(self, writer: GenerationWriter) -> None:
        """Write them under ``ranker/digests``."""
        self.vectors.save(writer, "ranker/digests/vectors")
        self.soft.save(writer, "ranker/digests/soft")
        writer.put_array("ranker/digests/masses", self.masses)

    @classmethod
    def open(cls, generation: Generation, shape: ModelShape) -> Digests | None:
        """Return what :meth:`save` wrote, memory-mapped; ``None`` if there is nothing."""
        vectors = open_rows(generation, "ranker/digests/vectors", _width(shape))
        soft = open_rows(generation, "ranker/digests/soft", shape.backbone.hidden)
        if vectors is None or soft is None:
            return None
        return cls(vectors, generation.array("ranker/digests/masses"), soft)


class DigestsOnDemand:
    """Digests that are made when they are asked for, the latest kept.

    Parameters
    ----------
    model, tables
        Whose digests.
    n_bytes
        Most bytes of digests that are kept.
    """

    def __init__(self, model: RankerModel, tables: ItemTables, n_bytes: int) -> None:
        self._model, self._tables = model, tables
        width = _width(model.shape) + model.shape.backbone.heads
        self._cache = RowCache(len(tables.tokens), width, n_bytes)

    def over(self, tables: ItemTables) -> DigestsOnDemand:
        """Return the same over other tables; what is kept is shared.

        Items that differ in them need another edition.
        """
        other = copy(self)
        other._tables = tables
        return other

    def of(self, items: Int64s) -> Digest:
        """Return the digests of items ``(n,)``."""
        rows = torch.from_numpy(self._cache.of(items, self._rows, self._tables.editions))
        width = _width(self._model.shape)
        hidden = self._model.shape.backbone.hidden
        return Digest.parted(rows[:, :width], rows[:, width:], hidden)

    def soft_of(self, items: Int64s) -> Tensor:
        """Return the soft tokens of any shape ``(...)`` of items, ``float32 (..., d)``."""
        return self._model.soft(self._tables.soft(items))

    def made(self, items: Int64s) -> Digests:
        """Return the digests of items ``(n,)``, none of which is kept."""
        return digest_items(self._model, self._tables, items, form="single")

    def _rows(self, items: Int64s) -> npt.NDArray[np.float32]:
        made = self.made(items)
        vectors = made.vectors.of(np.arange(len(items))).numpy()
        return np.concatenate([vectors, made.masses], axis=1)


def _width(shape: ModelShape) -> int:
    return shape.backbone.hidden + 2 * shape.backbone.attention_width


@torch.inference_mode()
def digest_items(
    model: RankerModel,
    tables: ItemTables,
    items: npt.NDArray[np.int64] | None = None,
    *,
    form: Form = "half",
    progress: Progress | None = None,
) -> Digests:
    """Return the digests of items, which are read in order of length to save padding.

    Parameters
    ----------
    model
        The classifier; it is put into evaluation mode.
    tables
        What it reads of items.
    items
        Item numbers, ``int64 (n,)``; ``None`` takes all.
    form
        How vectors and soft tokens are stored.
    progress
        Told of every batch.

    Raises
    ------
    InputError
        If several layers of the model are joint: what an item brings to the last of them then
        depends on the history.
    """
    shape = model.shape
    if shape.joint_layers != 1:
        raise InputError(f"digests need one joint layer; this model has {shape.joint_layers}")
    model.eval()
    items = np.arange(len(tables.tokens)) if items is None else items
    vectors = empty_rows(len(items), _width(shape), form)
    soft = empty_rows(len(items), shape.backbone.hidden, form)
    masses = np.empty((len(items), shape.backbone.heads), dtype=np.float32)
    order = np.argsort(tables.tokens.lengths(items), kind="stable")
    with (progress or Silent()).step("digest items", total=len(items)) as task:
        for start in range(0, len(items), BATCH_ITEMS):
            places = order[start : start + BATCH_ITEMS]
            which = items[places]
            states, lengths = tables.token_states(which, model.backbone)
            parts = moved(tables.soft(which), model.device)
            found = model.digest(model.blocks(moved(states, model.device), lengths, parts))
            vectors.put(places, torch.cat(found[:3], dim=1).float().cpu().numpy())
            masses[places] = found.mass.float().cpu().numpy()
            soft.put(places, model.soft(parts).float().cpu().numpy())
            task.advance(len(places))
    return Digests(vectors, masses, soft)
