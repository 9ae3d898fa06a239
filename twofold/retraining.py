"""Another ranker for an artefact: its training alone, all else as it was built."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from twofold.indexing.artefact import begin_generation, open_artefact, stage_key
from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import SettingsError
from twofold.indexing.generation import Generation
from twofold.indexing.manifest import OWN
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.tables import Source
from twofold.indexing.vectors import VectorIndex
from twofold.indexing.writer import GenerationWriter
from twofold.labels_file import LabelPairs, read_labels
from twofold.lessons import lessons_of, lessons_of_pairs
from twofold.ranking.members import Workplace
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.stage_one import StageOne
from twofold.settings import Settings
from twofold.settings_file import from_values, load_toml
from twofold.threads import torch_threads
from twofold.tracking import check_trackers
from twofold.training_place import forget_checkpoints, workplace

# What training a ranker may do in another way than the build did.
FREE = frozenset({"seed", "threads", "window_labels", "windows", "skip_labels", "keep", "ranker"})


@dataclass(frozen=True)
class TrainReport:
    """What a training of a ranker did.

    Parameters
    ----------
    path, generation, content_hash
        Where the ranker was written.
    about
        How its training went, as in ``learning.json`` of the artefact.
    seconds
        Time that it took.
    """

    path: str
    generation: str
    content_hash: str
    about: dict[str, Any]
    seconds: float

    def __str__(self) -> str:
        """Return the report for a person."""
        epochs = self.about["epochs"]
        best = min(epochs, key=lambda one: one["stop_loss"])
        first = epochs[0]
        return "\n".join(
            [
                f"trained {self.path}, generation {self.generation}, in {self.seconds:.0f} s",
                f"{self.about['n_trained']:,} weights, best epoch {best['number']} of "
                f"{epochs[-1]['number']}; on lists for early stopping: loss "
                f"{first['stop_loss']:.4f} -> {best['stop_loss']:.4f}, NDCG@10 "
                f"{first['stop_ndcg']:.4f} -> {best['stop_ndcg']:.4f}",
                f"content hash {self.content_hash}",
            ]
        )


def training_settings(
    artefact: str | Path, file: str | Path | None = None, overrides: tuple[str, ...] = ()
) -> Settings:
    """Return an artefact's settings, with those of a TOML file and overrides on top.

    Raises
    ------
    SettingsError
        If they would change more than the training of the ranker.
    """
    built = from_values(Settings, open_artefact(artefact).manifest["settings"])
    asked = load_toml(Settings, file, overrides, below=asdict(built))
    # One who trains a ranker wants one, whatever the build did.
    asked = replace(asked, ranker=replace(asked.ranker, train=True))
    changed = [
        name
        for name in asdict(built)
        if name not in FREE and getattr(built, name) != getattr(asked, name)
    ]
    if changed:
        raise SettingsError(
            f"training a ranker cannot change [{changed[0]}], which {artefact} was built with; "
            "build again, or leave these settings out"
        )
    return asked


def train_ranker(
    artefact: str | Path,
    settings: Settings | None = None,
    *,
    labels: Source | None = None,
    drop_unknown: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> TrainReport:
    """Train a ranker for an artefact and write it as one more generation.

    Stage one is fitted without the label windows once more, for the lists to learn from; what the
    artefact serves of it stays, and so does what came since the build. An interrupted training is
    taken up where it stood when the same call is made again.

    Parameters
    ----------
    artefact
        Folder of the artefact.
    settings
        From :func:`training_settings`; ``None`` for those that it was built with.
    labels
        Labels of one's own, see :func:`twofold.labels_file.read_labels`; ``None`` holds out the
        latest of the artefact's interactions, as a build does.
    drop_unknown
        Whether labels of users or items that the artefact lacks are left out rather than refused.
    out
        Folder of another artefact to write to; ``None`` for the same.
    progress
        Told of every step.

    Raises
    ------
    TwofoldError
        If the artefact cannot be read or written, or too little is labelled.
    """
    begun, progress = time.perf_counter(), progress or Silent()
    settings = settings or training_settings(artefact)
    check_trackers(settings.ranker.training.report_to)
    base = open_artefact(artefact)
    dataset = Dataset.open(base)
    pairs = None
    if labels is not None:
        pairs = read_labels(labels, dataset, settings.data, drop_unknown=drop_unknown)
    own = None if pairs is None else pairs.fingerprint()
    with (
        begin_generation(artefact if out is None else out, keep=settings.keep) as writer,
        torch_threads(settings.threads),
    ):
        key = stage_key("trained", base.manifest["content_hash"], asdict(settings), own)
        if not writer.finished("trained", key):
            writer.take_over(base, but=("ranker", "learning.json"))
            with workplace(writer, key, settings, progress) as work:
                about = _trained(base, writer, settings, _Labels(dataset, pairs), work)
            writer.put_json("learning", {**base.json("learning"), **about})
            writer.finish("trained", key)
            forget_checkpoints(writer)
        told = {name: one for name, one in base.manifest.items() if name not in OWN}
        if out is not None:
            told.pop("live", None)  # up to where it holds the log that stands there alone
        seconds = time.perf_counter() - begun
        generation = writer.commit(
            {**told, "settings": asdict(settings)}, measurements={"seconds": seconds}
        )
    learned = generation.json("learning")["ranker"]
    return TrainReport(
        path=str(generation.root),
        generation=generation.name,
        content_hash=str(generation.manifest["content_hash"]),
        about=learned,
        seconds=time.perf_counter() - begun,
    )


class _Labels(NamedTuple):
    """A data set, and labels of its pairs where some were given."""

    dataset: Dataset
    pairs: LabelPairs | None


def _trained(
    base: Generation,
    writer: GenerationWriter,
    settings: Settings,
    labels: _Labels,
    work: Workplace,
) -> dict[str, Any]:
    """Write a ranker trained over what an artefact holds, and return how that went."""
    dataset, pairs = labels
    index = VectorIndex.open(base, device="cpu")
    fusion = Fusion.from_dict(base.json("fusion"))
    if pairs is None:
        lessons = lessons_of(
            dataset, dataset.interactions, index, settings, work.progress, fusion=fusion
        )
    else:
        lessons = lessons_of_pairs(dataset, pairs, index, settings, work.progress, fusion)
    final = StageOne.open(base, index, settings.stage_one)
    ranker, about = lessons.taught(final, settings.ranker, settings.seed, work)
    ranker.save(writer)
    return {**lessons.about, "ranker": about}
