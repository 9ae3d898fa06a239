"""Digests of all items: everything a request needs of them where one layer is joint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.cross import Digest
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

BATCH_ITEMS = 256


@dataclass(frozen=True)
class Digests:
    """The digests of items, in order of item numbers.

    They belong to one model and one set of item tables: whoever changes either makes them anew.

    Parameters
    ----------
    vectors
        ``readers``, ``queries`` and ``gathered`` of :class:`~twofold.ranking.cross.Digest` beside
        each other, in half or single precision, ``(n_items, d + 2 * heads * size)``.
    masses
        ``mass``: logarithms, which half precision would cut too short, ``float32 (n_items,
        heads)``.
    soft
        What histories hold of the items: :meth:`~twofold.ranking.model.RankerModel.soft`, in the
        precision of `vectors`, ``(n_items, d)``.
    """

    vectors: npt.NDArray[np.float16] | npt.NDArray[np.float32]
    masses: npt.NDArray[np.float32]
    soft: npt.NDArray[np.float16] | npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.masses) == len(self.soft):
            raise InputError("Digests: vectors, masses and soft tokens must be of one length")

    def of(self, places: npt.NDArray[np.int64]) -> Digest:
        """Return the digests at places ``(n,)``."""
        width = self.soft.shape[1]
        looked = (self.vectors.shape[1] - width) // 2
        vectors = torch.from_numpy(self.vectors[places]).float()
        readers, queries, gathered = torch.split(vectors, [width, looked, looked], dim=1)
        return Digest(readers, queries, gathered, torch.from_numpy(self.masses[places]))

    def soft_of(self, items: npt.NDArray[np.int64]) -> Tensor:
        """Return the soft tokens of any shape ``(...)`` of items, ``float32 (..., d)``."""
        return torch.from_numpy(self.soft[items]).float()

    def save(self, writer: GenerationWriter) -> None:
        """Write them under ``ranker/digests``."""
        writer.put_array("ranker/digests/vectors", self.vectors)
        writer.put_array("ranker/digests/masses", self.masses)
        writer.put_array("ranker/digests/soft", self.soft)

    @classmethod
    def open(cls, generation: Generation) -> Digests:
        """Return what :meth:`save` wrote, memory-mapped."""
        vectors, masses, soft = (
            generation.array(f"ranker/digests/{name}") for name in ("vectors", "masses", "soft")
        )
        return cls(vectors, masses, soft)


@torch.inference_mode()
def digest_items(
    model: RankerModel,
    tables: ItemTables,
    items: npt.NDArray[np.int64] | None = None,
    *,
    precision: Literal["half", "single"] = "half",
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
    precision
        Of the vectors.
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
    dtype = np.float16 if precision == "half" else np.float32
    width = shape.backbone.hidden + 2 * shape.backbone.attention_width
    vectors = np.empty((len(items), width), dtype=dtype)
    soft = np.empty((len(items), shape.backbone.hidden), dtype=dtype)
    masses = np.empty((len(items), shape.backbone.heads), dtype=np.float32)
    order = np.argsort(tables.tokens.lengths()[items], kind="stable")
    with (progress or Silent()).step("digest items", total=len(items)) as task:
        for start in range(0, len(items), BATCH_ITEMS):
            places = order[start : start + BATCH_ITEMS]
            which = items[places]
            states, lengths = tables.token_states(which, model.backbone)
            parts = tables.soft(which)
            found = model.digest(model.blocks(states, lengths, parts))
            vectors[places] = torch.cat(found[:3], dim=1).numpy()
            masses[places] = found.mass.numpy()
            soft[places] = model.soft(parts).numpy()
            task.advance(len(places))
    return Digests(vectors, masses, soft)
