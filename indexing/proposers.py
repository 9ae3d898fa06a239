"""Structures that find most of the nearest vectors without looking at all of them, by FAISS."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import ArtefactError, MissingDependencyError, SettingsError
from twofold.indexing.generation import AGAIN
from twofold.indexing.item_set import ItemSet

if TYPE_CHECKING:
    from twofold.indexing.generation import Generation
    from twofold.indexing.writer import GenerationWriter

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
# k-means needs so many vectors a cell to place it; FAISS itself takes up to 256.
TRAINED_ON = 40
TRAINED_LEAST = 10_000  # for what each number, or few, are rounded to
# FAISS's 25 rounds of k-means find cells that need the same effort; these take 2/5 of the time.
ROUNDS = 10
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
        faiss = faiss_module()
        index = _made(factory, vectors.shape[1])
        sample = vectors
        if not index.is_trained:
            wanted = max(TRAINED_LEAST, TRAINED_ON * int(getattr(index, "nlist", 0)))
            if wanted < len(vectors):
                which = np.random.default_rng(seed).permutation(len(vectors))[:wanted]
                sample = vectors[np.sort(which)]
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)
        try:
            if hasattr(index, "nlist"):
                if cells is None:
                    cells = _centres(sample, int(index.nlist), seed)
                faiss.downcast_index(index.quantizer).add(np.ascontiguousarray(cells))
            if hasattr(index, "pq"):
                _seeded(index.pq, seed)
                # Hundreds of tiny k-means: threads would wait for one another all the time.
                faiss.omp_set_num_threads(1)
            index.train(np.ascontiguousarray(sample))
            faiss.omp_set_num_threads(threads)
            index.add(np.ascontiguousarray(vectors))
        except RuntimeError as error:
            raise SettingsError(f"index.kind '{factory}': {_reason(error)}") from error
        finally:
            faiss.omp_set_num_threads(before)
        return cls(Held(_sharing(index, flat)), factory, 1, 1, flat)

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
            own = 0 if _shares(self.factory) else self.index.storage.sa_code_size()
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
        self, queries: Float32s, k: int, among: ItemSet | None = None
    ) -> tuple[Float32s, Int64s]:
        """Return proposals for each query's `k` nearest, in FAISS's order with its scores.

        Parameters
        ----------
        queries
            ``float32 (n, d)``.
        k
            How many are wanted. Of `over` times as many FAISS ranks whole vectors, in its own
            order of adding up, and gives the best.
        among
            Only items of this set; effort grows as the set gets smaller.

        Returns
        -------
        scores
            ``float32 (n, m)``.
        items
            ``int64 (n, m)``, -1 where nothing was found.
        """
        faiss = faiss_module()
        width = min(k, int(self.index.ntotal))
        # A graph keeps at least as many nodes in sight as it is to find.
        effort = max(self.effort, width * self.over) if self.is_graph else self.effort
        chosen = None
        if among is not None:
            # Held by this frame until the search is over: FAISS keeps but an address.
            bits = among.bits
            chosen = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
            # Measured at equal recall: a tenth of the items needs three times the cells, a
            # thirtieth five times; a graph finds members only as it happens on them.
            growth = 1.0 if self.is_graph else 0.5
            effort = int(effort * (len(among.mask) / max(1, len(among))) ** growth)
        if self.is_graph:
            asked = faiss.SearchParametersHNSW(efSearch=effort, sel=chosen)
        else:
            asked = faiss.SearchParametersIVF(nprobe=min(effort, int(self.index.nlist)), sel=chosen)
        if self.over > 1:
            asked = faiss.IndexRefineSearchParameters(
                k_factor=float(self.over), base_index_params=asked
            )
            scores, items = self._ranking.index.search(queries, width, params=asked)
        else:
            scores, items = self.index.search(queries, width, params=asked)
        return scores, items

    @cached_property
    def _ranking(self) -> Held:
        """The structure with the flat index behind it, which ranks what it proposes."""
        return Held(faiss_module().IndexRefine(self.index, self.flat))

    def save(self, writer: GenerationWriter, name: str) -> None:
        """Write the structure as ``name.faiss`` and ``name.json``.

        Raises
        ------
        ArtefactError
            If it cannot be written.
        """
        faiss, path = faiss_module(), writer.path(f"{name}.faiss")
        skip = faiss.IO_FLAG_SKIP_STORAGE if _shares(self.factory) else 0
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
        skip = faiss.IO_FLAG_SKIP_STORAGE if _shares(about["factory"]) else 0
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | skip)
        except RuntimeError as error:
            raise ArtefactError(f"{path} is not a whole FAISS index; {AGAIN}") from error
        if index.ntotal != flat.ntotal or index.d != flat.d:
            raise ArtefactError(f"{path} is of other vectors than the index beside it; {AGAIN}")
        effort, over = int(about["effort"]), int(about["over"])
        return cls(
            Held(_sharing(index, flat)), str(about["factory"]), effort, over, flat, about["about"]
        )


def _shares(factory: str) -> bool:
    """Return whether a structure reads whole vectors from the flat index beside it."""
    return factory.startswith("HNSW") and factory.endswith("Flat")


def _sharing(index: Any, flat: Any) -> Any:
    """Return a graph over whole vectors without a copy of them; other structures as they are."""
    faiss = faiss_module()
    if isinstance(index, faiss.IndexHNSWFlat):
        own = index.storage
        index.storage, index.own_fields = flat, False
        if own is not None:
            own.this.own(True)  # and is freed with this name
    return index


def _made(factory: str, dimension: int) -> Any:
    faiss = faiss_module()
    if not re.match(r"(IVF\d+|HNSW\d+)(_HNSW\d+)?,", factory):
        raise SettingsError(
            f"index.kind must be auto, exact, or a FAISS factory string of an inverted file or a "
            f"graph such as IVF1024,SQ8 or HNSW32,Flat, not '{factory}'"
        )
    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise SettingsError(f"index.kind '{factory}': {_reason(error)}") from error


def _centres(sample: Float32s, n_cells: int, seed: int) -> Float32s:
    """Return centres of cells, by k-means as FAISS does it for inner products."""
    finder = _made(f"IVF{n_cells},Flat", sample.shape[1])
    _seeded(finder, seed)
    finder.cp.niter = ROUNDS
    finder.train(np.ascontiguousarray(sample))
    return np.asarray(finder.quantizer.reconstruct_n(0, n_cells))


def _seeded(part: Any, seed: int) -> None:
    part.cp.seed = seed
    part.cp.min_points_per_centroid = 1  # no word of it on stderr


def _reason(error: RuntimeError) -> str:
    return str(error).rpartition("failed: ")[2].strip() or str(error)


@contextmanager
def threads_for(n_queries: int) -> Iterator[None]:
    """Search a single query on one thread: waking others takes longer than they save.

    FAISS's number of threads belongs to the thread that sets it; it is as before afterwards.

    Parameters
    ----------
    n_queries
        How many are searched at once.
    """
    if n_queries > 1:
        yield
        return
    faiss = faiss_module()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def faiss_module() -> Any:
    """Return the module `faiss`.

    Raises
    ------
    MissingDependencyError
        If it cannot be imported.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            f"FAISS cannot be imported ({error}); run: pip install faiss-cpu"
        ) from error
    return faiss
