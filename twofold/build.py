"""Tables in, one more generation of an artefact out."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from twofold.embedding import embedded
from twofold.indexing.artefact import GenerationWriter, begin_generation, stage_key
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.models import resolve_model
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.tables import Source
from twofold.indexing.vectors import VectorIndex
from twofold.learning import Learned, learn
from twofold.ranking.members import Workplace
from twofold.settings import Settings
from twofold.threads import torch_threads
from twofold.tracking import check_trackers
from twofold.training_place import forget_checkpoints, workplace


@dataclass(frozen=True)
class BuildReport:
    """What a build made.

    Parameters
    ----------
    path
        Folder of the artefact.
    generation
        Name of the new generation.
    content_hash
        Hash of all that was built, without times and measurements.
    n_users, n_items, n_interactions
        Sizes.
    notes
        What was mapped, assumed and dropped.
    about
        How both stages were learned.
    seconds
        Time of the build.
    """

    path: str
    generation: str
    content_hash: str
    n_users: int
    n_items: int
    n_interactions: int
    notes: tuple[str, ...]
    about: dict[str, Any]
    seconds: float

    def __str__(self) -> str:
        """Return the report for a person."""
        lines = [
            f"built {self.path}, generation {self.generation}, in {self.seconds:.0f} s",
            f"{self.n_users:,} users, {self.n_items:,} items, {self.n_interactions:,} interactions",
            *self.notes,
            f"content hash {self.content_hash}",
        ]
        return "\n".join(lines)


def build(
    interactions: Source,
    items: Source | None,
    out: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build one more generation of the artefact in `out`.

    The tables are read before anything is written, so bad input leaves nothing behind. Stages that
    an interrupted build finished are taken up again.

    Parameters
    ----------
    interactions, items
        Paths or tables; see :func:`twofold.indexing.dataset.load_dataset`.
    out
        Folder of the artefact.
    settings
        All settings; ``None`` for the defaults.
    progress
        Told of every step.

    Raises
    ------
    TwofoldError
        If the input cannot be used, or the artefact cannot be written.
    """
    begun = time.perf_counter()
    settings = Settings() if settings is None else settings
    progress = Silent() if progress is None else progress
    dataset = load_dataset(
        interactions, items, settings.data, seed=settings.seed, progress=progress
    )
    return replace(
        build_dataset(dataset, out, settings, progress), seconds=time.perf_counter() - begun
    )


def build_dataset(
    dataset: Dataset, out: str | Path, settings: Settings, progress: Progress
) -> BuildReport:
    """Build one more generation of the artefact in `out` from a data set that was read before.

    Parameters
    ----------
    dataset
        The data set, perhaps with part of its interactions; its fingerprint tells it from others.
    out, settings, progress
        As of :func:`build`.

    Raises
    ------
    TwofoldError
        If the data set cannot be used, or the artefact cannot be written.
    """
    begun = time.perf_counter()
    models = _find_models(settings)
    if settings.ranker.train:
        check_trackers(settings.ranker.training.report_to)
    with begin_generation(out, keep=settings.keep) as writer, torch_threads(settings.threads):
        key = stage_key(dataset.fingerprint, asdict(settings.data), settings.seed)
        if not writer.finished("data", key):
            dataset.save(writer)
            writer.finish("data", key)
        # The models are inputs too: the files in a local folder may change between two builds.
        asked = [settings.stage_one.max_history, settings.stage_one.decay, settings.threads]
        key = stage_key(key, asdict(settings.text), models, asdict(settings.index), asked)
        index, identity = _indexed(writer, dataset, settings, key, progress)
        key = stage_key(key, _shaping(settings))
        if not writer.finished("learned", key):
            with _training_place(writer, key, settings, progress) as work:
                rows = dataset.interactions
                learned = learn(dataset, rows, index, settings, progress, work)
            save_learned(writer, learned)
            writer.finish("learned", key)
            forget_checkpoints(writer)
        generation = writer.commit(
            {
                "settings": asdict(settings),
                "seed": settings.seed,
                "counts": _counts(dataset),
                "encoder": identity,
                "data_fingerprint": dataset.fingerprint,
                "dimension": index.dimension,
                "metric": "cosine",
            },
            measurements={"seconds": time.perf_counter() - begun},
        )
    return BuildReport(
        path=str(out),
        generation=generation.name,
        content_hash=str(generation.manifest["content_hash"]),
        n_users=len(dataset.users),
        n_items=len(dataset.items),
        n_interactions=len(dataset.interactions),
        notes=dataset.notes,
        about=dict(generation.json("learning")),
        seconds=time.perf_counter() - begun,
    )


def save_learned(writer: GenerationWriter, learned: Learned) -> None:
    """Write both stages into a generation."""
    learned.stage_one.save(writer)
    writer.put_json("learning", learned.about)
    writer.put_json("fusion", learned.fusion.to_dict())
    if learned.ranker is not None:
        learned.ranker.save(writer)


def _indexed(
    writer: GenerationWriter, dataset: Dataset, settings: Settings, key: str, progress: Progress
) -> tuple[VectorIndex, dict[str, Any]]:
    if not writer.finished("text", key):
        index, identity = embedded(dataset, settings, writer.cache, progress)
        index.save(writer)
        writer.put_json("encoder", identity)
        writer.finish("text", key)
    written = writer.written()
    return VectorIndex.open(written), dict(written.json("encoder"))


def _find_models(settings: Settings) -> list[str]:
    """Return the models' fingerprints; refuse missing ones before the work, not after."""
    wanted = []
    if settings.data.vector_column is None:
        wanted.append((settings.text.model, settings.text.revision))
    if settings.ranker.train:
        wanted.append((settings.ranker.model, settings.ranker.revision))
    return [resolve_model(name, revision=revision).fingerprint for name, revision in wanted]


def _training_place(
    writer: GenerationWriter, key: str, settings: Settings, progress: Progress
) -> AbstractContextManager[Workplace | None]:
    """Return where the ranker is trained, and nothing if none is: no older course is told then."""
    return workplace(writer, key, settings, progress) if settings.ranker.train else nullcontext()


def _shaping(settings: Settings) -> dict[str, Any]:
    """Return the settings that shape what is learned, beside those of data and texts."""
    values = asdict(settings)
    names = ("stage_one", "ranker", "window_labels", "windows", "skip_labels", "threads")
    return {name: values[name] for name in names}


def _counts(dataset: Dataset) -> dict[str, int]:
    return {
        "users": len(dataset.users),
        "items": len(dataset.items),
        "interactions": len(dataset.interactions),
    }
