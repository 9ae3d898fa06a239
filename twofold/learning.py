"""From a log of interactions to both stages: what a build and an evaluation have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twofold.indexing.dataset import Dataset
from twofold.indexing.interactions import Interactions
from twofold.indexing.progress import Progress
from twofold.indexing.vectors import VectorIndex
from twofold.lessons import Learner, lessons_of
from twofold.ranking.lists import Lists
from twofold.ranking.members import Workplace
from twofold.ranking.ranker import Ranker
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.stage_one import StageOne
from twofold.settings import Settings


@dataclass(frozen=True)
class Learned:
    """Both stages, fitted.

    Parameters
    ----------
    stage_one
        Fitted on the whole log.
    fusion
        Learned on the latest label window.
    ranker
        Trained on the label windows, over tables aligned to `stage_one`; ``None`` where the
        settings ask for none.
    lists
        The labelled lists of each window, the latest first, from stage one as it was fitted before
        the window.
    about
        How it came about: JSON values.
    """

    stage_one: StageOne
    fusion: Fusion
    ranker: Ranker | None
    lists: tuple[Lists, ...]
    about: dict[str, Any]


def learn(
    dataset: Dataset,
    log: Interactions,
    index: VectorIndex,
    settings: Settings,
    progress: Progress,
    work: Workplace | None = None,
) -> Learned:
    """Return both stages learned from `log`.

    Parameters
    ----------
    dataset
        Where texts, kinds and times come from.
    log
        The interactions that may be known: all of the data set's, or those before a test.
    index
        Text vectors of all items.
    settings
        All settings.
    progress
        Told of every step.
    work
        Where the ranker's training keeps checkpoints, and who is told of its course.

    Raises
    ------
    InputError
        If no user has a label to hold out, or too few for a ranker.
    """
    lessons = lessons_of(dataset, log, index, settings, progress)
    final, about, ranker = lessons.final(), dict(lessons.about), None
    if settings.ranker.train:
        ranker, about["ranker"] = lessons.taught(final, settings.ranker, settings.seed, work)
    return Learned(final, lessons.fusion, ranker, lessons.lists, about)


def fitted_again(
    dataset: Dataset,
    index: VectorIndex,
    settings: Settings,
    ranker: Ranker | None,
    progress: Progress,
) -> tuple[StageOne, Ranker | None]:
    """Return stage one fitted on a whole data set, as a build ends with, and a ranker over it.

    The ranker's weights and calibration stay; its factors and relations are those of stage one.

    Parameters
    ----------
    dataset, index, settings, progress
        As of :func:`learn`.
    ranker
        A ranker over the items, its factors in the basis it was trained with; ``None`` for none.
    """
    learner = Learner(dataset, dataset.interactions, index, settings, progress)
    final = learner.fitted(learner.log)
    if ranker is None:
        return final, None
    return final, learner.over(ranker, final, ranker.tables.factors)
