"""What came since a build, made part of the next generation of its artefact."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from twofold.drift import drift_of, told
from twofold.embedding import well_searched
from twofold.indexing.artefact import begin_generation, kept_generations, open_artefact, stage_key
from twofold.indexing.collaborative import Factors
from twofold.indexing.dataset import Dataset
from twofold.indexing.embedding_cache import EmbeddingCache
from twofold.indexing.errors import SettingsError
from twofold.indexing.generation import Generation
from twofold.indexing.live_log import ItemChange, LiveEvent, LiveLog, Position
from twofold.indexing.manifest import OWN as BY_ITSELF
from twofold.indexing.merging import Merged, merge
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.text import TextEncoder, check_identity
from twofold.indexing.tuning import IndexSettings
from twofold.indexing.vectors import VectorIndex
from twofold.indexing.writer import GenerationWriter
from twofold.learning import fitted_again
from twofold.ranking.ranker import Ranker
from twofold.ranking.renewing import renewed
from twofold.retrieval.stage_one import StageOne
from twofold.settings import Settings
from twofold.settings_file import from_values
from twofold.threads import torch_threads
from twofold.training_place import COURSE

Float32s = npt.NDArray[np.float32]
Made = TypeVar("Made")
MARK = "compacted"  # how far the log was read, in a generation
# An index keeps its kind while there are at most so many times the items it was chosen for.
GROWN = 1.5
# What a manifest says of one generation alone.
OWN = BY_ITSELF | {"counts", "data_fingerprint", "live", MARK, "drift"}


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did.

    Parameters
    ----------
    path
        Folder of the artefact.
    generation
        Name of the new generation; ``None`` where nothing had come and nothing was written, and so
        are `content_hash` and `drift`.
    content_hash
        Hash of what was written.
    taken
        What came, see :func:`twofold.indexing.merging.merge`: numbers by name.
    drift
        As of :class:`twofold.drift.Drift`.
    pruned
        Rows of the log that no generation needs any more.
    seconds
        Time that it took.
    """

    path: str
    generation: str | None
    content_hash: str | None
    taken: dict[str, int]
    drift: dict[str, Any] | None
    pruned: int
    seconds: float

    def __str__(self) -> str:
        """Return the report for a person."""
        if self.generation is None or self.drift is None:
            return f"nothing came since {self.path} was built; nothing was written"
        counts = (f"{n:,} {name.replace('_', ' ')}" for name, n in self.taken.items() if n)
        lines = [
            f"compacted {self.path}, generation {self.generation}, in {self.seconds:.0f} s",
            f"taken in: {', '.join(counts) or 'nothing that was not there'}",
            *told(self.drift),
            f"content hash {self.content_hash}",
        ]
        return "\n".join(lines)


def compact(
    artefact: str | Path, *, alone: bool = True, progress: Progress | None = None
) -> CompactReport:
    """Write the next generation of an artefact: what it holds, and what came since.

    Stage one is fitted again on everything. Fusion, ranker and calibration stay as they were
    learned; vectors and states of texts that stayed are copied. A kill at any moment leaves the old
    generation serving and the log whole; the next compaction takes up the stages that were
    finished.

    Parameters
    ----------
    artefact
        Folder of the artefact.
    alone
        Whether nothing else is computed in this process, so that torch may be set to the cores that
        the build was given.
    progress
        Told of every step.

    Raises
    ------
    ArtefactBusyError
        If a build or another compaction is writing to it.
    ArtefactError
        If the artefact cannot be read or written.
    """
    begun = time.perf_counter()
    root, log = Path(artefact), LiveLog(Path(artefact))
    try:
        generation = _compacted(root, log, alone=alone, progress=progress or Silent())
        pruned = 0 if generation is None else log.prune(_needed(root))
    finally:
        log.close()
    seconds = time.perf_counter() - begun
    if generation is None:
        return CompactReport(str(root), None, None, {}, None, 0, seconds)
    manifest = generation.manifest
    return CompactReport(
        path=str(root),
        generation=generation.name,
        content_hash=str(manifest["content_hash"]),
        taken=dict(manifest[MARK]),
        drift=dict(manifest["drift"]),
        pruned=pruned,
        seconds=seconds,
    )


def _compacted(root: Path, log: LiveLog, *, alone: bool, progress: Progress) -> Generation | None:
    """Return the next generation, committed; ``None`` where nothing had come."""
    base = open_artefact(root)
    if not _news(log, base).there:
        return None
    with begin_generation(root, keep=_settings(base).keep) as writer:
        # Only now does no other process commit: one may have compacted since.
        base = open_artefact(root)
        news, settings = _news(log, base, writer.written()), _settings(base)
        if not news.there:
            return None
        with torch_threads(settings.threads) if alone else nullcontext():
            return _Work(base, settings, writer, progress).done(news)


@dataclass(frozen=True)
class _News:
    """What a log holds that a generation does not, up to a position."""

    events: Sequence[LiveEvent]
    changes: Sequence[ItemChange]
    position: Position

    @property
    def there(self) -> bool:
        return bool(self.events or self.changes)


def _news(log: LiveLog, base: Generation, partial: Generation | None = None) -> _News:
    """Return what came since a generation; of an interrupted compaction, what it had read."""
    since, until = Position.of(base.manifest), None
    if partial is not None and partial.has(f"{MARK}.json"):
        mark = partial.json(MARK)
        if mark["of"] == base.manifest["content_hash"]:
            until = Position(**mark["live"])
    # Events first: what they name is among the items that are read after them.
    events, last_event = log.after(since.events, None if until is None else until.events)
    changes, last_change = log.item_changes_after(
        since.items, None if until is None else until.items
    )
    return _News(events, changes, Position(last_event, last_change))


def _settings(generation: Generation) -> Settings:
    return from_values(Settings, generation.manifest["settings"])


def _needed(root: Path) -> Position:
    """Return up to where no generation that is kept needs the log."""
    held = [Position.of(one.manifest) for one in kept_generations(root)]
    return Position(min(one.events for one in held), min(one.items for one in held))


@dataclass(frozen=True)
class _Work:
    """The steps of a compaction, each a stage that an interruption leaves finished or not there."""

    base: Generation
    settings: Settings
    writer: GenerationWriter
    progress: Progress

    def done(self, news: _News) -> Generation:
        """Return the new generation, committed."""
        begun = time.perf_counter()
        held = Dataset.open(self.base)
        with self.progress.step("Merging what came"):
            merged = merge(
                held, news.events, news.changes, self.settings.data, seed=self.settings.seed
            )
        live = news.position.to_dict()
        of = self.base.manifest["content_hash"]
        key = stage_key(MARK, of, live, merged.dataset.fingerprint)
        if not self.writer.finished("data", key):
            merged.dataset.save(self.writer)
            self.writer.put_json(MARK, {"of": of, "live": live})
            self.writer.finish("data", key)
        if not self.writer.finished("text", key):
            self._index(merged).save(self.writer)
            self.writer.put_json("encoder", self.base.json("encoder"))
            self.writer.finish("text", key)
        if not self.writer.finished("learned", key):
            self._learned(merged)
            self.writer.finish("learned", key)
        dataset = merged.dataset
        about = {
            **{name: value for name, value in self.base.manifest.items() if name not in OWN},
            "counts": {
                "users": len(dataset.users),
                "items": len(dataset.items),
                "interactions": len(dataset.interactions),
            },
            "data_fingerprint": dataset.fingerprint,
            "live": live,
            MARK: {**merged.counts(), "removed": len(dataset.removed)},
            "drift": self.writer.written().json("drift"),
        }
        return self.writer.commit(about, measurements={"seconds": time.perf_counter() - begun})

    def _index(self, merged: Merged) -> VectorIndex:
        """Return the index of texts: known vectors copied, the others from the log or made."""
        old = VectorIndex.open(self.base, device="cpu")
        vectors = np.zeros((len(merged.items), old.dimension), dtype=np.float32)
        kept = merged.items >= 0
        vectors[kept] = old.vectors[merged.items[kept]]
        vectors[merged.changed] = 0
        unknown = merged.changed.copy()
        for item, vector in merged.vectors.items():
            vectors[item], unknown[item] = vector, False
        texts = merged.dataset.texts
        wanted = [item for item in np.flatnonzero(unknown).tolist() if texts[item].strip()]
        if wanted:
            encoder = TextEncoder.load(self.settings.text)
            check_identity(self.base.json("encoder"), encoder)
            most = self.settings.text.cache_bytes
            with EmbeddingCache(self.writer.cache, max_bytes=most) as known:
                vectors[wanted] = encoder.encode_documents(
                    [texts[item] for item in wanted], cache=known, progress=self.progress
                )
        index, rows = VectorIndex.build(vectors, device="cpu"), merged.dataset.interactions

        def searched(kind: IndexSettings) -> VectorIndex:
            asked = replace(self.settings, index=kind)
            return well_searched(index, rows, asked, self.progress)

        return _remembering(self._of_kept_kind(old, len(index), searched), old)

    def _of_kept_kind(
        self, old: VectorIndex, n_items: int, make: Callable[[IndexSettings], Made]
    ) -> Made:
        """Return what is made with an index of the kind that there was, or of a new choice.

        The kind is chosen anew where the catalogue outgrew it, or where it does not find what it
        should any more.
        """
        wanted = self.settings.index
        if wanted.kind != "auto" or old.proposer is None or n_items > GROWN * _chosen_for(old):
            return make(wanted)
        try:
            return make(replace(wanted, kind=old.proposer.factory))
        except SettingsError:
            return make(wanted)

    def _learned(self, merged: Merged) -> None:
        """Write stage one, fitted again, what was learned before, and the drift."""
        index = VectorIndex.open(self.writer.written(), device="cpu")
        old_index = VectorIndex.open(self.base, device="cpu")
        old = StageOne.open(self.base, old_index, self.settings.stage_one)
        ranker = None
        if self.base.has("ranker/model.json"):
            ranker = renewed(
                Ranker.open(self.base, old_index.vectors, old.relations(), self.settings.ranker),
                merged.items,
                merged.changed,
                merged.dataset.texts,
                index.vectors,
                progress=self.progress,
            )

        def fitted(kind: IndexSettings) -> tuple[StageOne, Ranker | None]:
            asked = replace(self.settings, index=kind)
            return fitted_again(merged.dataset, index, asked, ranker, self.progress)

        final, ranker = self._of_kept_kind(old.factors.index, len(index), fitted)
        searched = _remembering(final.factors.index, old.factors.index)
        final = replace(final, factors=replace(final.factors, searched=searched))
        final.save(self.writer)
        for name in ("learning", "fusion"):
            self.writer.put_json(name, self.base.json(name))
        if ranker is not None:
            ranker.save(self.writer)
            if self.base.has(COURSE):
                shutil.copyfile(self.base.path(COURSE), self.writer.path(COURSE))
        before = np.zeros_like(final.factors.items)
        before[merged.items >= 0] = old.factors.items[merged.items[merged.items >= 0]]
        with self.progress.step("Measuring drift"):
            drift = drift_of(
                Factors(before, old.factors.settings),
                final.factors,
                merged.dataset.interactions,
                merged.active_users,
                merged.active_items,
                seed=self.settings.seed,
            )
        self.writer.put_json("drift", drift.to_dict())


def _chosen_for(index: VectorIndex) -> int:
    """Return for how many items an index's kind was chosen; its own number where it was not."""
    about: dict[str, Any] = {} if index.proposer is None else index.proposer.about
    return int(about.get("chosen_for", len(index)))


def _remembering(index: VectorIndex, old: VectorIndex) -> VectorIndex:
    """Return an index that tells what its kind was chosen from, where it took that from another."""
    mine, others = index.proposer, old.proposer
    if mine is None or others is None or mine.about.get("trials") or mine.factory != others.factory:
        return index
    about = {
        **mine.about,
        "trials": others.about.get("trials", []),
        "chosen_for": _chosen_for(old),
    }
    return index.through(replace(mine, about=about))
