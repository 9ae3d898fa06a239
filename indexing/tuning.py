"""Which structure finds the nearest vectors fastest at a wanted recall: found by trying."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from twofold.indexing.efforts import Exam, Point, median_ms, raced
from twofold.indexing.errors import SettingsError
from twofold.indexing.progress import Progress
from twofold.indexing.proposers import Proposer
from twofold.indexing.vectors import VectorIndex

Float32s = npt.NDArray[np.float32]
# Below so many numbers in all vectors, looking at each takes a millisecond.
WORTHWHILE = 1 << 22
# Up to so many items all are tried with; of more, a sample of so many.
SAMPLE = 100_000
SAMPLE_ASKED = 500  # queries that tell kinds apart on the sample
CELLS_A_ROOT = (4, 8)  # cells of an inverted file, for each item in the square root
EXACT_TIMED = 30
MEGABYTE = 1 << 20
EXACT = "exact"


@dataclass(frozen=True)
class IndexSettings:
    """How vectors are searched.

    Parameters
    ----------
    kind
        ``"exact"`` looks at every vector. ``"auto"`` does so in small catalogues, and in larger
        ones tries compressed inverted files and a graph, on a sample of the items where they are
        many, and takes the fastest that reaches the recall. Anything else is a FAISS factory
        string, such as ``"IVF4096,SQ8"``, whose effort is chosen for the recall.
    recall_target
        Share of the hundred nearest that must be found, on queries made of the data's own users
        and items that nothing was chosen by, in (0, 1].
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
    """What one structure does with the least effort that suffices.

    Parameters
    ----------
    kind
        Its FAISS factory string, or ``"exact"``.
    effort, over
        As of :class:`~twofold.indexing.proposers.Proposer`.
    recall, lowest
        As of :class:`~twofold.indexing.efforts.Reached`.
    ms
        Milliseconds a query, one at a time, in turns with the others of the same size.
    bytes_an_item
        Beside the vectors.
    n_items
        Size of the index that it was tried on.
    build_s
        Seconds that building it took; cells known from another structure are not found again.
    curve
        What other efforts give.
    """

    kind: str
    effort: int
    over: int
    recall: float
    lowest: float
    ms: float
    bytes_an_item: float
    n_items: int
    build_s: float
    curve: tuple[Point, ...] = ()


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
        The same vectors, perhaps searched through a proposer; its `about` has the trials, what the
        chosen one does on all items, and the seconds that both took.

    Raises
    ------
    SettingsError
        If the kind is no factory string, or no effort reaches the recall.
    """
    small = len(index) * index.dimension <= WORTHWHILE
    if settings.kind == EXACT or (settings.kind == "auto" and small) or not len(queries):
        return index
    tuner = _Tuner(settings, seed, threads)
    begun = time.perf_counter()
    trials: list[Trial] = []
    names = [settings.kind]
    known: dict[str, _Tried] = {}
    if settings.kind == "auto":
        with progress.step("Choosing an index"):
            sample = _sample(index, seed)
            exam = Exam.of(sample, _some(queries, seed), divide=False)
            tried = tuner.tried(exam, list(kinds(len(sample), index.dimension)))
            trials = [tuner.exact(exam), *(one.trial for one in tried)]
            names = tuner.finalists(trials, len(index))
            if sample is index:
                known = {one.trial.kind: one for one in tried}
        if names == [EXACT]:
            return index
    chosen_at = time.perf_counter()
    with progress.step(f"Building {' and '.join(names)}"):
        exam = Exam.of(index, queries, seed=seed)
        tried = tuner.tried(exam, names, known, patient=settings.kind != "auto")
    if not tried:
        raise SettingsError(
            f"index.kind '{names[0]}' does not surely find {settings.recall_target:.1%} of the "
            "nearest with any effort; choose another or set index.recall_target lower"
        )
    best = min(tried, key=lambda one: one.trial.ms)
    others = [one.trial for one in tried if one is not best]
    again = (best.trial.kind, best.trial.n_items)
    about = {
        "trials": [asdict(one) for one in (*trials, *others) if (one.kind, one.n_items) != again],
        "chosen": asdict(best.trial),
        "choosing_s": chosen_at - begun,
        "building_s": time.perf_counter() - chosen_at,
    }
    return index.through(replace(best.proposer, about=about))


@dataclass(frozen=True)
class _Tried:
    trial: Trial
    proposer: Proposer


@dataclass(frozen=True)
class _Tuner:
    settings: IndexSettings
    seed: int
    threads: int

    def exact(self, exam: Exam) -> Trial:
        """Return what looking at all takes."""
        ms = median_ms(exam.plain, exam.testing[:EXACT_TIMED])
        return Trial(EXACT, 0, 1, 1.0, 1.0, ms, 0.0, len(exam.plain), 0.0)

    def tried(
        self,
        exam: Exam,
        names: Sequence[str],
        known: Mapping[str, _Tried] | None = None,
        *,
        patient: bool = False,
    ) -> list[_Tried]:
        """Return each kind that suffices, with the least effort and timed in turns.

        Those that are not known already are built.
        """
        found: list[_Tried] = []
        cells: dict[str, Float32s] = {}
        for name in names:
            if known and name in known:
                proposer, seconds = known[name].proposer, known[name].trial.build_s
            else:
                begun = time.perf_counter()
                proposer = self._built(exam.plain, name, cells)
                seconds = time.perf_counter() - begun
            reached = exam.passed(proposer, self.settings.recall_target, patient=patient)
            if reached is None:
                continue
            now = reached.proposer
            told = (reached.recall, reached.lowest, 0.0, now.bytes_an_item, len(exam.plain))
            trial = Trial(name, now.effort, now.over, *told, seconds, reached.curve)
            found.append(_Tried(trial, now))
        times = raced([exam.plain.through(one.proposer) for one in found], exam.testing)
        return [
            replace(one, trial=replace(one.trial, ms=ms))
            for one, ms in zip(found, times, strict=True)
        ]

    def _built(self, index: VectorIndex, name: str, cells: dict[str, Float32s]) -> Proposer:
        """Return a structure of a kind over the cells of one before it, or new ones."""
        file = name.split(",")[0]
        proposer = Proposer.build(
            index.vectors,
            name,
            flat=index.flat,
            cells=cells.get(file),
            seed=self.seed,
            threads=self.threads,
        )
        if file not in cells and (own := proposer.cells()) is not None:
            cells[file] = own
        return proposer

    def finalists(self, trials: Sequence[Trial], n_items: int) -> list[str]:
        """Return the kinds to build over so many items, which have the memory that they need.

        The one that will be fastest, and where a sample was tried the fastest other one over the
        same cells: finding cells is what takes long, and which code is quicker depends on how many
        items there are.
        """
        limit = self.settings.memory_mb
        fitting = [
            one
            for one in trials
            if limit is None or one.bytes_an_item * n_items <= limit * MEGABYTE
        ]
        n_tried = trials[0].n_items

        def expected(one: Trial) -> float:
            # Exact search takes as much longer as there are more items; the others hardly do.
            return one.ms * (n_items / n_tried if one.kind == EXACT else 1)

        ranking = [one.kind for one in sorted(fitting, key=expected)]
        if ranking[0] == EXACT or n_tried == n_items:
            return ranking[:1]
        same = [one for one in ranking if one.split(",")[0] == ranking[0].split(",")[0]]
        return [_grown(one, n_tried, n_items) for one in same[:2]]


def kinds(n_items: int, dimension: int) -> Iterator[str]:
    """Yield factory strings worth trying for so many items, the quickest to build first."""
    for file in _files(n_items):
        yield f"{file},SQ8"
        for numbers in (2, 3, 4):  # of the vector to four bits
            if dimension % numbers == 0:
                yield f"{file},PQ{dimension // numbers}x4fsr"
                break
    yield "HNSW32,Flat"


def _files(n_items: int) -> list[str]:
    """Return how inverted files over so many items begin."""
    return [f"IVF{max(1, int(share * n_items**0.5))}" for share in CELLS_A_ROOT]


def _grown(kind: str, n_tried: int, n_items: int) -> str:
    """Return a kind with the cells that suit another number of items."""
    file, _, code = kind.partition(",")
    larger = dict(zip(_files(n_tried), _files(n_items), strict=True))
    return f"{larger.get(file, file)},{code}"


def _some(queries: Float32s, seed: int) -> Float32s:
    """Return queries enough to tell structures apart."""
    return queries[np.random.default_rng(seed).permutation(len(queries))[:SAMPLE_ASKED]]


def _sample(index: VectorIndex, seed: int) -> VectorIndex:
    """Return an index of some of the items, searched exactly, or of all where they are few."""
    if len(index) <= SAMPLE:
        return index
    which = np.random.default_rng(seed).permutation(len(index))[:SAMPLE]
    return VectorIndex.build(index.vectors[np.sort(which)], unit=False, device="cpu")
