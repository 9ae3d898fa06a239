"""Lists by what a text says of a user, reranked, and both stages beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from benchmarks.data.profiles import read_profiles
from benchmarks.harness.cells import Place, Plan, Row
from benchmarks.stands.absent import Absent
from benchmarks.stands.held_out import split_of
from benchmarks.stands.kept_lists import DEPTH, KS, arrays_of
from benchmarks.stands.pairing import paired_rows
from benchmarks.stands.told import told
from twofold.cache import cache_folder
from twofold.embedding import embedded
from twofold.evaluation.intervals import bootstrap_ratio
from twofold.evaluation.leaks import known_of_split
from twofold.evaluation.metrics import Truth, judge, metric_values
from twofold.evaluation.quality import Ranked, measure_users, quality_rows
from twofold.evaluation.surroundings import Surroundings
from twofold.indexing.item_set import ItemSet
from twofold.indexing.text import TextEncoder
from twofold.indexing.vectors import VectorIndex
from twofold.learning import Learned, learn
from twofold.lessons import n_threads
from twofold.ranking.making import deal
from twofold.ranking.members import Workplace
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.queries import Queries
from twofold.retrieval.sources import TextQuery
from twofold.settings import Settings
from twofold.systems import RERANKED, Asked, ask, systems_of

RETRIEVED, BY_RANKER = "text alone", "text alone, reranked"
KEPT = ", known items kept"
GAINED = ("recall@10", "ndcg@10", "mrr@10")


@dataclass(frozen=True)
class ByProfile:
    """Ranks the test by profiles, and with all that both stages learned, and keeps the lists.

    Parameters
    ----------
    plan, settings
        The data, and all settings.
    most
        At most so many of the test's users; ``None`` for all.
    """

    plan: Plan
    settings: Settings
    most: int | None

    def __call__(self, place: Place) -> Iterator[Row]:
        """Yield a row a system and group, and how systems differ."""
        plan, settings, split = self.plan, self.settings, split_of(self.plan)
        dataset, progress = plan.dataset, plan.progress
        known, _ = known_of_split(dataset.interactions, split, has_times=dataset.has_times)
        index, _ = embedded(dataset, settings, cache_folder() / "benchmarks", progress)
        work = Workplace(place.folder, place.fingerprint, progress=progress)
        learned = learn(dataset, known, index, settings, progress, work)
        asked = ask(learned, dataset, split, known, index.vectors, settings, self.most, progress)
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


def by_profile(
    texts: Sequence[str], queries: Queries, index: VectorIndex, encoder: TextEncoder, k: int
) -> Candidates:
    """Return the items nearest to each user's text by cosine, without those that are excluded.

    Parameters
    ----------
    texts
        What is said of each user of the queries.
    queries
        Who asks, and what must not come back.
    index
        The items' vectors.
    encoder
        What made them.
    k
        Length of the lists.
    """
    source = TextQuery(index, encoder.encode_queries)
    items, scores = source.answer(replace(queries, texts=tuple(texts))).top(k)
    return rank(items, scores, k)


def reranked(learned: Learned, queries: Queries, found: Candidates, threads: int) -> Candidates:
    """Return lists in the order of both stages' ranker, which reads history and features.

    Parameters
    ----------
    learned
        Both stages; without a ranker lists are in the order of stage one.
    queries
        Who asks.
    found
        The lists, wherever they came from; nothing else is ranked.
    threads
        Cores to use.
    """
    limited = replace(queries, eligible=tuple(_only(row, queries.n_items) for row in found.items))
    served = learned.stage_one.retriever(learned.fusion).retrieve(
        limited, found.k, also=found.items, threads=threads
    )
    ranker = learned.ranker
    if ranker is None:
        return served
    return ranker.ordered(limited, served, ranker.logits(limited, served), found.k)


def keeping_all(queries: Queries) -> Queries:
    """Return the queries for which even what is known already may come back."""
    nothing = sp.csr_matrix(queries.excluded.shape, dtype=queries.excluded.dtype)
    return replace(queries, excluded=nothing)


def _only(items: npt.NDArray[np.int64], n_items: int) -> ItemSet:
    mask = np.zeros(n_items, dtype=bool)
    mask[items[items >= 0]] = True
    return ItemSet(mask)
