"""Stage one at scale: its indexes beside other libraries, whole queries, filters and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.data.catalogues import SEEDS, Catalogue, catalogue_of, held_out_queries
from benchmarks.data.datasets import BEAUTY, MOVIELENS
from benchmarks.harness.cells import Cell, Option, Place, Plan, Row, Suite
from benchmarks.harness.timing import spread, take_turns, timed
from benchmarks.stands.bare import bare_calls
from benchmarks.stands.engines import ENGINE, short_artefact
from benchmarks.stands.nearest import (
    Centres,
    Finder,
    K,
    Tuned,
    faiss_by_hand,
    hnswlib_by_hand,
    ours,
    rates,
    usearch_by_hand,
)
from benchmarks.suites import retrieval_slices as slices
from twofold.engine import Engine
from twofold.evaluation.hardware import usable_cores
from twofold.indexing.efforts import recall_of
from twofold.indexing.item_set import ItemSet
from twofold.indexing.progress import Progress
from twofold.learning import learn
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.retriever import Retriever
from twofold.retrieval.stage_one import fit_stage_one

PEERS = ("faiss", "hnswlib", "usearch")
DEPTHS = (100, 200)
N_QUERIES, N_USERS = 500, 300  # of the first, the index's recall is told on as many as there are
N_AT_ONCE = 25_000
QUICK_QUERIES, QUICK_USERS, QUICK_AT_ONCE = 50, 20, 300
BATCH_ROUNDS = 3
# Without what learns a fusion or builds an artefact first.
QUICK_CELLS = ("index", "hnswlib", "stage-one", "filters", "batch")
SMALL = 200_000  # items up to which the whole grid is built
SHARES = (0.001, 0.01, 0.1, 0.5)
# What finds and fuses, without what ranks: rows of these cells outlive a change of the ranker.
FOUND = (
    *("indexing", "retrieval", "evaluation", "twofold/embedding.py"),
    *("benchmarks/suites/retrieval.py", "benchmarks/harness/timing.py"),
    *("benchmarks/data/catalogues.py", "benchmarks/data/grown.py"),
    *("benchmarks/stands/bare.py", "benchmarks/stands/nearest.py"),
)
FOUND_UNDER = ("data", "text", "index", "stage_one", "seed", "threads")
FOUND_CELLS = ("index", *PEERS, "stage-one", "filters")
SOURCES = (*ENGINE, *FOUND, "benchmarks/suites/retrieval_slices.py")


def _cells(plan: Plan) -> list[Cell]:
    """Return one cell a question; those on held-out labels only where the catalogue is real."""
    stand, settings = _Stand(plan), plan.settings()
    measured: dict[str, Callable[[], Iterator[Row]]] = {
        "index": lambda: _index(stand.catalogue),
        **{peer: partial(_beside, stand, peer) for peer in PEERS},
        "stage-one": lambda: _stage_one(stand),
        "filters": lambda: _filters(*stand.served),
        "batch": lambda: _batch(stand),
    }
    if not stand.grown:
        measured["recall"] = lambda: _recall(stand.catalogue, plan.progress)
        measured |= {one: partial(_of, stand, slice_) for one, slice_ in slices.CELLS.items()}

    def cell(name: str) -> Cell:
        sources, reads = (FOUND, FOUND_UNDER) if name in FOUND_CELLS else (SOURCES, ())
        measure = _Measured(stand, measured[name])
        return Cell(name, measure, settings, sources=sources, reads=reads)

    return [cell(name) for name in measured if not plan.quick or name in QUICK_CELLS]


@dataclass(frozen=True)
class _Stand:
    """The catalogue, and stage one over it, made when the first cell asks for them."""

    plan: Plan

    @property
    def grown(self) -> bool:
        return self.plan.options["items"] is not None

    @cached_property
    def catalogue(self) -> Catalogue:
        plan = self.plan
        return catalogue_of(plan.data, plan.settings(), plan.options["items"], plan.progress)

    @cached_property
    def served(self) -> tuple[Retriever, Queries]:
        """Stage one over the catalogue, and users to ask for."""
        catalogue, settings = self.catalogue, self.catalogue.settings
        fitted = fit_stage_one(
            catalogue.log,
            catalogue.index,
            settings.stage_one,
            has_times=True,
            search=settings.index,
            seed=settings.seed,
            threads=usable_cores(),
            progress=self.plan.progress,
        )
        served = fitted.retriever(Fusion("zscore", (1.0,) * len(fitted.sources())))
        known = np.unique(catalogue.log.users)
        n = QUICK_USERS if self.plan.quick else N_USERS
        users = np.random.default_rng(SEEDS["queries"]).permutation(known)[:n]
        asked = queries_of_users(catalogue.log, users, max_history=settings.stage_one.max_history)
        return served, asked

    def artefact(self) -> Path:
        """Return an artefact of the catalogue without a ranker."""
        plan = self.plan
        return short_artefact(plan.data, (*plan.overrides, "ranker.train=false"), plan.progress)


@dataclass(frozen=True)
class _Measured:
    """Measures one cell, and tells of the catalogue beside it."""

    stand: _Stand
    measure: Callable[[], Iterator[Row]]

    def __call__(self, place: Place) -> Iterator[Row]:
        catalogue = self.stand.catalogue
        about = {
            "grown": self.stand.grown,
            "n_items": len(catalogue.exact),
            "dim": catalogue.exact.dimension,
            "device": catalogue.index.device,
            "k": K,
        }
        for row in self.measure():
            yield {**about, **row}


def _index(catalogue: Catalogue) -> Iterator[Row]:
    """Yield what was tried on the sample, and what was chosen."""
    proposer = catalogue.index.proposer
    if proposer is None:
        yield {"index": "exact"}
        return
    about = proposer.about
    spent = {name: about[name] for name in ("choosing_s", "building_s")}
    spent["tuned_s"] = sum(spent.values())
    for trial in (*about["trials"], about["chosen"]):
        chosen = trial is about["chosen"]
        yield {
            "index": trial["kind"],
            "effort": trial["effort"],
            "over": trial["over"],
            "recall": trial["recall"],
            "lowest": trial["lowest"],
            "p50_ms": trial["ms"],
            "bytes_per_item": trial["bytes_an_item"] + 4 * catalogue.exact.dimension,
            "tried_on": trial["n_items"],
            "chosen": chosen,
            "build_s": trial["build_s"],
            "curve": trial["curve"],
            **(spent if chosen else {}),
        }


def _of(stand: _Stand, measure: Callable[[Catalogue, Progress], Iterator[Row]]) -> Iterator[Row]:
    return measure(stand.catalogue, stand.plan.progress)


def _beside(stand: _Stand, peer: str) -> Iterator[Row]:
    """Yield twofold's index and a peer's in turns, at the same recall.

    Ours was tuned on other queries, and its recall is told on all of these. Peers are tuned on the
    very ones that they are timed with, until they find as much as ours does on them.
    """
    catalogue, queries = stand.catalogue, held_out_queries(stand.catalogue)
    # Mapped from a FAISS file they stand at odd addresses, which not every library takes.
    vectors, threads = np.require(catalogue.exact.vectors, requirements=["C", "A"]), usable_cores()
    truth = catalogue.exact.search(queries, K)[1]
    proposer = catalogue.index.proposer
    own = ours(catalogue.index, 0.0 if proposer is None else proposer.about["building_s"])
    found = catalogue.index.search(queries, K)[1]
    told = {own.name: recall_of(found, truth)}
    n = QUICK_QUERIES if stand.plan.quick else N_QUERIES
    asked, truth = queries[:n], truth[:n]
    target = max(catalogue.settings.index.recall_target, recall_of(found[:n], truth))
    finders: list[Finder] = [own]
    with stand.plan.progress.step(f"Building {peer}"):
        for one in _peers(peer, vectors, threads):
            finder, recall = one.reaching(target, asked, truth)
            finders.append(finder)
            told[finder.name] = recall
    for n_threads in (1, 2):
        rows = list(rates(finders, asked, n_threads))
        for row in rows:
            yield {
                **row,
                "peer": row["index"] != own.name,
                "recall": told[row["index"]],
                "held_out": len(queries) if row["index"] == own.name else len(asked),
                "reached": told[row["index"]] >= target,
                "ours_over_this": rows[0]["qps"] / row["qps"],
            }


def _peers(peer: str, vectors: npt.NDArray[np.float32], threads: int) -> Iterator[Tuned]:
    if peer == "hnswlib":
        yield hnswlib_by_hand(vectors, threads)
    elif peer == "usearch":
        yield usearch_by_hand(vectors, threads)
    else:
        centres: Centres = {}
        for kind in _grid(*vectors.shape):
            yield from faiss_by_hand(vectors, kind, threads, centres)


def _grid(n_items: int, dimension: int) -> Iterator[str]:
    """Yield what somebody who knows FAISS would try, less of it where a build takes minutes."""
    codes = f"PQ{dimension // 2}x4fs"
    small = n_items <= SMALL
    for cells in (4, 8) if small else (4,):
        for kind in ("SQ8", codes, f"{codes}r"):
            yield f"IVF{int(cells * n_items**0.5)},{kind},RFlat"
    if small:
        yield f"IVF{int(4 * n_items**0.5)},Flat"
        yield "HNSW32,Flat"


def _alone(queries: Queries) -> list[Queries]:
    return [queries.take(np.array([number])) for number in range(len(queries))]


def _stage_one(stand: _Stand) -> Iterator[Row]:
    """Yield the time of whole queries beside the library calls that they rest on."""
    served, queries = stand.served
    asked = _alone(queries)
    calls = bare_calls(served.sources)
    whole = timed(take_turns({"whole": lambda one: served.retrieve(one, K)}, asked)["whole"])
    # One thread each, which suits single queries best.
    with threadpool_limits(1):
        bare = np.median([[call(one, K) for call in calls.values()] for one in asked], axis=0)
    parts = dict(zip(calls, (1e3 * bare).tolist(), strict=True))
    factors, proposer = _factor_index(served), stand.catalogue.index.proposer
    yield {
        **whole.told(),
        "raw_ms": sum(parts.values()),
        "raw_parts_ms": parts,
        "ratio_vs_raw": whole.p50.value / sum(parts.values()),
        "index": "exact" if proposer is None else proposer.factory,
        "factors": "exact" if factors is None else factors,
    }


def _factor_index(served: Retriever) -> str | None:
    for source in served.sources:
        factors = getattr(source, "factors", None)
        if factors is not None and factors.index.proposer is not None:
            return str(factors.index.proposer.factory)
    return None


def _filters(served: Retriever, queries: Queries) -> Iterator[Row]:
    """Yield the time of queries limited to a random share of the items, in turns with free ones."""
    rng = np.random.default_rng(SEEDS["filters"])
    some = {share: ItemSet(rng.random(queries.n_items) < share) for share in SHARES}
    limited = {
        1.0: queries,
        **{share: replace(queries, eligible=(one,) * len(queries)) for share, one in some.items()},
    }
    asked = {share: _alone(one) for share, one in limited.items()}

    def asking(share: float) -> Callable[[int], object]:
        return lambda row: served.retrieve(asked[share][row], K, least=K)

    spent = take_turns({str(one): asking(one) for one in limited}, range(len(queries)))
    took = {share: timed(spent[str(share)]) for share in limited}
    yield {"share": 1.0, **took[1.0].told()}
    for share in SHARES:
        found = served.retrieve(limited[share], K, least=K)
        there = [
            min(K, len(limited[share].admission.open(row))) for row in range(len(limited[share]))
        ]
        yield {
            "share": share,
            "n_eligible": len(some[share]),
            "all_k_came": bool((found.lengths() == there).all()),
            **took[share].told(),
            "p99_ratio": took[share].p99.value / took[1.0].p99.value,
        }


def _batch(stand: _Stand) -> Iterator[Row]:
    """Yield users a second, one by one and all at once: of stage one, and of an engine's calls."""
    (served, queries), catalogue = stand.served, stand.catalogue
    known = np.unique(catalogue.log.users)[: QUICK_AT_ONCE if stand.plan.quick else N_AT_ONCE]
    history = catalogue.settings.stage_one.max_history
    everyone = queries_of_users(catalogue.log, known, max_history=history)
    served.retrieve(everyone.take(np.arange(min(300, len(known)))), K)
    yield _at_once(
        len(known),
        lambda: served.retrieve(everyone, K, threads=usable_cores()),
        lambda one: served.retrieve(one, K),
        _alone(queries),
    )
    if stand.grown or stand.plan.quick:
        return
    with Engine.load(stand.artefact(), runtime="float32") as engine:
        rng = np.random.default_rng(SEEDS["queries"])
        some = [engine.user_ids[user] for user in rng.permutation(len(engine.user_ids))]
        some = some[: len(queries)]
        engine.retrieve_batch(some, K)
        yield {
            "system": "engine",
            **_at_once(
                len(engine.user_ids),
                lambda: engine.retrieve_batch(None, K),
                lambda user: engine.retrieve(user, K),
                some,
            ),
        }


def _at_once(
    n: int, whole: Callable[[], object], one: Callable[[Any], object], asked: Sequence[Any]
) -> Row:
    """Return users a second of one call for all `n`, and of calls one by one, rounds in turns."""
    calls = {"one": lambda _: [one(each) for each in asked], "whole": lambda _: whole()}
    one(asked[0])
    spent = take_turns(calls, [None], rounds=BATCH_ROUNDS, warm_up=0)
    single, batch = (1e-3 * spent[name][:, 0] for name in calls)
    qps = spread(n / float(np.median(batch)), n / batch)
    single_qps = spread(len(asked) / float(np.median(single)), len(asked) / single)
    return {
        "users": n,
        **qps.told("qps"),
        **single_qps.told("single_qps"),
        "times_single": qps.value / single_qps.value,
    }


def _recall(catalogue: Catalogue, progress: Progress) -> Iterator[Row]:
    """Yield the share of held-out labels among the candidates, and what each source adds.

    The fusion is learned on labels before those. Nothing is held out of a grown catalogue.
    """
    if catalogue.held is None:
        raise RuntimeError("nothing is held out of a grown catalogue")
    settings = catalogue.settings
    plain = replace(settings, ranker=replace(settings.ranker, train=False))
    learned = learn(catalogue.dataset, catalogue.log, catalogue.index, plain, progress)
    served = learned.stage_one.retriever(learned.fusion)
    users, history = np.unique(catalogue.held.users), settings.stage_one.max_history
    queries = queries_of_users(catalogue.log, users, max_history=history)
    wanted = sp.csr_matrix(
        (np.ones(len(catalogue.held), dtype=bool), (catalogue.held.users, catalogue.held.items)),
        shape=(catalogue.log.n_users, catalogue.log.n_items),
    )[users]
    found = served.retrieve(queries, max(DEPTHS), progress=progress)
    rows = np.arange(len(users))[:, None]
    hits = np.asarray(wanted[rows, np.maximum(found.items, 0)].todense()) & (found.items >= 0)
    for depth in DEPTHS:
        yield {
            "system": "fused",
            "method": learned.fusion.method,
            "depth": depth,
            "recall": float(hits[:, :depth].sum() / wanted.nnz),
        }
    if found.sources is None:
        return
    for bit, name in enumerate(source.name for source in served.sources):
        own = hits & (found.sources >> np.uint32(bit) & 1 > 0)
        alone = hits & (found.sources == np.uint32(1 << bit))
        yield {
            "system": name,
            "depth": max(DEPTHS),
            "recall": float(own.sum() / wanted.nnz),
            "only_it": float(alone.sum() / wanted.nnz),
        }


RETRIEVAL = Suite(
    "retrieval",
    "stage one at scale: indexes beside other libraries, whole queries, filters, batches, recall",
    _cells,
    (MOVIELENS, BEAUTY),
    (Option("items", None, "grow the catalogue to so many", int),),
)
