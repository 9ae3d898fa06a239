"""A smaller ranker beside an artefact's own: fewer layers, taught by the larger one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twofold.engine import Engine
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.choosing import Compared, compare
from twofold.ranking.distilling import distil
from twofold.ranking.ranker import Ranker
from twofold.retrieval.queries import Queries
from twofold.settings import Settings
from twofold.settings_file import from_values
from twofold.threads import torch_threads

if TYPE_CHECKING:
    from twofold.indexing.generation import Generation

# Users whose lists are learned from, and others on whose lists both rankers are compared.
MOST_USERS, COMPARED = 5000, 100


@dataclass(frozen=True)
class Side:
    """One ranker of a comparison.

    Parameters
    ----------
    layers, joint_layers
        Of its text model.
    history_ms, text_ms
        Median milliseconds to rerank a list for a history and for a free text, single precision.
    bytes_an_item
        Of its item states.
    """

    layers: int
    joint_layers: int
    history_ms: float
    text_ms: float
    bytes_an_item: int


@dataclass(frozen=True)
class CompressReport:
    """A smaller ranker beside the larger one.

    Parameters
    ----------
    path, generation
        Where the smaller one was written.
    larger, smaller
        Both.
    same_top
        Mean share of the larger one's ten best that the smaller one has among its ten best, on
        lists of users from whom the smaller one learned nothing.
    error
        Root mean squared distance of the logits there.
    """

    path: str
    generation: str
    larger: Side
    smaller: Side
    same_top: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


def compress(
    artefact: str | Path,
    out: str | Path,
    *,
    layers: int,
    joint_layers: int | None = None,
    progress: Progress | None = None,
) -> CompressReport:
    """Write an artefact with a smaller ranker, all else as it was.

    Parameters
    ----------
    artefact
        Folder of an artefact with a ranker.
    out
        Folder to write to; that of `artefact` itself gets one more generation.
    layers
        Layers of the smaller text model.
    joint_layers
        How many of them are joint; ``None`` for as many as now, or all where there are fewer.
    progress
        Told of every step.

    Raises
    ------
    ArtefactError
        If the artefact cannot be read or written.
    InputError
        If it has no ranker or no more layers than asked for, fewer layers than are to be joint, or
        too few users have a history.
    """
    progress = progress or Silent()
    generation = open_artefact(artefact)
    settings = from_values(Settings, generation.manifest["settings"])
    with Engine.load(artefact, runtime="float32") as engine, torch_threads(settings.threads):
        ranker = engine.stages.ranker
        if ranker is None:
            raise InputError(f"{artefact} has no ranker; there is nothing to compress")
        held, fit = _dealt(engine.histories, settings.seed)
        if joint_layers is None:
            joint_layers = min(layers, ranker.model.shape.joint_layers)
        small = distil(
            ranker,
            fit,
            engine.stages.retriever.retrieve(fit, engine.stages.rerank, progress=progress),
            layers=layers,
            joint_layers=joint_layers,
            seed=settings.seed,
            progress=progress,
        ).ranker
        with progress.step("Comparing"):
            served = engine.stages.retriever.retrieve(held, engine.stages.rerank)
            compared = compare((ranker, small), held, served, _words(engine))
    larger, smaller = (
        _side(one, times) for one, times in zip((ranker, small), compared.times, strict=True)
    )
    name = _written(generation, out, small, settings, compared)
    return CompressReport(str(out), name, larger, smaller, compared.same_top, compared.error)


def _dealt(users: Queries, seed: int) -> tuple[Queries, Queries]:
    """Return the queries of users to compare on, and of others to learn from.

    Raises
    ------
    InputError
        If there are too few for both.
    """
    known = np.random.default_rng(seed).permutation(np.flatnonzero(users.lengths()))
    held, fit = np.split(known[: MOST_USERS + COMPARED], [min(COMPARED, len(known) // 5)])
    if not len(held):
        raise InputError(f"compressing needs at least 5 users with a history; got {len(known)}")
    return users.take(np.sort(held)), users.take(np.sort(fit))


def _words(engine: Engine) -> tuple[str, ...]:
    """Return texts to ask for: those of some items, their ids where there is none."""
    ids = engine.items["item_id"][:COMPARED]
    return tuple(engine.text(item) if engine.text(item).strip() else item for item in ids)


def _written(
    generation: Generation, out: str | Path, ranker: Ranker, settings: Settings, compared: Compared
) -> str:
    """Write a generation with another ranker and return its name."""
    shape = ranker.model.shape
    kept = ["seed", "counts", "encoder", "data_fingerprint", "dimension", "metric"]
    if Path(out).resolve() == generation.root.resolve():
        kept.append("live")  # up to where it holds the log that stands there, and nowhere else
    about = {
        **{name: generation.manifest[name] for name in kept if name in generation.manifest},
        "settings": asdict(replace(settings, ranker=ranker.settings)),
        "compressed": {
            "layers": shape.backbone.layers,
            "joint_layers": shape.joint_layers,
            "of": generation.manifest["content_hash"],
        },
    }
    measured = {"same_top": compared.same_top, "error": compared.error}
    with begin_generation(out, keep=settings.keep) as writer:
        writer.take_over(generation, but=("ranker",))
        ranker.save(writer)
        return writer.commit(about, measurements=measured).name


def _side(ranker: Ranker, times: tuple[float, float]) -> Side:
    shape = ranker.model.shape
    return Side(shape.backbone.layers, shape.joint_layers, *times, ranker.bytes_an_item())
