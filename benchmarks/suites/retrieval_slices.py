"""Stage one for those of whom little is known, and what a diverse list costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.catalogue import Catalogue as Items
from twofold.evaluation.held_out import truth_of
from twofold.evaluation.intervals import Interval, bootstrap_mean, bootstrap_ratio
from twofold.evaluation.metrics import Truth, judge, ndcg, recall
from twofold.evaluation.quality import Ranked
from twofold.evaluation.slices import history_slices, item_slices, slice_rows
from twofold.indexing.interactions import Interactions
from twofold.indexing.progress import Progress
from twofold.learning import Learned, learn
from twofold.ranking.shaping import centre_of
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.retriever import Retriever
from twofold.retrieval.sources import Source
from twofold.rules import RuleBook, Rules

if TYPE_CHECKING:
    from benchmarks.data.catalogues import Catalogue

Int64s = npt.NDArray[np.int64]
DEPTH, K = 100, 10
COLD_SHARE = 0.05
DIVERSITIES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
CAPS = (3, 2, 1)
CATEGORIES = ("genres", "category")  # columns that caps are tried on, where the items have one
N_USERS = 2_000
A_TIME = 256  # users whose scores of all items are held at once
SEEDS = {"users": 4, "cold": 5}


def slices(catalogue: Catalogue, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield the quality of stage one's order, and the recall of all its candidates, by slices."""
    assert catalogue.held is not None, "nothing is held out of a grown catalogue"
    served = _taught(catalogue, catalogue.log, progress, predict_cold=True)
    held = catalogue.held
    users = np.unique(held.users)
    found = _asked(catalogue, catalogue.log, served, users, progress)
    times = catalogue.dataset.has_times
    by_history = history_slices(catalogue.log, users)
    by_age = item_slices(catalogue.log, held, users, has_times=times)
    truth = _truth(held, users)
    everyone = {"all users": np.ones(len(users), dtype=bool), **by_history}
    whole = {"items all": truth, **by_age}
    width = max(found.k, 1)
    # Scores are whole within the first hundred; the union has no order of its own.
    first = {"fused": Ranked(found.items[:, : 2 * DEPTH], found.scores[:, : 2 * DEPTH])}
    union = {"fused": Ranked(found.items)}
    deep = slice_rows(union, truth, everyone, whole, depth=width)
    for row, more in zip(slice_rows(first, truth, everyone, whole, depth=DEPTH), deep, strict=True):
        metrics = {**row.metrics, "recall@union": more.metrics[f"recall@{width}"]}
        yield {
            "system": row.name,
            "slice": row.group,
            "n_users": row.n_users,
            **{name: _told(one) for name, one in metrics.items()},
        }


def diversity(catalogue: Catalogue, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield quality and likeness of lists of ten under each diversity, and under caps.

    ``alike`` is the mean cosine of two items of a list, of text vectors seen from the catalogue's
    mean.
    """
    assert catalogue.held is not None, "nothing is held out of a grown catalogue"
    served = _taught(catalogue, catalogue.log, progress, predict_cold=True)
    users = np.unique(catalogue.held.users)
    users = np.sort(np.random.default_rng(SEEDS["users"]).permutation(users)[:N_USERS])
    found = _asked(catalogue, catalogue.log, served, users, progress)
    truth = _truth(catalogue.held, users)
    dataset, rules = catalogue.dataset, [Rules(diversity=one) for one in DIVERSITIES]
    column = next((one for one in CATEGORIES if one in dataset.table.columns), None)
    if column is not None:
        table = dataset.table
        if table[column].dtype == pl.String:
            table = table.with_columns(pl.col(column).str.split(", "))
        dataset = replace(dataset, table=table)
        rules += [Rules(at_most={column: most}) for most in CAPS]
    vectors = catalogue.exact.vectors
    book = RuleBook(Items.of(dataset), vectors)
    plain: npt.NDArray[np.float64] | None = None
    with progress.step("Lists under rules", total=len(rules)) as task:
        for one in rules:
            items = _shaped(book, one, found)
            values = ndcg(judge(items, truth), K)
            alike = likeness(items, vectors)
            plain = values if plain is None else plain
            yield {
                **one,
                "n_users": len(users),
                "ndcg@10": _told(bootstrap_mean(values, 0)),
                "ndcg@10 - plain": _told(bootstrap_mean(values - plain, 0)),
                # Lists of one item are alike in nothing.
                "alike": None if np.isnan(alike).all() else _told(bootstrap_mean(alike, 0)),
                "length": float((items >= 0).sum(axis=1).mean()),
            }
            task.advance()


def cold_items(catalogue: Catalogue, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield who finds items that nobody has touched, and what that costs the others.

    All interactions of a seeded 5 % of the items are held out of the fit, fusion included. Users
    who took such an item are asked for with the rest of their history: recall of these labels is
    that of the first hundred of stage one's order, of all its candidates, and of the first hundred
    of single sources. Beside it, of the labels held out at the end of each history, those on other
    items: quality for everybody, with the paired difference that guessed factors make.
    """
    assert catalogue.held is not None, "nothing is held out of a grown catalogue"
    world = _ColdWorld.of(catalogue)
    before: dict[str, npt.NDArray[np.float64]] = {}
    for predict in (False, True):
        served = _taught(catalogue, world.known, progress, predict_cold=predict)
        found = _asked(catalogue, world.known, served, world.takers, progress)
        queries = _queries(catalogue, world.known, world.takers)
        lists = {
            "fused": found.items[:, :DEPTH],
            "union": found.items,
            **{
                source.name: _best(source, queries)
                for source in served.sources
                if source.name in ("collaborative", "text")
            },
        }
        for name, items in lists.items():
            yield {
                "system": name,
                "guessed": predict,
                "labels": "of cold items",
                "n_cold": int(world.cold.sum()),
                "n_labels": int(world.taken.n_held_out().sum()),
                "recall": _told(_recall(items, world.taken)),
            }
        others = _asked(catalogue, world.known, served, world.users, progress)
        values = {
            "recall@100": recall(judge(others.items, world.truth), DEPTH),
            "ndcg@10": ndcg(judge(others.items, world.truth), K),
        }
        change = {
            f"{name} - without": _told(bootstrap_mean(one - before[name], 0))
            for name, one in values.items()
            if name in before
        }
        before = before or values
        yield {
            "system": "fused",
            "guessed": predict,
            "labels": "of other items",
            "n_users": len(world.users),
            **{name: _told(bootstrap_mean(one, 0)) for name, one in values.items()},
            **change,
            "cold_in_first_10": float(world.cold[others.items[:, :K]].mean()),
        }


@dataclass(frozen=True)
class _ColdWorld:
    """Some items are new: nothing of them is known, and some users took them.

    Parameters
    ----------
    cold
        Which items, ``bool (n_items,)``.
    known
        All that the catalogue's log tells of the others.
    takers, taken
        Users who took cold items, ``int64``, and which.
    users, truth
        Users with held-out labels on other items, ``int64``, and these.
    """

    cold: npt.NDArray[np.bool_]
    known: Interactions
    takers: Int64s
    taken: Truth
    users: Int64s
    truth: Truth

    @classmethod
    def of(cls, catalogue: Catalogue) -> _ColdWorld:
        log, held = catalogue.log, catalogue.held
        assert held is not None, "a grown catalogue has nothing held out"
        rng = np.random.default_rng(SEEDS["cold"])
        touched = np.unique(log.items)
        cold = np.zeros(log.n_items, dtype=bool)
        cold[rng.permutation(touched)[: max(1, int(COLD_SHARE * len(touched)))]] = True
        known, theirs = log.take(~cold[log.items]), log.take(cold[log.items] & log.labels)
        # Whoever took cold items alone has no history to ask with.
        able = np.intersect1d(np.unique(theirs.users), np.unique(known.users))
        takers = np.sort(rng.permutation(able)[:N_USERS])
        rest = held.take(~cold[held.items])
        users = np.sort(rng.permutation(np.unique(rest.users))[:N_USERS])
        return cls(cold, known, takers, _truth(theirs, takers), users, _truth(rest, users))


def likeness(items: Int64s, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the mean cosine of two items of each list, ``float64 (n,)``; NaN below two texts.

    Parameters
    ----------
    items
        Lists, -1 for padding, ``int64 (n, k)``.
    vectors
        Text vectors, 0 for items without a text, which are left out, ``float32 (n_items, d)``.
    """
    there = (items >= 0) & vectors[items].any(axis=2)
    seen = np.where(there[..., None], vectors[items] - centre_of(vectors), 0).astype(np.float64)
    lengths = np.linalg.norm(seen, axis=2, keepdims=True)
    seen /= np.where(lengths > 0, lengths, 1)
    # The square of the sum holds every pair twice, and each item with itself.
    pairs = np.square(seen.sum(axis=1)).sum(axis=1) - np.square(seen).sum(axis=(1, 2))
    count = there.sum(axis=1)
    count = count * (count - 1)
    out = np.full(len(items), np.nan)
    np.divide(pairs, count, out=out, where=count > 0)
    return out


def _taught(
    catalogue: Catalogue, log: Interactions, progress: Progress, *, predict_cold: bool
) -> Retriever:
    """Return stage one learned from a log, without a ranker."""
    settings = catalogue.settings
    own = replace(settings.stage_one.collaborative, predict_cold=predict_cold)
    plain = replace(
        settings,
        stage_one=replace(settings.stage_one, collaborative=own),
        ranker=replace(settings.ranker, train=False),
    )
    learned: Learned = learn(catalogue.dataset, log, catalogue.index, plain, progress)
    return learned.stage_one.retriever(learned.fusion)


def _queries(catalogue: Catalogue, log: Interactions, users: Int64s) -> Queries:
    return queries_of_users(log, users, max_history=catalogue.settings.stage_one.max_history)


def _asked(
    catalogue: Catalogue, log: Interactions, served: Retriever, users: Int64s, progress: Progress
) -> Candidates:
    """Return all candidates of users, in stage one's order."""
    return served.retrieve(_queries(catalogue, log, users), None, progress=progress)


def _truth(held: Interactions, users: Int64s) -> Truth:
    return truth_of(held, np.ones(len(held), dtype=bool), users)


def _best(source: Source, queries: Queries) -> Int64s:
    """Return the first hundred of a source, ``int64 (n, 100)``."""
    out = np.full((len(queries), DEPTH), -1, dtype=np.int64)
    for start in range(0, len(queries), A_TIME):
        rows = np.arange(start, min(start + A_TIME, len(queries)))
        items = source.answer(queries.take(rows)).top(DEPTH)[0]
        out[rows, : items.shape[1]] = items
    return out


def _shaped(book: RuleBook, rules: Rules, found: Candidates) -> Int64s:
    """Return lists of ten under rules, -1 for padding, ``int64 (n, 10)``."""
    terms = book.read(**rules)
    out = np.full((len(found.items), K), -1, dtype=np.int64)
    for row, (items, scores) in enumerate(zip(found.items, found.scores, strict=True)):
        n = int((items >= 0).sum())

        def ranked(
            depth: int, items: Int64s = items[:n], scores: npt.NDArray[np.float32] = scores[:n]
        ) -> tuple[Int64s, npt.NDArray[np.float32]]:
            return items[:depth], scores[:depth]

        chosen = terms.shaped(K, ranked)[0]
        out[row, : len(chosen)] = chosen
    return out


def _recall(items: Int64s, truth: Truth) -> Interval:
    """Return the share of all labels that stand in their user's list."""
    n_labels = truth.n_held_out().astype(np.float64)
    hits = np.nan_to_num(recall(judge(items, truth), max(1, items.shape[1]))) * n_labels
    return bootstrap_ratio(hits, n_labels, 0)


def _told(one: Interval) -> Mapping[str, float | None]:
    """Return a number with its interval as JSON values."""
    ends = {"mean": one.mean, "low": one.low, "high": one.high}
    return {name: None if np.isnan(value) else value for name, value in ends.items()}


CELLS = {"slices": slices, "diversity": diversity, "cold-items": cold_items}
