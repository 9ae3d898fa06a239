"""A smaller ranker beside an artefact's own: fewer layers, taught by the larger one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.engine import Engine
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.choosing import compare
from twofold.ranking.distilling import distil
from twofold.ranking.ranker import Ranker
from twofold.settings import Settings
from twofold.settings_file import from_values
from twofold.threads import torch_threads

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
        lists of users from whom nothing was learned.
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
        If it has no ranker or no more layers than asked for, or too few users have a history.
    """
    progress = progress or Silent()
    generation = open_artefact(artefact)
    settings = from_values(Settings, generation.manifest["settings"])
    with Engine.load(artefact, runtime="float32") as engine, torch_threads(settings.threads):
        ranker, users = engine.stages.ranker, engine.histories
        if ranker is None:
            raise InputError(f"{artefact} has no ranker; there is nothing to compress")
        joint = min(layers, joint_layers or ranker.model.shape.joint_layers)
        known = np.random.default_rng(settings.seed).permutation(np.flatnonzero(users.lengths()))
        held, fit = np.split(known[: MOST_USERS + COMPARED], [min(COMPARED, len(known) // 5)])
        asked = users.take(np.sort(fit))
        width = settings.ranker.rerank
        served = engine.stages.retriever.retrieve(asked, width, progress=progress)
        found = distil(
            ranker,
            asked,
            served,
            layers=layers,
            joint_layers=joint,
            seed=settings.seed,
            progress=progress,
        )
        asked = users.take(np.sort(held))
        served = engine.stages.retriever.retrieve(asked, width)
        words = tuple(engine.text(item) for item in engine.items["item_id"][:COMPARED])
        with progress.step("Comparing"):
            compared = compare((ranker, found.ranker), asked, served, words)
    about = {"layers": layers, "joint_layers": joint, "of": generation.manifest["content_hash"]}
    with begin_generation(out, keep=settings.keep) as writer:
        writer.take_over(generation, but="ranker")
        found.ranker.save(writer)
        writer.put_json("compressed", about)
        changed = replace(settings, ranker=found.ranker.settings)
        kept = ("seed", "counts", "encoder", "data_fingerprint", "dimension", "metric")
        written = writer.commit(
            {
                **{name: generation.manifest[name] for name in kept},
                "settings": asdict(changed),
                "compressed": about,
            },
            measurements={"same_top": compared.same_top, "error": compared.error},
        )
    larger, smaller = (
        _side(one, times) for one, times in zip((ranker, found.ranker), compared.times, strict=True)
    )
    return CompressReport(
        str(out), written.name, larger, smaller, compared.same_top, compared.error
    )


def _side(ranker: Ranker, times: tuple[float, float]) -> Side:
    shape = ranker.model.shape
    return Side(shape.backbone.layers, shape.joint_layers, *times, ranker.bytes_an_item())
