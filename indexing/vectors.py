"""Nearest item vectors by inner product, exactly or through a structure that proposes."""

from __future__ import annotations

import os
from copy import copy
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from twofold.indexing.best import best, certain, nearest_of
from twofold.indexing.errors import ArtefactError, InputError
from twofold.indexing.faiss_library import faiss_module, memory_of, threads_for
from twofold.indexing.fresh_rows import FreshRows, by_numpy
from twofold.indexing.generation import AGAIN
from twofold.indexing.gpu import gpu_search
from twofold.indexing.inner_products import products, products_at
from twofold.indexing.item_set import ItemSet
from twofold.indexing.proposers import Proposer
from twofold.indexing.rounded import MOST_ROUNDED, Rounded

if TYPE_CHECKING:
    from twofold.indexing.generation import Generation
    from twofold.indexing.writer import GenerationWriter

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Found = tuple[Float32s, Int64s]  # scores, and items
Device = Literal["auto", "cpu", "cuda"]
NAME = "faiss"  # of the index of texts
FILE = f"{NAME}.index"
# FAISS sums in another order for one query than for many, and on a GPU in yet another. It proposes
# MARGIN items too many; scores computed one way decide; rows that it leaves open within TOLERANCE
# (a hundred times what float32 loses on unit vectors) are scanned whole.
MARGIN = 16
TOLERANCE = 1e-5
GPU_K = 2048  # the longest list that FAISS returns on a GPU
# A set of items up to this share of all is scanned itself, with a proposer up to so many; larger
# ones FAISS sifts as it goes.
SELECTIVE = 0.1
SCANNED_SET = 2_000
NEAR_AT_ONCE = 1 << 22  # scores


class VectorIndex:
    """Item vectors to search; made by :meth:`build` or :meth:`open`, shared by threads.

    FAISS proposes, or where vectors are few their bytes; scores computed in one fixed order decide.
    Searched exactly, a query's result is the same on a CPU and a GPU, alone or in a batch. With a
    proposer some of the nearest may be missed, as many as it was tuned for; a GPU takes only some
    kinds of it, see :func:`~twofold.indexing.gpu.gpu_search`, and looks at all instead of others.
    In a process forked from the one that made it, numpy looks at all.

    Parameters
    ----------
    flat
        A flat inner-product index in main memory, possibly mapped from a file.
    device
        Where to search; see :meth:`open`.
    proposer
        What finds most of the nearest without looking at all of them; ``None`` looks at all.
    unit
        Whether all vectors are of length 1 or 0.
    """

    def __init__(
        self,
        flat: Any,
        device: Device = "auto",
        proposer: Proposer | None = None,
        *,
        unit: bool = True,
    ) -> None:
        self.flat, self._unit = flat, unit
        self.proposer = proposer
        self._vectors: Float32s = memory_of(flat)
        # Made for whoever asks first, and shared by all copies of this index.
        self._rounded = cache(lambda: Rounded.of(memory_of(flat)))
        self._asked = device
        self._gpu = gpu_search(flat, proposer, device)
        self._fresh = FreshRows(np.zeros(0, dtype=np.int64), self._vectors, len(self._vectors))
        self._process = os.getpid()

    @classmethod
    def build(cls, vectors: Float32s, *, unit: bool = True, device: Device = "auto") -> VectorIndex:
        """Return an index of vectors, searched exactly.

        Parameters
        ----------
        vectors
            One row an item, ``float32 (n_items, d)``, of length 1, or 0 for items without a text;
            :func:`normalised` makes them.
        unit
            Whether other lengths are refused.
        device
            Where to search; see :meth:`open`.

        Raises
        ------
        InputError
            If a vector is not finite or has another length.
        """
        if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype != np.float32:
            raise InputError(
                f"vectors must be float32 (n_items, d), not {vectors.dtype} {vectors.shape}"
            )
        norms = np.linalg.norm(vectors, axis=1)
        sound = (np.abs(norms - 1) < 1e-3) | (norms == 0) if unit else np.isfinite(norms)
        wrong = np.flatnonzero(~sound)
        if len(wrong):
            raise InputError(
                f"vector {wrong[0]} has length {norms[wrong[0]]:.4g}, not "
                f"{'1 or 0; normalise the vectors first' if unit else 'a finite one'}"
            )
        index = faiss_module().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return cls(index, device, unit=unit)

    @classmethod
    def open(
        cls,
        generation: Generation,
        name: str = NAME,
        *,
        unit: bool = True,
        device: Device = "auto",
    ) -> VectorIndex:
        """Return the index of an artefact, mapped from its files.

        Parameters
        ----------
        generation
            The opened artefact.
        name
            What it was saved as.
        unit
            Whether all vectors are of length 1 or 0.
        device
            ``"auto"`` searches on a GPU where FAISS sees one, ``"cuda"`` insists on it, ``"cpu"``
            never does. The file is the same for all.

        Raises
        ------
        ArtefactError
            If the file is missing or damaged.
        MissingDependencyError
            If `device` is ``"cuda"`` and FAISS sees no GPU.
        """
        faiss = faiss_module()
        path = generation.path(f"{name}.index")
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ArtefactError(f"{path} is not a whole FAISS index; {AGAIN}") from error
        if (
            not isinstance(index, faiss.IndexFlat)
            or index.metric_type != faiss.METRIC_INNER_PRODUCT
        ):
            raise ArtefactError(
                f"{path} holds a {type(index).__name__}, not a flat inner-product index; {AGAIN}"
            )
        proposer = None
        if generation.has(f"{name}-proposer.json"):
            proposer = Proposer.open(generation, f"{name}-proposer", index)
        return cls(index, device, proposer, unit=unit)

    def through(self, proposer: Proposer | None) -> VectorIndex:
        """Return the same vectors, searched through a proposer, or all of them without one."""
        other = copy(self)
        other.proposer = proposer
        other._gpu = gpu_search(self.flat, proposer, self._asked)
        return other

    def on_cpu(self) -> VectorIndex:
        """Return the same index, searched in main memory."""
        other = copy(self)
        other._asked, other._gpu = "cpu", None
        return other

    def with_vectors(self, vectors: Float32s, changed: Int64s) -> VectorIndex:
        """Return an index of other vectors that differ from these in a few rows, or are more.

        Nothing is built anew: searches ask FAISS for the rest and look at each of the few. Where
        FAISS holds some as they were, it is told to pass over them, in main memory.

        Parameters
        ----------
        vectors
            ``float32 (n, d)``, at least as many as before; not written to any more.
        changed
            Numbers of the rows that are others than before or new, ``int64``, distinct.
        """
        other = copy(self)
        longest = np.linalg.norm(vectors[changed], axis=1).max(initial=0)
        other._longest = max(self._longest, float(longest))
        other._vectors = vectors
        numbers = np.union1d(self._fresh.numbers, changed)
        other._fresh = FreshRows(numbers, vectors, self._fresh.n_built)
        return other

    def save(self, writer: GenerationWriter, name: str = NAME) -> None:
        """Write ``name.index``, in the form for main memory wherever it lives, and the proposer.

        Raises
        ------
        ArtefactError
            If it cannot be written.
        InputError
            If vectors were changed since it was built.
        """
        if len(self._fresh):
            raise InputError("an index with changed vectors cannot be saved; build one of them")
        path = writer.path(f"{name}.index")
        try:
            faiss_module().write_index(self.flat, str(path))
        except RuntimeError as error:
            raise ArtefactError(f"cannot write {path}; make room for it and build again") from error
        if self.proposer is not None:
            self.proposer.save(writer, f"{name}-proposer")

    @property
    def vectors(self) -> Float32s:
        """The vectors, ``float32 (n_items, d)``, read-only; mapped where the index was opened."""
        return self._vectors

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.flat.d)

    @cached_property
    def _longest(self) -> float:
        """Length of the longest vector."""
        if self._unit:
            return 1.0
        squares = np.einsum("nd,nd->n", self._vectors, self._vectors)
        return float(np.sqrt(squares.max(initial=0)))

    @property
    def device(self) -> str:
        """Where searches run, ``cpu`` or ``cuda``."""
        return "cpu" if self._gpu is None else "cuda"

    @property
    def scanned(self) -> bool:
        """Whether every vector is looked at, in main memory."""
        return self.proposer is None and self._gpu is None

    @property
    def rounds(self) -> bool:
        """Whether :meth:`near` answers: every vector is looked at, and they are few enough."""
        return self.scanned and len(self) * self.dimension <= MOST_ROUNDED

    def near(self, queries: Float32s) -> tuple[Float32s, Float32s]:
        """Return nearly the inner products with all items, and how far they may be off.

        As of :meth:`~twofold.indexing.rounded.Rounded.near`, in a quarter of the time where queries
        are one or a few.
        """
        if not self.rounds:
            raise RuntimeError("only an index that rounds tells what is near")
        near, slack = self._rounded().near(queries, len(self))
        if len(self._fresh):
            near[:, self._fresh.numbers] = self._fresh.products(queries)
        return near, slack

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Float32s, k: int, *, among: ItemSet | None = None) -> Found:
        """Return the `k` best items of each query, with their inner products.

        Parameters
        ----------
        queries
            ``float32 (n, d)``; unit vectors give cosines in -1..1.
        k
            How many, at least 1. Where there are fewer, rows are padded.
        among
            Only items of this set are found: searched in main memory wherever the index lives,
            because FAISS takes no sets on a GPU. ``None`` for all.

        Returns
        -------
        scores
            ``float32 (n, k)``, highest first; ``-inf`` at padding.
        items
            Item numbers, ``int64 (n, k)``, ties in ascending order; -1 at padding.

        Raises
        ------
        InputError
            If the queries have another dimension or are not finite, or `k` is below 1.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise InputError(
                f"queries have shape {queries.shape}; this index was built with dimension "
                f"{self.dimension}: give (n, {self.dimension})"
            )
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if not np.isfinite(queries).all():
            raise InputError("queries must be finite, but one holds NaN or infinity")
        there = len(self) if among is None else len(among)
        width = min(k + MARGIN, there)
        few = SELECTIVE * len(self) if self.proposer is None else SCANNED_SET
        if among is not None and there <= max(width, few):
            return self._scan(queries, among, k)
        if self.rounds:
            return self._nearest(queries, among, k)
        if not len(queries):
            return nearest_of(queries, self._vectors, np.zeros((0, 0), dtype=np.int64), k)
        held, n_held = self._fresh.others(among)
        proposed, found = self._propose(queries, k, min(width, n_held), held)
        if len(self._fresh):
            found = np.concatenate([found, self._fresh.best(queries, k, among)[1]], axis=1)
        scores, items = nearest_of(queries, self._vectors, found, k)
        for row in self._undecided(queries, proposed, scores, there, n_held):
            scores[row], items[row] = self._scan(queries[row : row + 1], among, k)
        return scores, items

    def _propose(self, queries: Float32s, k: int, width: int, among: ItemSet | None) -> Found:
        """Return what FAISS finds of what it holds, in its own order, with its own scores."""
        if not width:
            empty = np.zeros((len(queries), 0), dtype=np.int64)
            return empty.astype(np.float32), empty
        if os.getpid() != self._process:
            # After a fork neither FAISS's threads nor a GPU's context exist: a search would hang.
            return by_numpy(queries, self._vectors[: self._fresh.n_built], width, among)
        if self._gpu is not None and among is None and width <= GPU_K:
            return self._gpu.search(queries, min(width * max(1, self._gpu.over), GPU_K))
        with threads_for(len(queries)):
            if self.proposer is not None:
                return self.proposer.search(queries, k * self.proposer.over + MARGIN, among)
            asked = None
            if among is not None:
                faiss, bits = faiss_module(), among.bits
                chosen = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
                asked = faiss.SearchParameters(sel=chosen)
            return tuple(self.flat.search(queries, width, params=asked))

    def _undecided(
        self, queries: Float32s, proposed: Float32s, scores: Float32s, there: int, n_held: int
    ) -> Int64s:
        """Return the queries whose best are not sure, or not found: they are scanned whole.

        `there` is how many could be found, `n_held` how many of them FAISS could propose.
        """
        k, width = scores.shape[1], proposed.shape[1]
        if self.proposer is not None and not (self._gpu and self._gpu.looks_at_all):
            # A set of items may hide from it: where k exist, k come.
            return np.flatnonzero(np.isneginf(scores[:, min(k, there) - 1]))
        if width >= n_held:
            return np.zeros(0, dtype=np.int64)
        scale = TOLERANCE * self._longest * np.maximum(1, np.linalg.norm(queries, axis=1))
        return np.flatnonzero(scores[:, -1] - proposed[:, -1] <= scale)

    def _nearest(self, queries: Float32s, among: ItemSet | None, k: int) -> Found:
        """Return each query's `k` best items, by rounded vectors first."""
        step = max(1, NEAR_AT_ONCE // max(1, len(self)))
        parts = []
        for start in range(0, max(1, len(queries)), step):
            some = queries[start : start + step]
            near, slack = self.near(some)
            if among is not None:
                near[:, ~among.mask] = -np.inf
            parts.append(certain(some, self._vectors, near, slack, k))
        scores, items = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(items)

    def _scan(self, queries: Float32s, among: ItemSet | None, k: int) -> Found:
        """Return each query's `k` best items by looking at every one."""
        scores = np.empty((len(queries), k), dtype=np.float32)
        items = np.empty((len(queries), k), dtype=np.int64)
        everyone = np.arange(len(self)) if among is None else among.items
        for row, query in enumerate(queries[:, None]):
            if among is None:
                told = products(query, self._vectors)
            else:
                told = products_at(query, self._vectors, everyone[None])
            scores[row], items[row] = (part[0] for part in best(told, everyone[None], k))
        return scores, items


def normalised(vectors: npt.NDArray[np.floating[Any]]) -> Float32s:
    """Return rows scaled to length 1, ``float32 (n, d)``; rows of zeros stay zero.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    if not np.isfinite(wide).all():
        raise InputError("vectors must be finite, but one holds NaN or infinity")
    norms = np.linalg.norm(wide, axis=-1, keepdims=True)
    return (wide / np.where(norms == 0, 1, norms)).astype(np.float32)
