"""Which structure finds the nearest vectors fastest at a wanted recall: found by trying."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import SettingsError
from twofold.indexing.progress import Progress
from twofold.indexing.proposers import TRIED_FOR, Proposer
from twofold.indexing.vectors import VectorIndex

Float32s = npt.NDArray[np.float32]
# Below so many numbers in all vectors, looking at each takes a millisecond.
WORTHWHILE = 1 << 22
SAMPLE_SHARE, LEAST_SAMPLE, MOST_SAMPLE = 0.1, 25_000, 100_000
TIMED = 100  # queries a timing
REFINED = 4  # times the step between efforts is halved
OVERS = (1, 2, 4, 8)
MEGABYTE = 1 << 20
EXACT = "exact"


@dataclass(frozen=True)
class IndexSettings:
    """How vectors are searched.

    Parameters
    ----------
    kind
        ``"exact"`` looks at every vector. ``"auto"`` does so in small catalogues, and in larger
        ones tries inverted files, compressed ones and a graph on a sample of the items, and takes
        the fastest that reaches the recall. Anything else is a FAISS factory string, such as
        ``"IVF4096,SQ8"``, whose effort is chosen for the recall.
    recall_target
        Share of the hundred nearest that must be found, on queries made of the data's own users
        and items, in (0, 1].
    memory_mb
        Most megabytes for the structure beside the vectors; ``None`` sets no limit.
    """

    kind: str = "auto"
    recall_target: float = 0.98
    memory_mb: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall_target <= 1:
            raise SettingsError(f"index.recall_target must be in (0, 1], not {self.recall_target}")
        if self.memory_mb is not None and self.memory_mb < 1:
            raise SettingsError(
                f'index.memory_mb must be at least 1 or "none", not {self.memory_mb}'
            )


@dataclass(frozen=True)
class Trial:
    """What one structure does with one effort.

    Parameters
    ----------
    kind
        Its FAISS factory string, or ``"exact"``.
    effort, over
        As of :class:`Proposer`.
    recall
        Share of the hundred nearest that were found.
    ms
        Milliseconds a query, one at a time.
    bytes_an_item
        Beside the vectors.
    n_items
        Size of the index that it was tried on.
    build_s
        Seconds that building it took; cells known from another structure are not found again.
    """

    kind: str
    effort: int
    over: int
    recall: float
    ms: float
    bytes_an_item: float
    n_items: int
    build_s: float


def with_proposer(
    index: VectorIndex,
    queries: Float32s,
    settings: IndexSettings,
    *,
    seed: int = 0,
    threads: int = 1,
    progress: Progress,
) -> VectorIndex:
    """Return an index with the structure that the settings ask for.

    Parameters
    ----------
    index
        All vectors, searched exactly.
    queries
        What will be asked for, none of it made for this choice, ``float32 (n, d)``.
    settings
        What is wanted.
    seed, threads
        For building. Graphs built by several threads differ from run to run.
    progress
        Told of the steps.

    Returns
    -------
    VectorIndex
        The same vectors, perhaps searched through a proposer; its `about` has the trials on the
        sample, and what the chosen one does on all items.

    Raises
    ------
    SettingsError
        If the kind is no factory string, or no effort reaches the recall.
    """
    small = len(index) * index.dimension <= WORTHWHILE
    if settings.kind == EXACT or (settings.kind == "auto" and small) or not len(queries):
        return index
    tuner = _Tuner(queries, settings, seed, threads)
    kind, trials = settings.kind, []
    if kind == "auto":
        with progress.step("Choosing an index"):
            trials = tuner.tried(_sample(index, seed))
            kind = tuner.chosen(trials, len(index))
    if kind == EXACT:
        return index
    with progress.step(f"Building {kind}"):
        built, final = tuner.built(index, kind)
    if built is None or final is None:
        raise SettingsError(
            f"index.kind '{kind}' does not find {settings.recall_target:.1%} of the nearest with "
            "any effort; choose another or set index.recall_target lower"
        )
    about = {"trials": [asdict(one) for one in trials], "chosen": asdict(final)}
    return index.through(replace(built, about=about))


@dataclass(frozen=True)
class _Tuner:
    queries: Float32s
    settings: IndexSettings
    seed: int
    threads: int

    def tried(self, sample: VectorIndex) -> list[Trial]:
        """Return what each kind does with the least effort that suffices; exact search first."""
        ms = _milliseconds(sample, self.queries)
        trials = [Trial(EXACT, 0, 1, 1.0, ms, 0.0, len(sample), 0.0)]
        cells = None
        for kind in kinds(len(sample), sample.dimension):
            proposer, found = self.built(sample, kind, cells)
            if cells is None and proposer is not None:
                cells = proposer.cells()
            if found is not None:
                trials.append(found)
        return trials

    def chosen(self, trials: Sequence[Trial], n_items: int) -> str:
        """Return the kind that will be fastest for so many items and has the memory it needs."""
        limit = self.settings.memory_mb
        fitting = [
            one
            for one in trials
            if limit is None or one.bytes_an_item * n_items <= limit * MEGABYTE
        ]
        grown = n_items / trials[0].n_items

        def expected(one: Trial) -> float:
            # Exact search takes as much longer as there are more items; the others hardly do.
            return one.ms * (grown if one.kind == EXACT else 1)

        best = min(fitting, key=expected)
        if best.kind == EXACT:
            return EXACT
        return best.kind.replace(f"{_cells(trials[0].n_items)},", f"{_cells(n_items)},")

    def built(
        self, index: VectorIndex, kind: str, cells: Float32s | None = None
    ) -> tuple[Proposer | None, Trial | None]:
        """Return a structure of a kind with the least effort that suffices, if any does."""
        plain, begun = index.on_cpu().through(None), time.perf_counter()
        proposer = Proposer.build(
            plain.vectors,
            kind,
            flat=plain.flat,
            cells=cells,
            seed=self.seed,
            threads=self.threads,
        )
        seconds = time.perf_counter() - begun
        truth = plain.search(self.queries, TRIED_FOR)[1]
        best: Trial | None = None
        for over in OVERS[:1] if proposer.exact_vectors else OVERS:
            # The more is taken over, the less effort is needed: no more than before.
            most = None if best is None else best.effort
            trial = self._least(plain, proposer, over, truth, most)
            if trial is not None and best is not None and trial.ms >= best.ms:
                break
            best = trial or best
        if best is None:
            return None, None
        return proposer.with_effort(best.effort, best.over), replace(best, build_s=seconds)

    def _least(
        self,
        index: VectorIndex,
        proposer: Proposer,
        over: int,
        truth: npt.NDArray[np.int64],
        most: int | None = None,
    ) -> Trial | None:
        """Return the least effort, up to `most`, that reaches the recall; `None` if none does."""

        def recall(effort: int) -> float:
            searched = index.through(proposer.with_effort(effort, over))
            return recall_of(searched.search(self.queries, TRIED_FOR)[1], truth)

        wanted = self.settings.recall_target
        efforts = [one for one in proposer.efforts() if most is None or one < most]
        efforts += [] if most is None else [most]
        last, reached = efforts[0] // 2, None
        # A graph's greatest effort takes longer than all others together.
        if not proposer.is_graph and recall(efforts[-1]) < wanted:
            return None
        for effort in efforts:
            told = recall(effort)
            if told >= wanted:
                reached = (effort, told)
                break
            last = effort
        if reached is None:
            return None
        for _ in range(REFINED):
            between = (last + reached[0]) // 2
            if between in (last, reached[0]):
                break
            told = recall(between)
            last, reached = (last, (between, told)) if told >= wanted else (between, reached)
        searched = index.through(proposer.with_effort(reached[0], over))
        return Trial(
            proposer.factory,
            reached[0],
            over,
            reached[1],
            _milliseconds(searched, self.queries),
            proposer.bytes_an_item,
            len(index),
            0.0,
        )


def kinds(n_items: int, dimension: int) -> Iterator[str]:
    """Yield factory strings worth trying for so many items, the quickest to build first."""
    cells = _cells(n_items)
    yield f"{cells},SQ8"
    for numbers in (2, 3, 4):  # of the vector to four bits
        if dimension % numbers == 0:
            yield f"{cells},PQ{dimension // numbers}x4fs"
            break
    yield f"{cells},Flat"
    yield "HNSW32,Flat"


def recall_of(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Return the mean share of each row's true items that were found; padding (-1) is no item."""
    hits = sum(
        len(np.intersect1d(one[one >= 0], other[other >= 0]))
        for one, other in zip(found, truth, strict=True)
    )
    return hits / max(1, int((truth >= 0).sum()))


def _cells(n_items: int) -> str:
    """Return how an inverted file over so many items begins: four cells for each in the root."""
    return f"IVF{max(1, int(4 * n_items**0.5))}"


def _sample(index: VectorIndex, seed: int) -> VectorIndex:
    """Return an index of some of the items, searched exactly."""
    n = int(np.clip(SAMPLE_SHARE * len(index), LEAST_SAMPLE, MOST_SAMPLE))
    if n >= len(index):
        return index
    which = np.random.default_rng(seed).permutation(len(index))[:n]
    return VectorIndex.build(index.vectors[np.sort(which)], unit=False, device="cpu")


def _milliseconds(index: VectorIndex, queries: Float32s) -> float:
    """Return the median time of a query, one at a time."""
    times = []
    for query in queries[:TIMED]:
        begun = time.perf_counter()
        index.search(query[None], TRIED_FOR)
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))
