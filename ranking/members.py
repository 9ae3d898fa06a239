"""One ranker or several, trained from one start, and what is made of several."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from twofold.indexing.progress import Progress, Silent
from twofold.ranking.adapters import Adapter
from twofold.ranking.averaging import mean_of
from twofold.ranking.checkpoints import Checkpoints
from twofold.ranking.labelled import Labelled
from twofold.ranking.lessons import FromTeachers, Teacher
from twofold.ranking.model import RankerModel
from twofold.ranking.observing import Nobody, Observer
from twofold.ranking.pseudo_labels import labelled_by_itself
from twofold.ranking.scoring import served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training import Trained, fine_tune, train_by

# Members of one build must not see the lists in the order of another build's first.
APART = 1_000_003


@dataclass(frozen=True)
class Workplace:
    """What a training has beside its lists.

    Parameters
    ----------
    folder
        Where checkpoints are kept; ``None`` keeps none.
    key
        What the training depends on.
    observer
        Told of its course.
    progress
        Told of every step.
    """

    folder: Path | None = None
    key: str = ""
    observer: Observer = field(default_factory=Nobody)
    progress: Progress = field(default_factory=Silent)

    def checkpoints(self, name: str, every: int) -> Checkpoints | None:
        """Return where one training of several is kept."""
        return None if self.folder is None else Checkpoints(self.folder / name, self.key, every)


@dataclass(frozen=True)
class Brought:
    """A trained model.

    Parameters
    ----------
    model
        The model.
    courses
        Of its members, and of the distillation where there was one.
    adapter
        What is in the model still; ``None`` where it was merged.
    """

    model: RankerModel
    courses: tuple[Trained, ...]
    adapter: Adapter | None

    def n_trained(self) -> int:
        """Return how many weights were trained in the first training."""
        return self.courses[0].n_trained

    def finished(self) -> RankerModel:
        """Return the model to serve: its adapter merged, nothing left to train."""
        if self.adapter is not None:
            self.adapter.merged()
        return self.model.requires_grad_(False).eval()


def train_members(
    start: RankerModel,
    train: Sequence[Labelled],
    stop: Sequence[Labelled],
    settings: RankerSettings,
    *,
    seed: int,
    work: Workplace,
) -> Brought:
    """Train as many members as the settings say, each from `start`, and make one of them.

    Members differ by the order of lists, what is drawn of them, and dropout. Since they start from
    one point their weights may be averaged (Wortsman et al. 2022).

    Parameters
    ----------
    start
        Stays as it is.
    train, stop, settings
        As of :class:`~twofold.ranking.lessons.FromLabels`.
    seed
        Of the first member.
    work
        Where it is done.
    """
    members, courses = [], []
    for number in range(settings.training.members):
        model = copy.deepcopy(start)
        course = fine_tune(
            model,
            train,
            stop,
            settings,
            seed=seed + APART * number,
            progress=work.progress,
            observer=work.observer,
            checkpoints=work.checkpoints(f"member-{number}", settings.training.checkpoint_steps),
        )
        members.append(model)
        courses.append(course)
    if len(members) == 1:
        return Brought(members[0], tuple(courses), courses[0].adapter)
    for course in courses:
        course.adapter.merged()
    model = copy.deepcopy(start)
    if settings.training.ensemble == "soup":
        model.load_state_dict(mean_of([one.state_dict() for one in members]))
        return Brought(model.eval(), tuple(courses), None)

    lesson = FromTeachers(
        model,
        train,
        [_teachers(members, part, settings) for part in train],
        stop,
        [_teachers(members, part, settings) for part in stop],
        settings,
    )
    course = train_by(
        model,
        lesson,
        # What the lower layers of several make of an item is no one's state.
        replace(settings.training, layers="joint"),
        seed=seed,
        progress=work.progress,
        observer=work.observer,
        checkpoints=work.checkpoints("distilled", settings.training.checkpoint_steps),
    )
    return Brought(model, (*courses, course), course.adapter)


def self_trained(
    brought: Brought,
    train: Sequence[Labelled],
    stop: Sequence[Labelled],
    unlabelled: Labelled,
    settings: RankerSettings,
    *,
    seed: int,
    work: Workplace,
) -> Brought:
    """Go on training on labelled lists and on others that the model labels itself.

    Each round labels the lists anew. A round whose best epoch is no better on the early-stopping
    lists than the state it began with is undone, and is the last: the guard against teaching
    oneself one's own mistakes.

    Parameters
    ----------
    brought
        A trained model.
    train, stop, settings
        As of :class:`~twofold.ranking.lessons.FromLabels`.
    unlabelled
        Lists of users who neither stop nor calibrate.
    seed
        Seeds all training.
    work
        Where it is done.
    """
    own, courses, model = settings.training.pseudo_labels, brought.courses, brought.finished()
    lists = unlabelled.lists
    for number in range(1, own.rounds + 1):
        tables = unlabelled.tables
        if settings.training.layers == "all":
            tables = replace(tables, states=None)
        told = served_logits(model, tables, lists.queries, lists.candidates, settings.history)
        more = unlabelled._replace(lists=labelled_by_itself(lists, told, own), weight=own.weight)
        model.requires_grad_(True)
        course = fine_tune(
            model,
            [*train, more],
            stop,
            settings,
            seed=seed + APART * (settings.training.members + number),
            progress=work.progress,
            observer=work.observer,
            checkpoints=work.checkpoints(f"round-{number}", settings.training.checkpoint_steps),
        )
        course.adapter.merged()
        courses = (*courses, course)
        if course.best == 0:
            break
    return Brought(model, courses, None)


def _teachers(
    members: Sequence[RankerModel], part: Labelled, settings: RankerSettings
) -> list[Teacher]:
    """Return the members beside what each reads of a part's items."""
    whole = settings.training.layers == "all"
    tables = replace(part.tables, states=None) if whole else part.tables
    return [Teacher(one, tables) for one in members]
