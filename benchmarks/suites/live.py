"""Events and items that come while an engine serves: what is wrong, how soon, and what is lost.

Readers check what must be true however they and the writer interleave: whatever was acknowledged
before a request began shows in its answer.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.data.datasets import BEAUTY
from benchmarks.harness.cells import Cell, Place, Plan, Row, Suite
from benchmarks.stands.engines import (
    ENGINE,
    longest_text,
    short_artefact,
    short_overrides,
    short_settings,
)
from benchmarks.stands.kills import killed
from twofold.engine import Engine
from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress
from twofold.indexing.text import TextEncoder

READERS, K, SEARCH_EVERY = 8, 10, 8
EVENTS_A_CALL, ITEMS_A_CALL = 1000, 100
# Of each five calls so many bring items, give them another text, another attribute, and take away.
KINDS = ("add", "text", "add", "attribute", "remove")
CHECKED = 10  # items of a call that stay as they came, for readers to look for
RECENT = 256
FIRST = 1_800_000_000  # seconds, later than all that data sets hold


class Size(NamedTuple):
    """How much is asked: events, changes of items, seconds of readers alone, and kills."""

    events: int
    changes: int
    before_s: float
    kills: int


NO_RANKER = ("ranker.train=false",)
WHOLE, QUICK = Size(100_000, 10_000, 20.0, 20), Size(3_000, 500, 2.0, 1)
SOURCES = (
    *(*ENGINE, "benchmarks/suites/live.py", "benchmarks/stands/kills.py"),
    "benchmarks/stands/live_writer.py",
)


def _cells(plan: Plan) -> list[Cell]:
    lived, killed = _Lived(plan, _overrides(plan)), _Killed(plan, _overrides(plan, *NO_RANKER))
    return [
        Cell(name, one, short_settings(plan.data, one.overrides), sources=SOURCES)
        for name, one in (("live", lived), ("kills", killed))
    ]


def _overrides(plan: Plan, *more: str) -> tuple[str, ...]:
    """Return settings beside the data set's; what goes wrong and when hangs on no ranker."""
    return short_overrides(plan, *(NO_RANKER if plan.quick else more))


@dataclass
class Told:
    """What was acknowledged; readers copy it before they ask."""

    removed: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    texts: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=RECENT))
    users: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))
    taken: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class Read:
    """What readers found."""

    recommend_ms: list[float] = field(default_factory=list)
    search_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Call(NamedTuple):
    """One call of the writer: of what kind, how many rows, seconds until it was in force."""

    kind: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class _Lived:
    """Tells of wrong answers, times, and what killed writers lost.

    Half of the readers ask an engine of their own, as another process would.
    """

    plan: Plan
    overrides: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        size = QUICK if self.plan.quick else WHOLE
        with _copied(self.plan, self.overrides) as artefact:
            yield _taken_in(artefact, size, self.plan.progress)


@dataclass(frozen=True)
class _Killed:
    """Tells what writers lost that were killed on top of all that was taken in before.

    Without a ranker, which would read thousands of texts again whenever one of them is started.
    """

    plan: Plan
    overrides: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        size, progress = QUICK if self.plan.quick else WHOLE, self.plan.progress
        with _copied(self.plan, self.overrides) as artefact:
            with Engine.load(artefact, runtime="float32") as engine, progress.step("A writer"):
                calls = list(_written(Writer(engine), size))
                column = _columns(engine)[1]
            told = {"max_item_tokens": 0, "rows_before": sum(one.rows for one in calls)}
            with progress.step(f"{size.kills} times kill -9"):
                yield {**told, **killed(artefact, column, size.kills)}


@contextmanager
def _copied(plan: Plan, overrides: tuple[str, ...]) -> Iterator[Path]:
    """Yield an artefact of the plan's data that may be written to, and is gone afterwards."""
    built = short_artefact(plan.data, overrides, plan.progress)
    with TemporaryDirectory() as folder:
        yield Path(shutil.copytree(built, Path(folder) / "artefact"))


def _columns(engine: Engine) -> tuple[str, str]:
    """Return a column of the items' text, and one of whole numbers."""
    items, template = engine.items, engine.settings.data.text_template
    strings = [one for one in items.columns[1:] if items.schema[one] == pl.String]
    named = [one for one in strings if template is None or f"{{{one}}}" in template]
    numbers = [one for one in items.columns[1:] if items.schema[one].is_integer()]
    if not named or not numbers:
        raise InputError("the suite needs items with a column of text and one of whole numbers")
    return named[0], numbers[0]


def _taken_in(artefact: Path, size: Size, progress: Progress) -> Row:
    """Return what readers met while everything was taken in."""
    with (
        Engine.load(artefact, runtime="float32") as engine,
        Engine.load(artefact, runtime="float32") as witness,
    ):
        writer, readers = Writer(engine), (engine, witness)
        with progress.step("A writer alone"):
            quiet = _quiet(writer, engine)
        with progress.step("Readers alone"), _reading(readers, writer.told) as before:
            time.sleep(size.before_s)
        with (
            progress.step(f"{size.events:,} events, {size.changes:,} changes of items"),
            _reading(readers, writer.told) as meanwhile,
        ):
            begun = time.perf_counter()
            calls = list(_written(writer, size))
            seconds = time.perf_counter() - begun
        found = {"items": len(engine.items), **_checked_again(artefact, writer)}
        tokens = longest_text(engine)
    events = [one for one in calls if one.kind == "events"]
    changes = [one for one in calls if one.kind != "events"]
    return {
        "max_item_tokens": tokens,
        "readers": READERS,
        "events": sum(one.rows for one in events),
        "item_changes": sum(one.rows for one in changes),
        "seconds": seconds,
        **quiet,
        **_milliseconds("thousand_events", [1e3 * one.seconds for one in events]),
        **_rates(changes),
        **_asked("before", before),
        **_asked("meanwhile", meanwhile),
        "wrong": len(before.wrong) + len(meanwhile.wrong),
        "missing": len(before.missing) + len(meanwhile.missing),
        "examples": [*before.wrong, *meanwhile.wrong, *before.missing, *meanwhile.missing][:5],
        **found,
    }


class Writer:
    """Takes in events and items, and notes what was acknowledged.

    Parameters
    ----------
    engine
        The engine.

    Raises
    ------
    InputError
        If the items have no column of text or none of numbers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._rng, self.told = engine, np.random.default_rng(0), Told()
        items = engine.items
        self._ids, self._number = items["item_id"].to_list(), 0
        self._title, self._column = _columns(engine)
        texts = items[self._title].drop_nulls().head(2000).to_list()
        self._words = sorted({word for text in texts for word in text.split()})

    def events(self) -> Call:
        """Take in a thousand events of many users, known and new."""
        users, rows = self._engine.user_ids, []
        for _ in range(EVENTS_A_CALL):
            self._number += 1
            user = f"new-{self._number // 5}"
            if self._rng.random() < 0.7:
                user = users[self._rng.integers(len(users))]
            item = self._ids[self._rng.integers(len(self._ids))]
            rows.append(_event(user, item, self._number))
        begun = time.perf_counter()
        self._engine.add_events(rows)
        seconds = time.perf_counter() - begun
        taken = self.told.taken
        for row in rows:
            taken[row["user_id"]] = (*taken.get(row["user_id"], ()), row["item_id"])
        self.told.users.extend(row["user_id"] for row in rows[::10])
        return Call("events", len(rows), seconds)

    def items(self, kind: str) -> Call:
        """Take in a hundred changes of items of one kind."""
        if kind == "add":
            some = [f"live-{self._number + one}" for one in range(ITEMS_A_CALL)]
            self._number += ITEMS_A_CALL
        else:
            places = self._rng.permutation(len(self._ids))[:ITEMS_A_CALL]
            some = [self._ids[place] for place in places]
        texts = [f"{' '.join(self._rng.choice(self._words, 8))} {one}" for one in some]
        rows: list[dict[str, Any]] = [{"item_id": one} for one in some]
        for row, text in zip(rows, texts, strict=True):
            row |= (
                {self._column: int(self._rng.integers(1000))}
                if kind == "attribute"
                else {self._title: text}
            )
        calls = {
            "add": self._engine.add_items,
            "text": self._engine.update_items,
            "attribute": self._engine.update_items,
        }
        begun = time.perf_counter()
        if kind == "remove":
            self._engine.remove_items(some)
        else:
            calls[kind](rows)
        seconds = time.perf_counter() - begun
        if kind == "remove":
            self.told.removed.extend(some)
            gone = set(some)
            self._ids = [one for one in self._ids if one not in gone]
        if kind == "add":
            self.told.texts.extend((one, self._engine.text(one)) for one in some[:CHECKED])
            self._ids += some[CHECKED:]
        return Call(kind, len(some), seconds)


def _event(user: str, item: str, number: int) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": FIRST + number}


def _quiet(writer: Writer, engine: Engine) -> dict[str, float]:
    """Return how soon events and items count where nobody reads, and what encoding alone takes."""
    writer.events(), writer.items("add")  # so that all is loaded
    events = [1e3 * writer.events().seconds for _ in range(10)]
    calls = [writer.items("add") for _ in range(2)]
    encoder = TextEncoder.load(engine.settings.text)
    texts = [f"{text} once more" for _, text in list(writer.told.texts)]
    encoder.encode_documents(texts)
    begun = time.perf_counter()
    encoder.encode_documents([f"{text} again" for text in texts])
    alone = len(texts) / (time.perf_counter() - begun)
    return {
        **_milliseconds("thousand_events_quiet", events),
        "add_items_a_second_quiet": sum(one.rows for one in calls)
        / sum(one.seconds for one in calls),
        "texts_encoded_a_second": alone,
    }


def _written(writer: Writer, size: Size) -> Iterator[Call]:
    """Yield the calls that take everything in, events and items in turns."""
    n_events, n_items = size.events // EVENTS_A_CALL, size.changes // ITEMS_A_CALL
    for turn in range(max(n_events, n_items)):
        if turn < n_events:
            yield writer.events()
        if turn < n_items:
            yield writer.items(KINDS[turn % len(KINDS)])


@contextmanager
def _reading(engines: Sequence[Engine], told: Told) -> Iterator[Read]:
    """Have readers ask and check for the length of a ``with`` block."""
    done, found = threading.Event(), Read()
    users = engines[0].user_ids

    def read(number: int) -> None:
        rng, engine, asked = np.random.default_rng(number), engines[number % len(engines)], 0
        while not done.is_set():
            asked += 1
            recent = list(told.users)
            user = users[rng.integers(len(users))]
            if recent and rng.random() < 0.7:
                user = recent[rng.integers(len(recent))]
            gone, taken, texts = set(told.removed), told.taken.get(user, ()), list(told.texts)
            begun = time.perf_counter()
            ids = [one.item_id for one in engine.recommend(user, K)]
            found.recommend_ms.append(1e3 * (time.perf_counter() - begun))
            if len(ids) != K or len(set(ids)) != K:
                found.missing.append(f"{user} got {len(set(ids))} items")
            if bad := {*gone, *taken} & set(ids):
                found.wrong.append(f"{user} got {sorted(bad)[0]}")
            if asked % SEARCH_EVERY or not texts:
                continue
            item, text = texts[rng.integers(len(texts))]
            begun = time.perf_counter()
            ids = [one.item_id for one in engine.search(text, K)]
            found.search_ms.append(1e3 * (time.perf_counter() - begun))
            if item not in ids:
                found.missing.append(f"{item} is not found by its text")
            if gone & set(ids):
                found.wrong.append(f"a search gave {sorted(gone & set(ids))[0]}")

    with ThreadPoolExecutor(READERS) as pool:
        asking = [pool.submit(read, number) for number in range(READERS)]
        try:
            yield found
        finally:
            done.set()
        for one in asking:
            one.result()


def _checked_again(artefact: Path, writer: Writer) -> dict[str, Any]:
    """Return how long an engine takes to load with all of it, and what that one answers wrong."""
    begun = time.perf_counter()
    with Engine.load(artefact, runtime="float32") as engine:
        seconds = time.perf_counter() - begun
        wrong = 0
        for user in list(writer.told.users)[::4]:
            ids = {one.item_id for one in engine.recommend(user, K)}
            wrong += bool(ids & {*writer.told.removed, *writer.told.taken[user]}) or len(ids) != K
        for item, text in list(writer.told.texts)[::4]:
            wrong += item not in [one.item_id for one in engine.search(text, K)]
    return {"load_again_s": seconds, "wrong_after_loading": wrong}


def _milliseconds(name: str, spent: Sequence[float]) -> dict[str, float]:
    half, most = np.percentile(np.array(spent), [50, 99])
    return {f"{name}_p50_ms": float(half), f"{name}_p99_ms": float(most)}


def _rates(changes: Sequence[Call]) -> dict[str, float]:
    """Return changes of items a second, all and by kind."""
    out = {"item_changes_a_second": sum(one.rows for one in changes) / _seconds(changes)}
    for kind in dict.fromkeys(KINDS):
        own = [one for one in changes if one.kind == kind]
        out[f"{kind}_a_second"] = sum(one.rows for one in own) / _seconds(own)
    return out


def _seconds(calls: Sequence[Call]) -> float:
    return sum(one.seconds for one in calls)


def _asked(when: str, read: Read) -> dict[str, float]:
    """Return how many requests readers made, and how long they took."""
    return {
        f"{when}_requests": len(read.recommend_ms) + len(read.search_ms),
        **_milliseconds(f"{when}_recommend", read.recommend_ms),
        **(_milliseconds(f"{when}_search", read.search_ms) if read.search_ms else {}),
    }


LIVE = Suite(
    "live",
    "events and items that come while an engine serves: what is wrong, how soon, what is lost",
    _cells,
    (BEAUTY,),
)
