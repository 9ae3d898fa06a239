"""How fast stage two reranks one list, beside the cross-encoder that people use today.

A list is a new history of ten events and a hundred candidates; nothing of the user is cached. All
systems take turns on the same lists.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import DataSet
from benchmarks.peers.cross_encoder_speed import Peer, make_peer
from benchmarks.stands.engines import circumstances, short_engine
from benchmarks.stands.floor import matrix_rate, operations
from twofold.engine import Engine
from twofold.evaluation.latency import Latency
from twofold.indexing.models import resolve_model
from twofold.indexing.progress import Progress
from twofold.ranking.ranker import Ranker
from twofold.ranking.runtime import RUNTIMES, runtime_of
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries
from twofold.settings import Settings

HISTORY, CANDIDATES = 10, 100
Form = Literal["vectors", "text"]
FORMS: tuple[Form, ...] = ("vectors", "text")
PEERS = ("float32", "bfloat16")


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


def measure_reranking(
    data: DataSet, overrides: tuple[str, ...], *, quick: bool, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield one record a runtime and form of the history, and one a precision of the peer.

    Parameters
    ----------
    data
        The data set.
    overrides
        Settings beside its own.
    quick
        Whether to score fewer lists.
    progress
        Told of every step.
    """
    with short_engine(data, overrides, progress, runtime="float32") as engine:
        lists = _lists(engine, 40 if quick else 200)
        ranker = engine.stages.ranker
        if ranker is None:
            raise RuntimeError("the suite builds with a ranker")
        with progress.step("Timing the peer"):
            peers = _time_peers(engine.settings, lists, 2 if quick else 6)
        with progress.step("Timing the runtimes"):
            ours = _time_ours(ranker, lists)
        about = {
            **circumstances("rerank", data, engine),
            "candidates": CANDIDATES,
            "history_events": HISTORY,
            "mean_item_tokens": float(ranker.tables.tokens.lengths().mean()),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    slow = {name: float(np.median(spent)) for name, (_, spent) in peers.items()}
    for name, (peer, spent) in peers.items():
        yield {
            **about,
            "runtime": f"sentence-transformers {name}",
            "joint_layers": "all",
            "history": "text",
            "batch_size": peer.batch_size,
            **_percentiles(spent),
        }
    rates = {name: matrix_rate(name) for name in RUNTIMES}
    for (name, form), spent in ours.items():
        p50 = float(np.median(spent))
        record = {
            **about,
            "runtime": name,
            "joint_layers": ranker.model.shape.joint_layers,
            "history": form,
            **_percentiles(spent),
            "speedup_vs_sentence_transformers": slow["float32"] / p50,
            "speedup_vs_fastest_sentence_transformers": min(slow.values()) / p50,
            "matrix_gflops": rates[name] / 1e9,
        }
        if form == "vectors":
            least = operations(ranker.model.shape, CANDIDATES, HISTORY) / rates[name]
            record |= {"floor_ms": 1e3 * least, "times_floor": p50 / least}
        yield record


def _lists(engine: Engine, n: int) -> Lists:
    """Return lists of users with enough events, in the order of a seed."""
    users, stages = engine.histories, engine.stages
    enough = np.flatnonzero(users.lengths() >= HISTORY)
    some = np.random.default_rng(0).permutation(enough)[:n]
    queries = users.take(some).last(HISTORY)
    candidates = stages.retriever.retrieve(queries, CANDIDATES)
    full = np.flatnonzero(candidates.lengths() == CANDIDATES)
    return Lists(queries.take(full), candidates.take(full), _texts(engine))


def _texts(engine: Engine) -> tuple[str, ...]:
    """Return the texts of all items, in order of their numbers."""
    return tuple(engine.text(item) for item in engine.items["item_id"])


def _time_peers(
    settings: Settings, lists: Lists, n: int
) -> dict[str, tuple[Peer, npt.NDArray[np.float64]]]:
    """Return each peer and its seconds a list, taking turns."""
    folder = resolve_model(settings.ranker.model).folder
    peers = {name: make_peer(folder, name, *lists.spoken(0)) for name in PEERS}
    spent: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(1, n + 1):
        for name, peer in peers.items():
            spent[name].append(peer.score(*lists.spoken(number)))
    return {name: (peer, np.array(spent[name])) for name, peer in peers.items()}


def _time_ours(ranker: Ranker, lists: Lists) -> dict[tuple[str, Form], npt.NDArray[np.float64]]:
    """Return the seconds a list of each runtime and form of the history, taking turns."""
    new = ranker.forgetting()
    served = {
        (name, form): replace(
            new, runtime=runtime_of(name), settings=replace(new.settings, history=form)
        )
        for name in RUNTIMES
        for form in FORMS
    }
    spent: dict[tuple[str, Form], list[float]] = {which: [] for which in served}
    for number in range(len(lists.queries)):
        asked, candidates = lists.one(number)
        for which, each in served.items():
            begun = time.perf_counter()
            each.logits(asked, candidates)
            spent[which].append(time.perf_counter() - begun)
    warm_up = min(10, len(lists.queries) // 2)
    return {which: np.array(each[warm_up:]) for which, each in spent.items()}


def _percentiles(seconds: npt.NDArray[np.float64]) -> dict[str, float | int]:
    latency = Latency.of(1e3 * seconds)
    named = {f"{name}_ms": value for name, value in latency.percentiles().items()}
    return {**named, "n_lists": latency.n}
