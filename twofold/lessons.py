"""What rankers are taught with: label windows, each with the stage one that made its lists.

Stage two learns from what users did after the moment up to which stage one was fitted: the last
labels of each user are held out, stage one is fitted on what lies before, and its candidates beside
the held-out labels are the training lists. Where users are few the labels before those are held out
too, one window before the other, each with a stage one of its own.
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
from twofold.indexing.holding_out import hold_out_last, refusals_in
from twofold.indexing.interactions import Interactions
from twofold.indexing.ordering import begins_step
from twofold.indexing.progress import Progress
from twofold.indexing.tuning import EXACT, IndexSettings
from twofold.indexing.vectors import VectorIndex
from twofold.labels_file import LabelPairs, known_before, lists_of_pairs
from twofold.ranking.alignment import align_factors
from twofold.ranking.honesty import honesty_report
from twofold.ranking.lists import Lists, Window, label_lists, popularity_of, share_of_hits
from twofold.ranking.making import make_ranker
from twofold.ranking.members import Workplace
from twofold.ranking.ranker import Ranker
from twofold.ranking.relations import Relations
from twofold.ranking.settings import RankerSettings
from twofold.retrieval.choices import learn_weights
from twofold.retrieval.freshness import asked_before, dates_of
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.stage_one import StageOne, fit_stage_one
from twofold.settings import Settings

FUSION_USERS = 4000
MANY_LABELS = 20
ENOUGH_LISTS = 8000
MOST_WINDOWS = 8
# Users times items up to which all are looked at: some seconds.
SCANNED_PAIRS = 4_000_000_000
# Predictions vary by a third from user to user: of so many the mean is sure to about 2 %.
LEVEL_USERS = 400


def lessons_of(
    dataset: Dataset,
    log: Interactions,
    index: VectorIndex,
    settings: Settings,
    progress: Progress,
    fusion: Fusion | None = None,
) -> Lessons:
    """Return what rankers are taught with.

    Parameters
    ----------
    dataset, log, index, settings, progress
        As of :func:`twofold.learning.learn`.
    fusion
        The order of merged candidates; ``None`` learns it on the latest window.

    Raises
    ------
    InputError
        If no user has a label to hold out.
    LeakError
        If a list knows what lies after its history.
    """
    learner = Learner(dataset, log, index, settings, progress)
    n_labels = settings.window_labels or usual_labels(log, whole=settings.stage_one.repeat)
    before = learner.before(n_labels, settings.skip_labels)
    if not len(before.labels):
        raise InputError(
            f"no user has more than {n_labels} labels, so stage two has nothing to learn from; "
            "give more interactions or set window_labels lower"
        )
    about: dict[str, Any] = {"window_labels": n_labels, "n_window_users": [len(before.queries)]}
    if fusion is None:
        fusion, about["fusion"] = learner.fused(before)
    windows = [learner.window(before, fusion)]
    wanted = settings.windows or min(MOST_WINDOWS, -(-ENOUGH_LISTS // len(before.queries)))
    # Without a ranker the first window, which the fusion was learned on, is all there is to know.
    for number in range(1, wanted if settings.ranker.train else 1):
        before = learner.before(n_labels, settings.skip_labels + number * n_labels)
        if not len(before.labels):
            break
        windows.append(learner.window(before, fusion))
        about["n_window_users"].append(len(before.queries))
    return honest(Lessons(learner, fusion, tuple(windows), about))


def lessons_of_pairs(
    dataset: Dataset,
    pairs: LabelPairs,
    index: VectorIndex,
    settings: Settings,
    progress: Progress,
    fusion: Fusion,
) -> Lessons:
    """Return what rankers are taught with by labels of one's own.

    Stage one is fitted on what may be known before them. Probabilities are those of the labelled
    pairs.

    Parameters
    ----------
    dataset, index, settings, progress
        As of :func:`twofold.learning.learn`.
    pairs
        The labels.
    fusion
        The order of merged candidates.
    """
    learner = Learner(dataset, dataset.interactions, index, settings, progress)
    known = known_before(pairs, dataset)
    early, queries = learner.fitted(known.log), learner.asked(known.log, pairs.distinct())
    lists = lists_of_pairs(
        pairs,
        queries,
        early.retriever(fusion),
        popularity=popularity_of(known.log),
        threads=n_threads(settings),
    )
    window = Window(lists, early.factors.items, early.relations(), known.log.matrix())
    about = {
        "labels": {"pairs": len(pairs), "hits": int(pairs.labels.sum())},
        "notes": [*pairs.notes, *known.notes],
        "n_window_users": [len(queries)],
    }
    return honest(Lessons(learner, fusion, (window,), about, served=False))


def honest(lessons: Lessons) -> Lessons:
    """Return lessons that do not know what they are to predict, with what is strange in them.

    Raises
    ------
    LeakError
        If a list knows what lies after its history.
    """
    learner = lessons.learner
    found = honesty_report(
        lessons.lists, learner.dataset.texts, repeat=learner.settings.stage_one.repeat
    )
    return replace(lessons, about={**lessons.about, "honesty": found})


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
    served
        Whether the lists are of what would have been served.
    """

    learner: Learner
    fusion: Fusion
    windows: tuple[Window, ...]
    about: dict[str, Any]
    served: bool = True

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
        if not self.served:
            return ranker, made.about
        return learner.levelled(ranker, final, self.fusion, self.lists), made.about


@dataclass(frozen=True)
class Learner:
    """The steps of a learning that are taken once a window.

    Parameters as of :func:`lessons_of`.
    """

    dataset: Dataset
    log: Interactions
    index: VectorIndex
    settings: Settings
    progress: Progress

    def fitted(self, part: Interactions, search: IndexSettings | None = None) -> StageOne:
        """Return stage one fitted on part of the log, its factors searched as the settings say.

        Or as `search` says, where it is given.
        """
        column = self.dataset.windows[0]
        return fit_stage_one(
            part,
            self.index,
            self.settings.stage_one,
            has_times=self.dataset.has_times,
            dates=None if column is None else dates_of(self.dataset.table[column]),
            search=search or self.settings.index,
            seed=self.settings.seed,
            threads=n_threads(self.settings),
            progress=self.progress,
        )

    def before(self, n_labels: int, skip: int) -> Before:
        """Return what there was before each user's `n_labels` labels ahead of the last `skip`.

        Where items may come back, occasions are counted instead: somebody who fills a basket does
        not take an item again that is in it, but may the next time.
        """
        whole = self.settings.stage_one.repeat
        held = hold_out_last(self.log, n_labels, skip=skip, whole=whole)
        known, labels = self.log.take(held.fit), self.log.take(held.labels)
        queries = self.asked(known, np.unique(labels.users))
        if self.dataset.has_times:
            queries = asked_before(queries, labels)
        refusals = refusals_in(self.log, held)
        # An index that is asked once pays where very many ask.
        few = len(queries) * known.n_items <= SCANNED_PAIRS
        early = self.fitted(known, IndexSettings(kind=EXACT) if few else None)
        return Before(known, early, queries, labels, refusals)

    def asked(self, known: Interactions, users: npt.NDArray[np.int64]) -> Queries:
        """Return the queries of users from what is known."""
        return queries_of_users(
            known,
            users,
            max_history=self.settings.stage_one.max_history,
            repeat=self.settings.stage_one.repeat,
        )

    def fused(self, before: Before) -> tuple[Fusion, dict[str, Any]]:
        """Return the fusion that the settings ask for, and why that one."""
        settings, seed = self.settings.stage_one, self.settings.seed
        plain = Fusion("zscore", (1.0,) * len(before.stage_one.sources()))
        if settings.fusion in ("zscore", "reciprocal"):
            chosen = plain if settings.fusion == "zscore" else Fusion("reciprocal", ())
            return chosen, {"method": chosen.method, "reason": "as set"}
        which = np.random.default_rng(seed).permutation(len(before.queries))[:FUSION_USERS]
        some = before.queries.take(np.sort(which))
        found = before.stage_one.retriever(plain).retrieve(
            some, None, threads=n_threads(self.settings), progress=self.progress
        )
        lists = label_lists(some, found, before.labels)
        hits = int(lists.labels.any(axis=1).sum())
        if settings.fusion == "auto" and hits < settings.least_hits:
            reason = (
                f"{hits} users of the window have a hit among their candidates, too few to learn"
            )
            return plain, {"method": "zscore", "reason": reason}
        with self.progress.step("Learning the fusion"):
            learned = learn_weights(
                lists.features,
                lists.labels,
                lists.mask(),
                seed=seed,
                threads=n_threads(self.settings),
            )
        return learned, {"method": "learned", "n_hits": hits}

    def window(self, before: Before, fusion: Fusion) -> Window:
        """Return the labelled lists of a window."""
        depth, early = self.settings.ranker.rerank, before.stage_one
        served = early.retriever(fusion).retrieve(
            before.queries, depth, threads=n_threads(self.settings), progress=self.progress
        )
        lists = label_lists(
            before.queries,
            served,
            before.labels,
            refusals=before.refusals,
            popularity=popularity_of(before.known),
        )
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
        nobody = np.zeros(len(queries), dtype=np.int64)
        lists = Lists(queries, served, nothing, nobody, popularity=popularity_of(self.log))
        return Window(lists, final.factors.items, final.relations(), self.log.matrix())

    def over(self, ranker: Ranker, final: StageOne, basis: npt.NDArray[np.float32]) -> Ranker:
        """Return the ranker over the tables of the final stage one, its factors in their basis."""
        with self.progress.step("Smoothing relations"):
            relations = Relations.of(
                final.relations(),
                self.log.matrix(),
                seed=self.settings.seed,
                threads=n_threads(self.settings),
            )
        factors = align_factors(final.factors.items, basis)
        return ranker.with_tables(replace(ranker.tables, factors=factors, relations=relations))

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


class Before(NamedTuple):
    """What was known before some labels, stage one fitted on it, and the users who have them.

    `refusals` are what these users met meanwhile and did not take.
    """

    known: Interactions
    stage_one: StageOne
    queries: Queries
    labels: Interactions
    refusals: Interactions


def n_threads(settings: Settings) -> int:
    """Return the cores to use: those of the settings, or all that this process may."""
    return settings.threads or usable_cores()


def usual_labels(log: Interactions, *, whole: bool = False) -> int:
    """Return how many labels a user to hold out: 5 where half of the users have 20, else 1.

    With `whole`, how many occasions, by the occasions with labels that users have.
    """
    users = log.users[log.labels]
    if whole:
        users = users[begins_step(users, log.steps[log.labels])]
    counts = np.bincount(users, minlength=log.n_users)
    active = counts[counts > 0]
    return 5 if len(active) and np.median(active) >= MANY_LABELS else 1
