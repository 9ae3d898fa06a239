"""Rankers of one suite, taught with the same lessons and measured on the same lists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import DataSet
from twofold.cache import cache_folder
from twofold.embedding import embedded
from twofold.evaluation.held_out import truth_of
from twofold.evaluation.lambdarank import fit_lambdarank
from twofold.evaluation.leaks import known_of_split
from twofold.evaluation.logistic import fit_logistic
from twofold.evaluation.metrics import Truth, judge, ndcg
from twofold.evaluation.opponents import FeatureLists, rerank
from twofold.held_out_queries import held_out_queries
from twofold.indexing.dataset import Dataset
from twofold.indexing.progress import Progress
from twofold.indexing.splits import choose_split
from twofold.indexing.vectors import VectorIndex
from twofold.lessons import Lessons, lessons_of, n_threads
from twofold.ranking.lists import pooled
from twofold.ranking.making import deal
from twofold.ranking.ranker import Ranker
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries
from twofold.retrieval.stage_one import StageOne
from twofold.settings import Settings

Floats = npt.NDArray[np.float64]
OPPONENTS = ("logistic regression", "LambdaRank")


@dataclass(frozen=True)
class Bench:
    """All that rankers of one suite share: what is taught with, and the lists of the test.

    Parameters
    ----------
    data
        The data set.
    settings
        Its settings, the default training among them.
    dataset, index
        Tables and text vectors.
    lessons
        Label windows.
    final
        Stage one fitted on all that may be known at the test.
    queries, served, truth
        The test.
    """

    data: DataSet
    settings: Settings
    dataset: Dataset
    index: VectorIndex
    lessons: Lessons
    final: StageOne
    queries: Queries
    served: Candidates
    truth: Truth

    @classmethod
    def of(
        cls,
        data: DataSet,
        settings: Settings,
        dataset: Dataset,
        progress: Progress,
        *,
        most: int | None = None,
    ) -> Bench:
        """Return the bench of a data set, with at most so many of the test's users."""
        split = choose_split(dataset, data.protocol, n=data.n_labels)
        log = dataset.interactions
        known, _ = known_of_split(log, split, has_times=dataset.has_times)
        index, _ = embedded(dataset, settings, cache_folder() / "benchmarks", progress)
        lessons = lessons_of(dataset, known, index, settings, progress)
        final = lessons.final()
        queries = held_out_queries(dataset, known, split.test, settings, most=most)
        served = final.retriever(lessons.fusion).retrieve(
            queries, settings.ranker.rerank, threads=n_threads(settings), progress=progress
        )
        truth = truth_of(log, split.test, queries.users)
        return cls(data, settings, dataset, index, lessons, final, queries, served, truth)

    def taught(self, settings: Settings) -> tuple[Ranker, dict[str, Any]]:
        """Return a ranker trained by settings."""
        return self.lessons.taught(self.final, settings.ranker, settings.seed)

    def ndcg(self, ranked: Candidates) -> Floats:
        """Return NDCG@10 of every user of the test, ``float64 (n,)``."""
        return np.asarray(ndcg(judge(ranked.items, self.truth, ranked.scores), 10))

    def reranked(self, ranker: Ranker, logits: npt.NDArray[np.float32]) -> Candidates:
        """Return the test's lists in a ranker's order."""
        return ranker.ordered(self.queries, self.served, logits, self.served.k)

    @cached_property
    def opponents(self) -> dict[str, Floats]:
        """NDCG@10 of rerankers that read features alone, tuned on the lists for stopping."""
        groups = deal(self.lessons.lists, self.settings.ranker.training, self.settings.seed)
        train, stop = (FeatureLists(*pooled(part)) for part in (groups.fit, groups.stop))
        return {
            OPPONENTS[0]: self.ndcg(rerank(fit_logistic(train, stop), self.served)),
            OPPONENTS[1]: self.ndcg(rerank(fit_lambdarank(train, stop), self.served)),
        }
