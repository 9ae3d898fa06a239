"""What a build costs: beside the library calls it makes, and as the log grows."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.data.datasets import BEAUTY, COMPLETE_JOURNEY, MOVIELENS
from benchmarks.data.grown import MARK, NOISE, grown_interactions, grown_items
from benchmarks.harness.cells import Cell, Option, Place, Plan, Row, Suite
from benchmarks.stands.engines import SHORT
from benchmarks.stands.own_process import told_by
from twofold.cache import cache_folder
from twofold.indexing.columns import map_columns
from twofold.indexing.embedding_cache import EmbeddingCache
from twofold.indexing.errors import InputError
from twofold.indexing.tables import Table, read_table
from twofold.indexing.text import TextEncoder
from twofold.indexing.vectors import normalised
from twofold.indexing.writer import CACHE
from twofold.settings import Settings, load_settings

WANTED = 1.15
SIZES = "10k 100k 1M 10M"
QUICK_SIZES = "1k 10k"
QUICK_EVENTS = 20_000
QUICK = (*SHORT, "ranker.rerank=20", "ranker.training.max_lists=64")
NO_RANKER = ("ranker.train=false",)
SEED, CHUNK, TEXT = 0, 1 << 16, "title"
UNITS = {"k": 1_000, "M": 1_000_000}
SOURCES = (
    *("indexing", "retrieval", "ranking", "evaluation", "twofold"),
    *("benchmarks/suites/build.py", "benchmarks/data/grown.py", "benchmarks/stands/built.py"),
    *("benchmarks/stands/steps.py", "benchmarks/stands/watching.py"),
)
EMBEDDED = (
    "no text is embedded: vectors of the real titles, made once, are in the build's cache, and "
    f"those of copies of items are the same moved by noise of length {NOISE}"
)
UNCACHED = (
    "the build begins with an empty folder: no text vector is cached, on neither side; no runtime "
    "is measured by a build; numba's machine code is taken from where it is kept"
)


def _cells(plan: Plan) -> list[Cell]:
    """Return the cell beside libraries, or where the log is large one a size that it grows to."""
    sizes = plan.options.get("sizes") or ""
    if not sizes and plan.data.name == COMPLETE_JOURNEY:
        sizes = QUICK_SIZES if plan.quick else SIZES
    if not sizes:
        one = _Libraries(plan)
        return [Cell("libraries", one, one.settings, sources=SOURCES)]
    grown = [_Grown(plan, size) for size in sizes.split()]
    return [Cell(one.size, one, one.settings, sources=SOURCES) for one in grown]


@dataclass(frozen=True)
class _Libraries:
    """Builds, and times the library calls in it, and some of them again by themselves."""

    plan: Plan

    @property
    def overrides(self) -> tuple[str, ...]:
        usual = (*self.plan.data.settings, *self.plan.overrides)
        return (*usual, *QUICK) if self.plan.quick else usual

    @property
    def settings(self) -> Settings:
        return load_settings(None, self.overrides)

    def __call__(self, place: Place) -> Iterator[Row]:
        data = self.plan.data
        with _folder() as folder:
            interactions, made = data.interactions, "all interactions"
            if self.plan.quick:
                interactions = folder / "interactions.parquet"
                events = read_table(data.interactions, "interactions")
                some = some_users(events.frame, _columns(events)["user"], QUICK_EVENTS)
                some.write_parquet(interactions)
                made = f"users by chance, at least {QUICK_EVENTS:,} interactions of them"
            told = _built(folder, interactions, data.items, self.overrides, watch=True)
        yield from _steps(told, {"made": made})
        for one in told["libraries"]:
            yield {"kind": "library", "made": made, **one}
        bare = sum(one["bare_seconds"] for one in told["libraries"])
        inside = sum(one["inside_seconds"] for one in told["libraries"])
        yield {
            **_whole(told, {"made": made}),
            "caches": UNCACHED,
            "libraries_seconds": bare,
            "ratio": told["seconds"] / bare,
            "inside_seconds": inside,
            "ratio_inside": told["seconds"] / inside,
            "wanted": WANTED,
        }


@dataclass(frozen=True)
class _Grown:
    """Builds from so many interactions, without a ranker."""

    plan: Plan
    size: str

    @property
    def overrides(self) -> tuple[str, ...]:
        return (*self.plan.data.settings, *self.plan.overrides, *NO_RANKER)

    @property
    def settings(self) -> Settings:
        return load_settings(None, self.overrides)

    def __call__(self, place: Place) -> Iterator[Row]:
        n, data = number_of(self.size), self.plan.data
        table, events = (
            read_table(data.items, "items"),
            read_table(data.interactions, "interactions"),
        )
        item, columns, log = (
            map_columns(table, ("item",), {})["item"],
            _columns(events),
            events.frame,
        )
        log = log.filter(pl.col(columns["item"]).is_in(table.frame[item].implode()))
        made = f"the earliest {n:,} of {len(log):,} interactions"
        if n > len(log):
            made = f"{n:,} interactions grown from {len(log):,} by copies; see data/grown.py"
        with _folder() as folder:
            interactions, items = folder / "interactions.parquet", folder / "items.parquet"
            log = grown_interactions(log, columns, n, seed=SEED)
            catalogue = grown_items(table.frame, item, TEXT, log[columns["item"]])
            log.write_parquet(interactions)
            catalogue.write_parquet(items)
            self._embed(catalogue[TEXT], folder / "out" / CACHE)
            del log, events, table, catalogue
            told = _built(folder, interactions, items, self.overrides, watch=False)
        about = {"made": made, "texts": EMBEDDED}
        yield from _steps(told, about)
        yield _whole(told, about)

    def _embed(self, titles: pl.Series, cache: Path) -> None:
        """Put the vectors of titles where the build looks for them."""
        texts = sorted({one for one in titles.to_list() if one and one.strip()})
        real = [re.sub(f"{MARK}[0-9]+", "", text) for text in texts]
        encoder = TextEncoder.load(self.settings.text)
        known = cache_folder() / "benchmarks"
        known.mkdir(parents=True, exist_ok=True)
        distinct = sorted(set(real))
        with EmbeddingCache(known) as before:
            vectors = encoder.encode_documents(distinct, cache=before, progress=self.plan.progress)
        places = {text: place for place, text in enumerate(distinct)}
        rng = np.random.default_rng(SEED)
        with EmbeddingCache(cache) as kept:
            for start in range(0, len(texts), CHUNK):
                some = texts[start : start + CHUNK]
                rows = vectors[[places[text] for text in real[start : start + CHUNK]]]
                noise = rng.standard_normal(rows.shape, dtype=np.float32)
                moved = normalised(rows + NOISE / np.sqrt(rows.shape[1]) * noise)
                copy = np.array([MARK in text for text in some])[:, None]
                kept.put(some, np.where(copy, moved, rows), encoder.cache_key())


def some_users(log: pl.DataFrame, user: str, n: int) -> pl.DataFrame:
    """Return all interactions of users drawn by chance, as many users as have `n` or more."""
    counts = log.group_by(user, maintain_order=True).len()
    counts = counts.sample(fraction=1.0, shuffle=True, seed=SEED)
    before = counts["len"].cum_sum() - counts["len"]
    return log.filter(pl.col(user).is_in(counts.filter(before < n)[user].implode()))


def number_of(size: str) -> int:
    """Return the number behind ``10k`` or ``1M``.

    Raises
    ------
    InputError
        If it is none.
    """
    found = re.fullmatch(r"([1-9][0-9]*)([kM]?)", size)
    if found is None:
        raise InputError(f"a size such as 500, 10k or 1M was expected, came '{size}'")
    return int(found[1]) * UNITS.get(found[2], 1)


def _columns(table: Table) -> dict[str, str]:
    return map_columns(table, ("user", "item", "time"), {})


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder in which a build may take room, gone afterwards."""
    below = cache_folder() / "benchmarks"
    below.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=below, prefix="build-") as folder:
        yield Path(folder)


def _built(
    folder: Path, interactions: Path, items: Path, overrides: tuple[str, ...], *, watch: bool
) -> dict[str, Any]:
    """Return what a build in a process of its own tells."""
    job = folder / "job.json"
    asked = {
        "interactions": str(interactions.resolve()),
        "items": str(items.resolve()),
        "out": str(folder / "out"),
        "settings": list(overrides),
        "watch": watch,
    }
    job.write_text(json.dumps(asked), encoding="utf-8")
    return told_by("benchmarks.stands.built", str(job))


def _steps(told: dict[str, Any], about: Row) -> Iterator[Row]:
    """Yield a row a step, and one for what is between them."""
    for one in told["steps"]:
        yield {"kind": "step", **about, "n_interactions": told["n_interactions"], **one}
    between = told["seconds"] - sum(one["seconds"] for one in told["steps"])
    one = {"step": "between steps", "times": 1, "seconds": between, "peak_mb": None}
    yield {"kind": "step", **about, "n_interactions": told["n_interactions"], **one}


def _whole(told: dict[str, Any], about: Row) -> Row:
    names = (
        "seconds",
        "start_mb",
        "peak_mb",
        "artefact_mb",
        "n_users",
        "n_items",
        "n_interactions",
    )
    return {"kind": "whole", **about, **{name: told[name] for name in names}}


BUILD = Suite(
    "build",
    "what a build costs beside the library calls it makes, and as the log grows",
    _cells,
    (MOVIELENS, BEAUTY, COMPLETE_JOURNEY),
    (Option("sizes", "", "numbers of interactions to grow to, such as '10k 1M'"),),
)
