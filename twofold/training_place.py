"""Where a build trains its ranker: checkpoints, and the course that becomes part of an artefact."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from twofold.indexing.progress import Progress
from twofold.indexing.writer import GenerationWriter
from twofold.ranking.checkpoints import NAME
from twofold.ranking.members import Workplace
from twofold.settings import Settings
from twofold.tracking import TRAINING, observers_of

COURSE = f"ranker/{TRAINING}"
FOLDER = "training"


@contextmanager
def workplace(
    writer: GenerationWriter, key: str, settings: Settings, progress: Progress
) -> Iterator[Workplace]:
    """Give a training its folder and its observers; its course becomes part of the generation.

    What TensorBoard and Weights & Biases read stays in ``cache/training`` of the artefact.
    """
    folder = writer.cache / FOLDER
    with observers_of(settings.ranker.training.report_to, folder, asdict(settings)) as observer:
        yield Workplace(folder, key, observer, progress)
    if (folder / TRAINING).exists():
        shutil.copyfile(folder / TRAINING, writer.path(COURSE))


def forget_checkpoints(writer: GenerationWriter) -> None:
    """Remove what trainings kept of themselves: what they made is durable now."""
    for checkpoint in (writer.cache / FOLDER).glob(f"*/{NAME}"):
        checkpoint.unlink()
        checkpoint.parent.rmdir()
