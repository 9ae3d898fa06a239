"""The plain cross-encoder in the quality suite: trained once, asked in parts, paired with ours.

It reranks the very candidates that ours reranks, of users drawn by the seed: a list takes it
seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.harness.cells import Cell, Place, Plan, Row
from benchmarks.peers.cross_encoder import (
    Recipe,
    history_texts,
    pairs_of,
    scores,
    seeded_users,
    train,
)
from benchmarks.stands.bench import Bench
from benchmarks.stands.held_out import split_of
from benchmarks.stands.kept_lists import arrays_of, lists_of
from benchmarks.stands.pairing import paired_rows
from benchmarks.stands.told import told
from twofold.cache import cache_folder
from twofold.evaluation.leaks import known_of_split
from twofold.evaluation.quality import Ranked, measure_users, quality_rows
from twofold.evaluation.surroundings import Surroundings
from twofold.held_out_queries import held_out_queries
from twofold.indexing.errors import InputError
from twofold.indexing.models import resolve_model
from twofold.lessons import n_threads
from twofold.retrieval.candidates import rank
from twofold.settings import Settings
from twofold.systems import FUSED, RERANKED

Int64s = npt.NDArray[np.int64]
NAME = "plain cross-encoder"
TRAINING = f"{NAME}: training"
KS = (10,)
# What the lists that it is trained on depend on, and the encoder that it starts from.
TAUGHT_BY = (
    *("data", "text", "index", "stage_one", "seed", "threads", "window_labels", "windows"),
    *("skip_labels", "ranker.train", "ranker.rerank", "ranker.model"),
)
SOURCES = (
    *("indexing", "retrieval", "ranking/lists.py", "twofold/lessons.py", "evaluation/metrics.py"),
    *("benchmarks/peers/cross_encoder.py", "benchmarks/suites/quality_cross_encoder.py"),
)


def cross_encoder_cells(
    plan: Plan, settings: Settings, ours: str, *, n_users: int
) -> Iterator[Cell]:
    """Yield the cell that trains it, those that ask it, and the one that measures it beside ours.

    Parameters
    ----------
    plan, settings
        The data set and its settings.
    ours
        Name of the cell that keeps the lists of our systems.
    n_users
        How many users to ask for, fewer where there are fewer.
    """
    recipe = Recipe()
    also = {"recipe": asdict(recipe), "n_users": n_users}
    trained = _Trained(plan, settings, recipe)
    yield Cell(TRAINING, trained, settings, also, SOURCES, reads=TAUGHT_BY)
    parts = []
    for number in range(len(seeded_users(n_users, settings.seed, n_users))):
        asked = _Asked(plan, settings, ours, n_users, number)
        parts.append(f"{NAME}: part {number + 1}")
        yield Cell(parts[-1], asked, settings, also, SOURCES, (ours, TRAINING), keeps=True)
    measured = _Measured(plan, settings, ours, n_users, tuple(parts))
    yield Cell(NAME, measured, settings, also, SOURCES, (ours, *parts), keeps=True)


@dataclass(frozen=True)
class _Trained:
    """Fine-tunes it on the lists that ours is trained on."""

    plan: Plan
    settings: Settings
    recipe: Recipe

    def __call__(self, place: Place) -> Iterator[Row]:
        plan = self.plan
        bench = Bench.of(plan.data, self.settings, plan.dataset, plan.progress, most=1)
        seed, texts = self.settings.seed, plan.dataset.texts
        folder = train(
            pairs_of(bench.lessons.lists, texts, self.recipe, seed),
            resolve_model(self.settings.ranker.model),
            self.recipe,
            seed=seed,
            threads=n_threads(self.settings),
            progress=plan.progress,
        )
        yield {"kind": "training", "system": NAME, "model": folder.name, **asdict(self.recipe)}


@dataclass(frozen=True)
class _Asked:
    """Scores the candidates of some of the users."""

    plan: Plan
    settings: Settings
    ours: str
    n_users: int
    number: int

    def __call__(self, place: Place) -> Iterator[Row]:
        model = cache_folder() / "benchmarks" / place.rows(TRAINING)[0]["model"]
        if not model.exists():
            raise InputError(
                f"the {NAME} was trained on another machine or is gone from the cache; run "
                f"--cells '{TRAINING}' --again first"
            )
        kept = place.kept(self.ours)
        which = _users(len(kept["users"]), self.n_users, self.settings.seed)[self.number]
        texts, served = self.plan.dataset.texts, lists_of(kept)[0][FUSED].items[which]
        dataset, split = self.plan.dataset, split_of(self.plan)
        known, _ = known_of_split(dataset.interactions, split, has_times=dataset.has_times)
        queries = held_out_queries(dataset, known, split.test, self.settings)
        histories = queries.take(which)
        logits = scores(
            model,
            history_texts(histories, texts),
            [[texts[item] for item in row if item >= 0] for row in served],
        )
        ordered = rank(served, _padded(logits, served.shape[1]), served.shape[1])
        place.keep({"which": which, "items": ordered.items, "scores": ordered.scores})
        yield {"kind": "part", "system": NAME, "n_users": len(which)}


@dataclass(frozen=True)
class _Measured:
    """Its lists beside ours, of the same users."""

    plan: Plan
    settings: Settings
    ours: str
    n_users: int
    parts: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        kept = [place.kept(part) for part in self.parts]
        kept = [part for part in kept if len(part["which"])]
        which = np.concatenate([part["which"] for part in kept])
        lists, truth = lists_of(place.kept(self.ours))
        truth = truth.take(which)
        systems = {
            name: Ranked(
                lists[name].items[which],
                None if (scored := lists[name].scores) is None else scored[which],
            )
            for name in (RERANKED, FUSED)
            if name in lists
        }
        systems[NAME] = Ranked(
            np.concatenate([part["items"] for part in kept]),
            np.concatenate([part["scores"] for part in kept]),
        )
        users = place.kept(self.ours)["users"][which]
        place.keep(arrays_of({NAME: systems[NAME]}, truth, users))
        labels = self.plan.dataset.interactions
        around = Surroundings(np.bincount(labels.items, minlength=labels.n_items))
        values = measure_users(systems, truth, around, KS)
        group = f"{len(which)} users drawn"
        split = split_of(self.plan).name
        for row in quality_rows(values, seed=self.settings.seed):
            yield told(replace(row, group=group), "quality", split)
        first = RERANKED if RERANKED in systems else FUSED
        for pair in paired_rows(systems, truth, first, KS):
            if pair["other"] == NAME:
                yield {**pair, "group": group}


def _users(n: int, most: int, seed: int) -> list[Int64s]:
    """Return places of the users of each part, empty ones where there are fewer than `most`."""
    drawn = list(seeded_users(n, seed, most))
    n_parts = len(seeded_users(most, seed, most))
    return [*drawn, *[np.empty(0, dtype=np.int64)] * (n_parts - len(drawn))]


def _padded(told: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """Return scores as wide as the lists they are of."""
    return np.pad(told, ((0, 0), (0, width - told.shape[1])), constant_values=-np.inf)
