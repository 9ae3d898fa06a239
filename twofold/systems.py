"""The systems that a test is ranked with: sources, stage one, opponents, and both stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.evaluation.buy_again import fit_buy_again
from twofold.evaluation.held_out import truth_of
from twofold.evaluation.lambdarank import LambdaRankSettings, fit_lambdarank
from twofold.evaluation.logistic import LogisticSettings, fit_logistic
from twofold.evaluation.metrics import Truth
from twofold.evaluation.opponents import FeatureLists, popularity_ranking, rerank
from twofold.evaluation.surroundings import Surroundings
from twofold.held_out_queries import held_out_queries
from twofold.indexing.dataset import Dataset
from twofold.indexing.interactions import Interactions
from twofold.indexing.progress import Progress
from twofold.indexing.splits import Split
from twofold.learning import Learned
from twofold.lessons import n_threads
from twofold.ranking.lists import pooled
from twofold.ranking.making import Groups
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.queries import Queries
from twofold.retrieval.retriever import Retriever
from twofold.settings import Settings

DEPTH = 100
RERANKED, FUSED, TEXT_ZEROED = "reranked", "fused stage one", "same g, text zeroed"
BUY_AGAIN = "buy again"


@dataclass(frozen=True)
class Asked:
    """The test's users and what both stages answered them.

    Parameters
    ----------
    users, truth, queries
        Whom to recommend to, what they hold out, and what is known of them.
    retriever, served
        Stage one, and what it served.
    logits
        Stage two's of `served`, ``float32 (n, m)``; ``None`` without a ranker.
    surroundings
        What else metrics read.
    again
        What "buy again" answers; ``None`` where items may not come back.
    """

    users: npt.NDArray[np.int64]
    truth: Truth
    queries: Queries
    retriever: Retriever
    served: Candidates
    logits: npt.NDArray[np.float32] | None
    surroundings: Surroundings
    again: Candidates | None


def ask(
    learned: Learned,
    dataset: Dataset,
    split: Split,
    known: Interactions,
    vectors: npt.NDArray[np.float32],
    settings: Settings,
    most: int | None,
    progress: Progress,
) -> Asked:
    """Return what both stages answer the test's users.

    Parameters
    ----------
    learned
        Both stages.
    dataset, split
        The data, and what of it is held out.
    known
        What may be known at test.
    vectors
        Text vectors of all items, ``float32 (n_items, d)``.
    settings
        All settings.
    most
        At most so many users, drawn by the seed; ``None`` for all.
    progress
        Told of every step.
    """
    log = dataset.interactions
    queries = held_out_queries(dataset, known, split.test, settings, most=most)
    users = queries.users
    retriever = learned.stage_one.retriever(learned.fusion)
    served = retriever.retrieve(
        queries, settings.ranker.rerank, threads=n_threads(settings), progress=progress
    )
    ranker, again = learned.ranker, None
    around = Surroundings.of_known(known, users, queries.excluded, vectors, DEPTH)
    if settings.stage_one.repeat:
        opponent = fit_buy_again(log, split.train, split.validation)
        again = opponent.ranking(known, users, queries.excluded, around.popularity, DEPTH)
    return Asked(
        users=users,
        truth=truth_of(log, split.test, users),
        queries=queries,
        retriever=retriever,
        served=served,
        logits=None if ranker is None else ranker.logits(queries, served, progress=progress),
        surroundings=around,
        again=again,
    )


def systems_of(
    learned: Learned,
    asked: Asked,
    dealt: Groups,
    settings: Settings,
    *,
    quick: bool,
    progress: Progress,
) -> dict[str, Candidates]:
    """Return the lists of every system, worst known first: sources, stage one, opponents, ours.

    Parameters
    ----------
    learned
        Both stages.
    asked
        What they answered.
    dealt
        The labelled lists, by what they are for.
    settings
        All settings.
    quick
        Whether rerankers that read features alone get one setting each instead of a search.
    progress
        Told of every step.
    """
    systems = _each_source(asked.retriever, asked.queries)
    popularity = asked.surroundings.popularity
    systems["popularity"] = popularity_ranking(popularity, asked.queries.excluded, DEPTH)
    if asked.again is not None:
        systems[BUY_AGAIN] = asked.again
    systems[FUSED] = asked.served
    systems |= _opponents(dealt, asked.served, quick=quick, progress=progress)
    ranker = learned.ranker
    if ranker is not None and asked.logits is not None:
        for name, logits in (
            (TEXT_ZEROED, ranker.without_text(asked.queries, asked.served)),
            (RERANKED, asked.logits),
        ):
            systems[name] = ranker.ordered(asked.queries, asked.served, logits, asked.served.k)
    return systems


def _opponents(
    dealt: Groups, served: Candidates, *, quick: bool, progress: Progress
) -> dict[str, Candidates]:
    """Return the served candidates in the order of rerankers that read features alone."""
    train, validation = (FeatureLists(*pooled(part)) for part in (dealt.fit, dealt.stop))
    logistic = LogisticSettings(strengths=(0.1,), interactions=("none",)) if quick else None
    trees = LambdaRankSettings(n_leaves=(8,), min_rows=(200,)) if quick else None
    return {
        "logistic regression": rerank(
            fit_logistic(train, validation, logistic, progress=progress), served
        ),
        "LambdaRank": rerank(fit_lambdarank(train, validation, trees, progress=progress), served),
    }


def _each_source(retriever: Retriever, queries: Queries) -> dict[str, Candidates]:
    out = {}
    step = max(1, 8_000_000 // max(1, queries.n_items))
    for source in retriever.sources:
        parts = []
        for start in range(0, len(queries), step):
            part = queries.take(np.arange(start, min(start + step, len(queries))))
            items, scores = source.answer(part).top(DEPTH)
            parts.append(rank(items, scores, DEPTH))
        items = np.concatenate([part.items for part in parts])
        out[source.name] = Candidates(items, np.concatenate([part.scores for part in parts]))
    return out
