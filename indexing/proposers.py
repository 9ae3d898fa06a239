"""Structures that find most of the nearest vectors without looking at all of them, by FAISS."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import ArtefactError
from twofold.indexing.faiss_library import faiss_module
from twofold.indexing.generation import AGAIN
from twofold.indexing.item_set import ItemSet
from twofold.indexing.structures import built, shares_vectors, sharing

if TYPE_CHECKING:
    from twofold.indexing.generation import Generation
    from twofold.indexing.writer import GenerationWriter

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
TRIED_FOR = 100  # items a query, when efforts are tried
MOST_EFFORT = 4096  # nodes of a graph that are worth keeping in sight


class Held:
    """Holds a FAISS index, and lets go of it when the interpreter ends.

    Kept any longer, by a global say, it would outlive the module that knows how to free it, which
    SWIG then complains of on stderr.

    Parameters
    ----------
    index
        The index.
    """

    def __init__(self, index: Any) -> None:
        self._cell = [index]
        weakref.finalize(self, self._cell.clear)

    @property
    def index(self) -> Any:
        """The index."""
        return self._cell[0]


@dataclass(frozen=True, eq=False)
class Proposer:
    """A FAISS index that proposes; whoever asks decides by the vectors themselves.

    Parameters
    ----------
    held
        An inverted file, or a graph, over the vectors under inner product.
    factory
        The FAISS factory string that it was made by.
    effort
        Cells visited (``nprobe``) or nodes kept in sight (``efSearch``).
    over
        So many proposals for each item that is wanted are ranked again by whole vectors.
    flat
        The flat FAISS index of the vectors, which a graph may read; it lives as long as this.
    about
        How it came to be chosen, as JSON values.
    """

    held: Held
    factory: str
    effort: int
    over: int
    flat: Any
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        vectors: Float32s,
        factory: str,
        *,
        flat: Any,
        cells: Float32s | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> Proposer:
        """Return a structure over vectors, with an effort of 1.

        Parameters
        ----------
        vectors
            ``float32 (n_items, d)``.
        factory
            FAISS factory string of an inverted file or of a graph, such as ``"IVF1024,SQ8"`` or
            ``"HNSW32,Flat"``.
        flat
            A flat FAISS index of the same vectors; a graph over whole vectors reads them from it.
        cells
            Centres of the cells of an inverted file, as of :meth:`cells` of another one of as many;
            ``None`` finds them by k-means.
        seed
            Seeds k-means.
        threads
            Cores to use.

        Raises
        ------
        SettingsError
            If FAISS does not know the string, or it is of another kind.
        """
        index = built(vectors, factory, cells, seed, threads)
        return cls(Held(sharing(index, flat)), factory, 1, 1, flat)

    def with_effort(self, effort: int, over: int) -> Proposer:
        """Return the same structure, searched with another effort."""
        return replace(self, effort=effort, over=over)

    @property
    def index(self) -> Any:
        """The FAISS index."""
        return self.held.index

    @property
    def is_graph(self) -> bool:
        """Whether it is a graph rather than an inverted file."""
        return hasattr(self.index, "hnsw")

    @property
    def exact_vectors(self) -> bool:
        """Whether it ranks by whole vectors, so that no more than is wanted need be proposed."""
        return self.factory.endswith("Flat")

    @property
    def bytes_an_item(self) -> float:
        """Memory that it takes beside the vectors."""
        if self.is_graph:
            graph = self.index.hnsw
            links = (graph.neighbors.size() * 4 + graph.offsets.size() * 8) / self.index.ntotal
            own = 0 if shares_vectors(self.factory) else self.index.storage.sa_code_size()
            return float(links + 4 + own)
        return float(self.index.sa_code_size() + 8)

    def cells(self) -> Float32s | None:
        """Return the centres of an inverted file's cells, ``float32 (n_cells, d)``."""
        if self.is_graph:
            return None
        quantizer = self.index.quantizer
        return np.asarray(quantizer.reconstruct_n(0, quantizer.ntotal))

    def efforts(self) -> list[int]:
        """Return efforts worth trying, each twice the one before, the least first."""
        most = MOST_EFFORT if self.is_graph else int(self.index.nlist)
        # Fewer cells do not hold what is to be found.
        held = 4 * TRIED_FOR * most // max(1, int(self.index.ntotal))
        least = 128 if self.is_graph else min(most, max(1, held))
        return sorted({min(most, least << step) for step in range(most.bit_length())})

    def search(
        self, queries: Float32s, n: int, among: ItemSet | None = None
    ) -> tuple[Float32s, Int64s]:
        """Return proposals for each query's nearest, in FAISS's order with its scores.

        Parameters
        ----------
        queries
            ``float32 (n_queries, d)``.
        n
            How many proposals.
        among
            Only items of this set; effort grows as the set gets smaller.

        Returns
        -------
        scores
            ``float32 (n_queries, m)``.
        items
            ``int64 (n_queries, m)``, -1 where nothing was found.
        """
        width = min(n, int(self.index.ntotal))
        if among is None:
            asked = self._parameters(width, 1.0, None) if self.is_graph else self._of_all.index
            scores, items = self.index.search(queries, width, params=asked)
            return scores, items
        faiss = faiss_module()
        # Held by this frame until the search is over: FAISS keeps but an address.
        bits = among.bits
        chosen = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        # Measured at equal recall: a tenth of the items needs three times the cells, a thirtieth
        # five times; a graph finds members only as it happens on them.
        rarity = len(among.mask) / max(1, len(among))
        asked = self._parameters(width, rarity if self.is_graph else rarity**0.5, chosen)
        scores, items = self.index.search(queries, width, params=asked)
        return scores, items

    @cached_property
    def _of_all(self) -> Held:
        """The parameters of an inverted file's search of all: making them takes microseconds."""
        return Held(self._parameters(0, 1.0, None))

    def _parameters(self, width: int, growth: float, chosen: Any) -> Any:
        faiss = faiss_module()
        if self.is_graph:
            # It keeps at least as many nodes in sight as it is to find.
            effort = int(max(self.effort, width) * growth)
            return faiss.SearchParametersHNSW(efSearch=effort, sel=chosen)
        effort = min(int(self.effort * growth), int(self.index.nlist))
        return faiss.SearchParametersIVF(nprobe=effort, sel=chosen)

    def save(self, writer: GenerationWriter, name: str) -> None:
        """Write the structure as ``name.faiss`` and ``name.json``.

        Raises
        ------
        ArtefactError
            If it cannot be written.
        """
        faiss, path = faiss_module(), writer.path(f"{name}.faiss")
        skip = faiss.IO_FLAG_SKIP_STORAGE if shares_vectors(self.factory) else 0
        try:
            faiss.write_index(self.index, str(path), skip)
        except RuntimeError as error:
            raise ArtefactError(f"cannot write {path}; make room for it and build again") from error
        own = {"factory": self.factory, "effort": self.effort, "over": self.over}
        writer.put_json(name, {**own, "about": self.about})

    @classmethod
    def open(cls, generation: Generation, name: str, flat: Any) -> Proposer:
        """Return the structure of an artefact.

        Parameters
        ----------
        generation
            The opened artefact.
        name
            What it was saved as.
        flat
            The flat FAISS index of the same vectors.

        Raises
        ------
        ArtefactError
            If a file is missing or damaged.
        """
        faiss, path = faiss_module(), generation.path(f"{name}.faiss")
        about = generation.json(name)
        skip = faiss.IO_FLAG_SKIP_STORAGE if shares_vectors(about["factory"]) else 0
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | skip)
        except RuntimeError as error:
            raise ArtefactError(f"{path} is not a whole FAISS index; {AGAIN}") from error
        if index.ntotal != flat.ntotal or index.d != flat.d:
            raise ArtefactError(f"{path} is of other vectors than the index beside it; {AGAIN}")
        effort, over = int(about["effort"]), int(about["over"])
        return cls(
            Held(sharing(index, flat)), str(about["factory"]), effort, over, flat, about["about"]
        )
