"""From a log of interactions to both stages: what a build and an evaluation have in common.

Stage two learns from what users did after the moment up to which stage one was fitted: the last
labels of each user are held out, stage one is fitted on what lies before, and its candidates beside
the held-out labels are the training lists. Where users are few the labels before those are held out
too, one window before the other, each with a stage one of its own. Then stage one is fitted again
on everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.evaluation.hardware import usable_cores
from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import InputError
from twofold.indexing.interactions import Interactions
from twofold.indexing.progress import Progress
from twofold.indexing.splits import hold_out_last
from twofold.indexing.vectors import VectorIndex
from twofold.ranking.alignment import align_factors
from twofold.ranking.lists import Lists, Window, label_lists, share_of_hits
from twofold.ranking.making import make_ranker
from twofold.ranking.members import Workplace
from twofold.ranking.ranker import Ranker
from twofold.ranking.relations import Relations
from twofold.ranking.settings import RankerSettings
from twofold.retrieval.choices import learn_weights
from twofold.retrieval.freshness import asked_before, dates_of
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.stage_one import StageOne, StageOneSettings, fit_stage_one
from twofold.settings import Settings

FUSION_USERS = 4000
MANY_LABELS = 20
ENOUGH_LISTS = 8000
MOST_WINDOWS = 8
# Predictions vary by a third from user to user: of so many the mean is sure to about 2 %.
LEVEL_USERS = 400


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


def lessons_of(
    dataset: Dataset,
    log: Interactions,
    index: VectorIndex,
    settings: Settings,
    progress: Progress,
    fusion: Fusion | None = None,
) -> Lessons:
    """Return what rankers are taught with.

    Parameters and errors as of :func:`learn`; a `fusion` that is given is not learned.
    """
    learner = _Learner(dataset, log, index, settings, progress)
    n_labels = settings.window_labels or usual_labels(log)
    before = learner.before(n_labels, settings.skip_labels)
    if not len(before.labels):
        raise InputError(
            f"no user has more than {n_labels} labels, so stage two has nothing to learn from; "
            "give more interactions or set window_labels lower"
        )
    if fusion is None:
        fusion, fusion_about = _fused(before, settings.stage_one, settings.seed)
    else:
        fusion_about = {"method": fusion.method, "reason": "as it was learned before"}
    windows = [learner.window(before, fusion)]
    about: dict[str, Any] = {
        "window_labels": n_labels,
        "n_window_users": [len(before.queries)],
        "fusion": fusion_about,
    }
    wanted = settings.windows or min(MOST_WINDOWS, -(-ENOUGH_LISTS // len(before.queries)))
    # Without a ranker the first window, which the fusion was learned on, is all there is to know.
    for number in range(1, wanted if settings.ranker.train else 1):
        before = learner.before(n_labels, settings.skip_labels + number * n_labels)
        if not len(before.labels):
            break
        windows.append(learner.window(before, fusion))
        about["n_window_users"].append(len(before.queries))
    return Lessons(learner, fusion, tuple(windows), about)


class _Before(NamedTuple):
    """What was known before some labels, stage one fitted on it, and the users who have them."""

    known: Interactions
    stage_one: StageOne
    queries: Queries
    labels: Interactions


@dataclass(frozen=True)
class _Learner:
    """The steps of :func:`learn` that are taken once a window."""

    dataset: Dataset
    log: Interactions
    index: VectorIndex
    settings: Settings
    progress: Progress

    def fitted(self, part: Interactions) -> StageOne:
        """Return stage one fitted on part of the log."""
        column = self.dataset.windows[0]
        return fit_stage_one(
            part,
            self.index,
            self.settings.stage_one,
            has_times=self.dataset.has_times,
            dates=None if column is None else dates_of(self.dataset.table[column]),
            search=self.settings.index,
            seed=self.settings.seed,
            threads=n_threads(self.settings),
            progress=self.progress,
        )

    def before(self, n_labels: int, skip: int) -> _Before:
        """Return what there was before each user's `n_labels` labels ahead of the last `skip`."""
        held = hold_out_last(self.log, n_labels, skip=skip)
        known, labels = self.log.take(held.fit), self.log.take(held.labels)
        queries = self.asked(known, np.unique(labels.users))
        if self.dataset.has_times:
            queries = asked_before(queries, labels)
        return _Before(known, self.fitted(known), queries, labels)

    def asked(self, known: Interactions, users: npt.NDArray[np.int64]) -> Queries:
        """Return the queries of users from what is known."""
        return queries_of_users(
            known,
            users,
            max_history=self.settings.stage_one.max_history,
            repeat=self.settings.stage_one.repeat,
        )

    def window(self, before: _Before, fusion: Fusion) -> Window:
        """Return the labelled lists of a window."""
        depth, early = self.settings.ranker.rerank, before.stage_one
        served = early.retriever(fusion).retrieve(
            before.queries, depth, threads=n_threads(self.settings), progress=self.progress
        )
        lists = label_lists(before.queries, served, before.labels)
        return Window(lists, early.factors.items, early.relations(), before.known.matrix())

    def unlabelled(self, final: StageOne, fusion: Fusion, latest: Window) -> Window:
        """Return what the users of a window would be served now, which nobody has judged yet."""
        queries = self.asked(self.log, latest.lists.queries.users)
        served = final.retriever(fusion).retrieve(
            queries,
            self.settings.ranker.rerank,
            threads=n_threads(self.settings),
            progress=self.progress,
        )
        nothing = np.zeros(served.items.shape, dtype=bool)
        lists = Lists(queries, served, nothing, np.zeros(len(queries), dtype=np.int64))
        return Window(lists, final.factors.items, final.relations(), self.log.matrix())

    def over(self, ranker: Ranker, final: StageOne, basis: npt.NDArray[np.float32]) -> Ranker:
        """Return the ranker over the tables of the final stage one, its factors in their basis."""
        tables = replace(
            ranker.tables,
            factors=align_factors(final.factors.items, basis),
            relations=Relations.of(final.relations(), self.log.matrix(), seed=self.settings.seed),
        )
        return ranker.with_tables(tables)

    def levelled(
        self, ranker: Ranker, final: StageOne, fusion: Fusion, lists: Sequence[Lists]
    ) -> Ranker:
        """Return the ranker with its probabilities levelled on lists as they will be served.

        They average to the share of hits in the windows.
        """
        rng = np.random.default_rng(self.settings.seed)
        users = np.sort(rng.permutation(lists[0].queries.users)[:LEVEL_USERS])
        queries = self.asked(self.log, users)
        served = final.retriever(fusion).retrieve(queries, self.settings.ranker.rerank)
        with self.progress.step("Levelling probabilities"):
            return ranker.levelled(queries, served, share_of_hits(lists))


@dataclass(frozen=True)
class Lessons:
    """Labelled windows and the fusion: what any number of rankers can be taught with.

    Parameters
    ----------
    learner
        Takes the steps.
    fusion
        The order of merged candidates.
    windows
        Label windows, the latest first.
    about
        How they came about: JSON values.
    """

    learner: _Learner
    fusion: Fusion
    windows: tuple[Window, ...]
    about: dict[str, Any]

    @property
    def lists(self) -> tuple[Lists, ...]:
        """The windows' labelled lists."""
        return tuple(window.lists for window in self.windows)

    def final(self) -> StageOne:
        """Return stage one fitted on all that may be known."""
        return self.learner.fitted(self.learner.log)

    def taught(
        self,
        final: StageOne,
        settings: RankerSettings,
        seed: int,
        work: Workplace | None = None,
    ) -> tuple[Ranker, dict[str, Any]]:
        """Return a ranker over the final stage one, and how its training went."""
        learner = self.learner
        unlabelled = None
        if settings.training.pseudo_labels.rounds:
            unlabelled = learner.unlabelled(final, self.fusion, self.windows[0])
        made = make_ranker(
            self.windows,
            learner.dataset.texts,
            learner.index.vectors,
            len(learner.dataset.kinds),
            settings,
            unlabelled=unlabelled,
            seed=seed,
            work=replace(work or Workplace(), progress=learner.progress),
        )
        ranker = learner.over(made.ranker, final, self.windows[0].factors)
        return learner.levelled(ranker, final, self.fusion, self.lists), made.about


def n_threads(settings: Settings) -> int:
    """Return the cores to use: those of the settings, or all that this process may."""
    return settings.threads or usable_cores()


def usual_labels(log: Interactions) -> int:
    """Return how many labels a user to hold out: 5 where half of the users have 20, else 1."""
    counts = np.bincount(log.users[log.labels], minlength=log.n_users)
    active = counts[counts > 0]
    return 5 if len(active) and np.median(active) >= MANY_LABELS else 1


def _fused(before: _Before, settings: StageOneSettings, seed: int) -> tuple[Fusion, dict[str, Any]]:
    """Return the fusion that the settings ask for, and why that one."""
    stage_one, queries, labels = before.stage_one, before.queries, before.labels
    n_sources = len(stage_one.sources())
    plain = Fusion("zscore", (1.0,) * n_sources)
    retriever = stage_one.retriever(plain)
    if settings.fusion in ("zscore", "reciprocal"):
        chosen = plain if settings.fusion == "zscore" else Fusion("reciprocal", ())
        return chosen, {"method": chosen.method, "reason": "as set"}
    which = np.random.default_rng(seed).permutation(len(queries))[:FUSION_USERS]
    some = queries.take(np.sort(which))
    lists = label_lists(some, retriever.retrieve(some, None), labels)
    hits = int(lists.labels.any(axis=1).sum())
    if settings.fusion == "auto" and hits < settings.least_hits:
        reason = f"{hits} users of the window have a hit among their candidates, too few to learn"
        return plain, {"method": "zscore", "reason": reason}
    learned = learn_weights(lists.features, lists.labels, lists.mask(), seed=seed)
    return learned, {"method": "learned", "n_hits": hits}


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
    learner = _Learner(dataset, dataset.interactions, index, settings, progress)
    final = learner.fitted(learner.log)
    if ranker is None:
        return final, None
    return final, learner.over(ranker, final, ranker.tables.factors)
