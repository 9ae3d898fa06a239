"""Labelled pairs: whether our ranker and a plain cross-encoder tell hits from refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

from benchmarks.data.profiles import read_profiles
from benchmarks.harness.cells import Place, Plan, Row
from benchmarks.peers.cross_encoder import Recipe, scores, train
from benchmarks.stands.held_out import split_of
from benchmarks.stands.labelled import Divided, auc_difference, divided, in_order, steps_of
from twofold.cache import cache_folder
from twofold.embedding import embedded
from twofold.evaluation.classification import auc, gauc
from twofold.evaluation.judgements import Judgements
from twofold.indexing.models import resolve_model
from twofold.labels_file import lists_of_pairs
from twofold.lessons import lessons_of, lessons_of_pairs, n_threads
from twofold.ranking.members import Workplace
from twofold.settings import Settings
from twofold.systems import RERANKED, TEXT_ZEROED

NAME, ZEROED, PEER = RERANKED, TEXT_ZEROED, "plain cross-encoder"
OURS, PLAIN, COMPARED = "pairs: ours", f"pairs: {PEER}", "pairs"


@dataclass(frozen=True)
class ToldApart:
    """Scores labelled pairs with ours and with a plain cross-encoder, and compares them.

    Parameters
    ----------
    plan, settings
        The data, and all settings.
    n_users
        Of how many of the test's users pairs are asked for.
    share
        How much of the training part both learn from; the rest is known.
    recipe
        How the plain cross-encoder is trained.
    """

    plan: Plan
    settings: Settings
    n_users: int
    share: float
    recipe: Recipe

    @cached_property
    def _divided(self) -> Divided:
        return divided(
            self.plan.dataset,
            split_of(self.plan),
            n_users=self.n_users,
            share=self.share,
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
            judged = Judgements(expit(logits), asked.labels, users)
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
