"""How fast stage two reranks one list, beside the cross-encoder that people use today.

A list is a new history of ten events and a hundred candidates; nothing of the user is cached. All
systems take turns on the same lists; the peer, which takes seconds, on the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from benchmarks.data.datasets import BEAUTY, IFDB, MOVIELENS
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.harness.timing import ROUNDS, Floats, ratio, take_turns, timed
from benchmarks.peers.cross_encoder_speed import Peer, make_peer
from benchmarks.stands.engines import (
    ENGINE,
    longest_text,
    short_engine,
    short_overrides,
    short_settings,
)
from benchmarks.stands.floor import matrix_rate, operations
from twofold.engine import Engine
from twofold.indexing.models import resolve_model
from twofold.ranking.ranker import Ranker
from twofold.ranking.runtime import RUNTIMES, runtime_of
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries
from twofold.settings import Settings

HISTORY, CANDIDATES = 10, 100
Form = Literal["vectors", "text"]
FORMS: tuple[Form, ...] = ("vectors", "text")
PEERS = ("float32", "bfloat16")
SOURCES = (
    *(*ENGINE, "benchmarks/suites/rerank.py", "benchmarks/stands/floor.py"),
    "benchmarks/peers/cross_encoder_speed.py",
)


@dataclass(frozen=True)
class _Size:
    """How much is asked: lists and rounds of ours, lists and rounds of the peer, candidates."""

    lists: int
    rounds: int
    peer_lists: int
    peer_rounds: int
    candidates: int


WHOLE, QUICK = _Size(100, ROUNDS, 2, 3, CANDIDATES), _Size(10, 3, 1, 2, 20)


def _cells(plan: Plan) -> list[Cell]:
    settings = short_settings(plan.data, short_overrides(plan))
    return [Cell("one list", _Reranked(plan), settings, sources=SOURCES)]


@dataclass(frozen=True)
class Lists:
    """Lists to rerank, one a query."""

    queries: Queries
    candidates: Candidates
    texts: tuple[str, ...]

    def one(self, number: int) -> tuple[Queries, Candidates]:
        """Return one list as the ranker reads it."""
        which = np.array([number])
        return self.queries.take(which), self.candidates.take(which)

    def spoken(self, number: int) -> tuple[str, list[str]]:
        """Return one list as text: the history, oldest first, and the candidates."""
        asked, served = self.one(number)
        history = " ; ".join(self.texts[item] for item in asked.items)
        return history, [self.texts[item] for item in served.items[0]]


@dataclass(frozen=True)
class _Reranked:
    """Times every runtime and form of the history, and every precision of the peer."""

    plan: Plan

    def __call__(self, place: Place) -> Iterator[Row]:
        plan, size = self.plan, QUICK if self.plan.quick else WHOLE
        overrides = short_overrides(plan)
        with short_engine(plan.data, overrides, plan.progress, runtime="float32") as engine:
            lists = _lists(engine, size)
            ranker = engine.stages.ranker
            if ranker is None:
                raise RuntimeError("the suite builds with a ranker")
            with plan.progress.step("Timing the peer"):
                peers, slow = _time_peers(engine.settings, lists, size)
            with plan.progress.step("Timing the runtimes"):
                ours = _time_ours(ranker, lists, size)
            about = {
                "max_item_tokens": longest_text(engine),
                "candidates": size.candidates,
                "history_events": HISTORY,
                "mean_item_tokens": float(ranker.tables.tokens.lengths().mean()),
            }
        for name, peer in peers.items():
            yield {
                **about,
                "runtime": f"sentence-transformers {name}",
                "joint_layers": "all",
                "history": "text",
                "batch_size": peer.batch_size,
                **timed(slow[name]).told(),
                "n_lists": slow[name].shape[1],
            }
        for row in _ours(ranker, ours, slow, size):
            yield {**about, **row}


def _ours(
    ranker: Ranker, ours: dict[tuple[str, Form], Floats], slow: dict[str, Floats], size: _Size
) -> Iterator[Row]:
    """Yield a row a runtime and form of the history, told beside the peer and the floor."""
    rates = {name: matrix_rate(name) for name in RUNTIMES}
    fastest = min(slow.values(), key=np.median)
    for (name, form), spent in ours.items():
        took = timed(spent)
        row = {
            "runtime": name,
            "joint_layers": ranker.model.shape.joint_layers,
            "history": form,
            **took.told(),
            "n_lists": spent.shape[1],
            "speedup_vs_sentence_transformers": float(np.median(slow["float32"])) / took.p50.value,
            "speedup_vs_fastest_sentence_transformers": float(np.median(fastest)) / took.p50.value,
            **ratio(ours["float32", "vectors"], spent).told("speedup_vs_float32"),
            "matrix_gflops": rates[name] / 1e9,
        }
        if form == "vectors":
            least = 1e3 * operations(ranker.model.shape, size.candidates, HISTORY) / rates[name]
            row |= {"floor_ms": least, "times_floor": took.p50.value / least}
        yield row


def _lists(engine: Engine, size: _Size) -> Lists:
    """Return lists of users with enough events, in the order of a seed."""
    users, stages = engine.histories, engine.stages
    enough = np.flatnonzero(users.lengths() >= HISTORY)
    some = np.random.default_rng(0).permutation(enough)[: size.lists]
    queries = users.take(some).last(HISTORY)
    candidates = stages.retriever.retrieve(queries, size.candidates)
    full = np.flatnonzero(candidates.lengths() == size.candidates)
    return Lists(queries.take(full), candidates.take(full), _texts(engine))


def _texts(engine: Engine) -> tuple[str, ...]:
    """Return the texts of all items, in order of their numbers."""
    return tuple(engine.text(item) for item in engine.items["item_id"])


def _time_peers(
    settings: Settings, lists: Lists, size: _Size
) -> tuple[dict[str, Peer], dict[str, Floats]]:
    """Return each peer and its milliseconds a list."""
    folder = resolve_model(settings.ranker.model).folder
    peers = {name: make_peer(folder, name, *lists.spoken(0)) for name in PEERS}

    def scoring(peer: Peer) -> Callable[[int], object]:
        return lambda number: peer.score(*lists.spoken(number))

    calls = {name: scoring(peer) for name, peer in peers.items()}
    numbers = range(1, size.peer_lists + 1)
    # Choosing the batch size has warmed each of them up.
    return peers, take_turns(calls, numbers, rounds=size.peer_rounds, warm_up=0)


def _time_ours(ranker: Ranker, lists: Lists, size: _Size) -> dict[tuple[str, Form], Floats]:
    """Return the milliseconds a list of each runtime and form of the history."""
    new = ranker.forgetting()

    def scoring(runtime: str, form: Form) -> Callable[[tuple[Queries, Candidates]], object]:
        one = replace(
            new, runtime=runtime_of(runtime), settings=replace(new.settings, history=form)
        )
        return lambda asked: one.logits(*asked)

    which = {f"{name}, {form}": (name, form) for name in RUNTIMES for form in FORMS}
    calls = {told: scoring(*one) for told, one in which.items()}
    asked = [lists.one(number) for number in range(len(lists.queries))]
    spent = take_turns(calls, asked, rounds=size.rounds)
    return {which[told]: each for told, each in spent.items()}


RERANK = Suite(
    "rerank",
    "how fast stage two reranks one list, beside sentence-transformers' cross-encoder",
    _cells,
    (MOVIELENS, BEAUTY, IFDB),
)
