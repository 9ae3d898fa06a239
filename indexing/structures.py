"""Structures over vectors as FAISS builds them: inverted files of cells, and graphs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import SettingsError
from twofold.indexing.faiss_library import faiss_module

Float32s = npt.NDArray[np.float32]
# k-means needs so many vectors a cell to place it; FAISS itself takes up to 256.
TRAINED_ON = 40
TRAINED_LEAST = 10_000  # for what each number, or few, are rounded to
# FAISS's 25 rounds of k-means find cells that need the same effort; these take 2/5 of the time.
ROUNDS = 10
# Numbers in all centres from which on looking at each takes longer than at their codes first: 4,000
# of 384 take .09 ms for .04. Of so many times the cells the whole centres decide.
MANY_CENTRES, CELLS_AGAIN = 1 << 20, 4.0


def built(vectors: Float32s, factory: str, cells: Float32s | None, seed: int, threads: int) -> Any:
    """Return a FAISS index of vectors; the parameters are those of `Proposer.build`."""
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
        if isinstance(index, faiss.IndexIVFFastScan):
            _quickened(index, seed)
    except RuntimeError as error:
        raise SettingsError(f"index.kind '{factory}': {_reason(error)}") from error
    finally:
        faiss.omp_set_num_threads(before)
    return index


def shares_vectors(factory: str) -> bool:
    """Return whether a structure reads whole vectors from the flat index beside it."""
    return factory.startswith("HNSW") and factory.endswith("Flat")


def sharing(index: Any, flat: Any) -> Any:
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


def _quickened(index: Any, seed: int) -> None:
    """Let a large inverted file find its cells by four-bit codes first, then by whole centres."""
    centres = faiss_module().downcast_index(index.quantizer)
    cells = np.asarray(centres.reconstruct_n(0, centres.ntotal))
    if cells.size < MANY_CENTRES or cells.shape[1] % 2:
        return
    faiss = faiss_module()
    coded = faiss.IndexPQFastScan(
        cells.shape[1], cells.shape[1] // 2, 4, faiss.METRIC_INNER_PRODUCT
    )
    _seeded(coded.pq, seed)
    coded.train(cells)
    coded.add(cells)
    refined = faiss.IndexRefine(coded, centres)
    refined.k_factor = CELLS_AGAIN
    # Each belongs to the one around it, and all to the file.
    coded.this.disown()
    refined.own_fields = refined.own_refine_index = True
    refined.this.disown()
    index.quantizer = refined


def _seeded(part: Any, seed: int) -> None:
    part.cp.seed = seed
    part.cp.min_points_per_centroid = 1  # no word of it on stderr


def _reason(error: RuntimeError) -> str:
    return str(error).rpartition("failed: ")[2].strip() or str(error)
