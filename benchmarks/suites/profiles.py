"""Users of whom a text tells: what a reranker adds to what the text alone retrieves.

That is how many begin: a user's profile is a text, the items nearest to it are retrieved, and a
reranker orders them. Our ranker does so here, beside both stages on the same users; items without
a text count as misses. And where users refused some of what they met, rankers are asked to tell
that from what they took: ours, and a plain cross-encoder that learned from the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import IFDB
from benchmarks.data.profiles import read_profiles
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.peers.cross_encoder import Recipe, scores, train
from benchmarks.stands.absent import Absent
from benchmarks.stands.by_profile import by_profile, keeping_all, reranked
from benchmarks.stands.held_out import split_of
from benchmarks.stands.kept_lists import DEPTH, KS, arrays_of
from benchmarks.stands.labelled import Divided, auc_difference, divided, in_order, steps_of
from benchmarks.stands.pairing import paired_rows
from benchmarks.stands.told import told
from twofold.cache import cache_folder
from twofold.embedding import embedded
from twofold.evaluation.classification import auc, gauc
from twofold.evaluation.intervals import bootstrap_ratio
from twofold.evaluation.judgements import Judgements
from twofold.evaluation.leaks import known_of_split
from twofold.evaluation.metrics import Truth, judge, metric_values
from twofold.evaluation.quality import Ranked, measure_users, quality_rows
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.models import resolve_model
from twofold.indexing.text import TextEncoder
from twofold.indexing.vectors import VectorIndex
from twofold.labels_file import lists_of_pairs
from twofold.learning import Learned, learn
from twofold.lessons import lessons_of, lessons_of_pairs, n_threads
from twofold.ranking.making import deal
from twofold.ranking.members import Workplace
from twofold.settings import Settings
from twofold.systems import RERANKED, TEXT_ZEROED, Asked, ask, systems_of

RETRIEVED, BY_RANKER = "text alone", "text alone, reranked"
KEPT = ", known items kept"
NAME, ZEROED, PEER = RERANKED, TEXT_ZEROED, "plain cross-encoder"
LISTS, OURS, PLAIN, AUC = "twofold", "pairs: ours", f"pairs: {PEER}", "pairs"
USERS, SHARE = 500, 1 / 3
# Some eight thousand pairs, each a profile and a description: minutes.
RECIPE = Recipe(steps=240, max_length=192)
GAINED = ("recall@10", "ndcg@10", "mrr@10")
QUICK_USERS, QUICK_RECIPE = 100, Recipe(steps=2, lists=2, max_length=64)
QUICK = (
    *("windows=1", "ranker.rerank=20", "ranker.training.max_epochs=1"),
    *("ranker.training.negatives=7", "ranker.training.max_lists=64"),
)
DIVIDES = (
    *("indexing/splits.py", "indexing/holding_out.py", "twofold/labels_file.py"),
    *("benchmarks/stands/labelled.py", "benchmarks/suites/profiles.py"),
)
SOURCES = (
    *("indexing", "retrieval", "ranking", "evaluation", "twofold/learning.py"),
    *("twofold/lessons.py", "twofold/systems.py", "twofold/labels_file.py"),
    *("benchmarks/suites/profiles.py", "benchmarks/stands/by_profile.py"),
    *("benchmarks/stands/absent.py", "benchmarks/stands/labelled.py"),
)
ASKED = ("data", "seed", "threads", "ranker.model")


def _cells(plan: Plan) -> list[Cell]:
    """Return the cell of lists, those that score labelled pairs, and the one that compares them."""
    settings = plan.settings(*(QUICK if plan.quick else ()))
    recipe, n_users = (QUICK_RECIPE, QUICK_USERS) if plan.quick else (RECIPE, USERS)
    also = {"n_users": n_users, "share": SHARE}
    stand = _Pairs(plan, settings, n_users, recipe)
    plain = {**also, "recipe": asdict(recipe)}
    theirs = ("benchmarks/peers/cross_encoder.py", *DIVIDES)
    compares = ("evaluation/classification.py", "evaluation/intervals.py", *DIVIDES)
    return [
        Cell(LISTS, _Lists(plan, settings), settings, {}, SOURCES, keeps=True),
        Cell(OURS, stand.ours, settings, also, SOURCES, keeps=True),
        Cell(PLAIN, stand.plain, settings, plain, theirs, keeps=True, reads=ASKED),
        Cell(AUC, stand.compared, settings, also, compares, (OURS, PLAIN), reads=("seed",)),
    ]


@dataclass(frozen=True)
class _Lists:
    """Ranks the test by profiles, and by both stages."""

    plan: Plan
    settings: Settings

    def __call__(self, place: Place) -> Iterator[Row]:
        plan, settings, split = self.plan, self.settings, split_of(self.plan)
        dataset, progress = plan.dataset, plan.progress
        known, _ = known_of_split(dataset.interactions, split, has_times=dataset.has_times)
        index, _ = embedded(dataset, settings, cache_folder() / "benchmarks", progress)
        work = Workplace(place.folder, place.fingerprint, progress=progress)
        learned = learn(dataset, known, index, settings, progress, work)
        most = QUICK_USERS if plan.quick else None
        asked = ask(learned, dataset, split, known, index.vectors, settings, most, progress)
        dealt = deal(learned.lists, settings.ranker.training, settings.seed)
        ranked = systems_of(learned, asked, dealt, settings, quick=plan.quick, progress=progress)
        systems = {name: Ranked(one.items, one.scores) for name, one in ranked.items()}
        systems |= self._by_profile(learned, asked, index)
        absent, ids = Absent.of(plan), dataset.users.decode(asked.users)
        systems, truth = absent.with_misses(systems, asked.truth, ids)
        lost = np.full(len(absent.lost), -1, dtype=np.int64)
        place.keep(arrays_of(systems, truth, np.append(asked.users, lost)))
        around = Surroundings(asked.surroundings.popularity)
        values = measure_users(systems, truth, around, KS, progress=progress)
        for row in quality_rows(values, seed=settings.seed):
            yield told(row, "quality", split.name)
        yield from paired_rows(systems, truth, RERANKED, KS, settings.seed)
        yield from _gains(systems, truth, settings.seed)
        yield {"kind": "learned", "share_there": absent.share, "about": learned.about}

    def _by_profile(self, learned: Learned, asked: Asked, index: VectorIndex) -> dict[str, Ranked]:
        """Return what profiles retrieve, and that reranked, without and with known items."""
        profiles = read_profiles(self.plan.data, self.plan.dataset.users)
        texts = [profiles[user] for user in asked.users]
        encoder, out = TextEncoder.load(self.settings.text), {}
        for queries, named in ((asked.queries, ""), (keeping_all(asked.queries), KEPT)):
            found = by_profile(texts, queries, index, encoder, DEPTH)
            after = reranked(learned, queries, found, n_threads(self.settings))
            out[RETRIEVED + named] = Ranked(found.items, found.scores)
            out[BY_RANKER + named] = Ranked(after.items, after.scores)
        return out


def _gains(systems: Mapping[str, Ranked], truth: Truth, seed: int) -> Iterator[Row]:
    """Yield how much better what a text retrieves is once it is reranked, as a share."""
    for named in ("", KEPT):
        pair = (systems[name + named] for name in (BY_RANKER, RETRIEVED))
        after, before = (metric_values(judge(one.items, truth, one.scores), KS) for one in pair)
        for metric in GAINED:
            gain = bootstrap_ratio(after[metric] - before[metric], before[metric], seed)
            row = {"kind": "gain", "system": BY_RANKER + named, "metric": metric}
            yield {**row, "other": RETRIEVED + named, **asdict(gain)}


@dataclass(frozen=True)
class _Pairs:
    """Scores labelled pairs with ours and with a plain cross-encoder, and compares them."""

    plan: Plan
    settings: Settings
    n_users: int
    recipe: Recipe

    @cached_property
    def _divided(self) -> Divided:
        return divided(
            self.plan.dataset,
            split_of(self.plan),
            n_users=self.n_users,
            share=SHARE,
            seed=self.settings.seed,
        )

    def ours(self, place: Place) -> Iterator[Row]:
        """Train our ranker on the pairs, and score those that are asked for."""
        settings, progress, parts = self.settings, self.plan.progress, self._divided
        index, _ = embedded(parts.known, settings, cache_folder() / "benchmarks", progress)
        fusion = lessons_of(parts.known, parts.known.interactions, index, settings, progress).fusion
        lessons = lessons_of_pairs(parts.known, parts.learned, index, settings, progress, fusion)
        final = lessons.final()
        work = Workplace(place.folder, place.fingerprint, progress=progress)
        ranker, about = lessons.taught(final, settings.ranker, settings.seed, work)
        queries = lessons.learner.asked(parts.known.interactions, parts.asked.distinct())
        threads = n_threads(settings)
        lists = lists_of_pairs(parts.asked, queries, final.retriever(fusion), threads=threads)
        spoken = ranker.logits(queries, lists.candidates)
        silent = ranker.without_text(queries, lists.candidates)
        place.keep({NAME: in_order(lists, spoken), ZEROED: in_order(lists, silent)})
        yield {"kind": "learned", "system": NAME, "n_pairs": len(parts.learned), "about": about}

    def plain(self, place: Place) -> Iterator[Row]:
        """Train the plain cross-encoder on profiles and the pairs' texts, and score likewise."""
        settings, parts, texts = self.settings, self._divided, self.plan.dataset.texts
        profiles = read_profiles(self.plan.data, self.plan.dataset.users)
        folder = train(
            steps_of(parts.learned, profiles, texts, self.recipe, settings.seed),
            resolve_model(settings.ranker.model),
            self.recipe,
            seed=settings.seed,
            threads=n_threads(settings),
            progress=self.plan.progress,
        )
        users, first = np.unique(parts.asked.users, return_index=True)
        asked = np.split(parts.asked.items, first[1:])
        logits = scores(
            folder,
            [profiles[user] for user in users],
            [[texts[one] for one in row] for row in asked],
        )
        place.keep({PEER: logits[np.isfinite(logits)].astype(np.float64)})
        yield {"kind": "training", "system": PEER, **asdict(self.recipe)}

    def compared(self, place: Place) -> Iterator[Row]:
        """Tell how often each puts what a user took above what was refused."""
        asked, seed = self._divided.asked, self.settings.seed
        found = {**place.kept(OURS), **place.kept(PLAIN)}
        _, users = np.unique(asked.users, return_inverse=True)
        for name, logits in found.items():
            judged = Judgements(_squashed(logits), asked.labels, users)
            measures = {"auc": auc(judged, seed), "gauc": gauc(judged, seed)}
            row = {"kind": "pairs", "system": name, "n_users": judged.n_users}
            metrics = {measure: asdict(one) for measure, one in measures.items()}
            yield {
                **row,
                "n_pairs": len(asked),
                "hits": int(asked.labels.sum()),
                "metrics": metrics,
            }
        gap = auc_difference(found[NAME], found[PEER], asked.labels, users, seed)
        yield {"kind": "auc", "system": NAME, "other": PEER, **asdict(gap)}


def _squashed(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return logits between 0 and 1, in the same order."""
    return 1 / (1 + np.exp(-logits))


PROFILES = Suite(
    "profiles",
    "users of whom a text tells: what a reranker adds to what the text alone retrieves",
    _cells,
    (IFDB,),
)
