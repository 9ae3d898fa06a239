"""Events and items in any order, from many threads, and killed at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.indexing.tiny_models import WORDS
from tests.twofold.small_world import N_ITEMS, small_tables
from twofold import Engine
from twofold.indexing.live_log import ItemChange, LiveLog

INTERACTIONS, ITEMS = small_tables()
LATER = 1_800_000_000
USERS = ("u2", "u3", "v1", "v2")
TOLD = sorted(set(WORDS.split()))


pytestmark = pytest.mark.usefixtures("one_thread")


def _ids(found: list[Any]) -> list[str]:
    return [one.item_id for one in found]


class Model:
    """What must be true of the items and the users, kept as plainly as can be."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {
            row["item_id"]: dict(row) for row in ITEMS.iter_rows(named=True)
        }
        self.ever = set(self.items)
        self.seen: dict[str, set[str]] = {
            user: set(INTERACTIONS.filter(pl.col("user_id") == user)["item_id"]) for user in USERS
        }

    def check(self, engine: Engine, rng: np.random.Generator) -> None:
        """Ask everything of an engine that the model knows to answer."""
        table = {row["item_id"]: row for row in engine.items.iter_rows(named=True)}
        assert table == self.items
        most, year = len(self.ever) + 1, int(rng.integers(1975, 2030))
        for user in USERS:
            wanted = set(self.items) - self.seen[user]
            found = _ids(engine.recommend(user, most))
            assert len(found) == len(wanted)
            assert set(found) == wanted
            new = {one for one in wanted if (self.items[one]["year"] or 0) >= year}
            assert set(_ids(engine.recommend(user, most, where=f"year >= {year}"))) == new
            assert _ids(engine.retrieve(user, 5)) == found[:5]
        known = [user for user in USERS if self.seen[user]]
        frame = engine.recommend_batch(known, 5)
        for user in known:
            told = frame.filter(pl.col("user_id") == user)["item_id"].to_list()
            assert told == _ids(engine.recommend(user, 5))
        item = str(rng.choice(sorted(self.items)))
        assert engine.text(item) == (self.items[item]["title"] or "")
        near = _ids(engine.similar_items(item, most))
        assert set(near) == set(self.items) - {item}
        if engine.text(item):
            best = engine.search(engine.text(item), most)
            assert set(_ids(best)) == set(self.items)
            alike = [one for one in best if engine.text(one.item_id) == engine.text(item)]
            assert len({one.score for one in alike}) == 1

    def step(self, engine: Engine, rng: np.random.Generator, number: int) -> None:
        """Do something by chance to an engine and to the model."""
        what, many = rng.choice(["add", "update", "remove", "events", "again"]), rng.integers(1, 4)
        there = sorted(self.items)
        some = [there[place] for place in rng.permutation(len(there))[:many]]
        if what == "add":
            rows = [_row(f"n{number}-{n}", rng) for n in range(many)]
            engine.add_items(rows)
            self.items |= {row["item_id"]: row for row in rows}
        elif what == "update":
            rows = [_row(item, rng) for item in some]
            columns = ["item_id", *rng.choice(["title", "year", "shelf"], 2, replace=False)]
            engine.update_items([{name: row[name] for name in columns} for row in rows])
            for row in rows:
                self.items[row["item_id"]] |= {name: row[name] for name in columns}
        elif what == "remove" and len(there) > 20:
            engine.remove_items(some)
            for item in some:
                del self.items[item]
        elif what == "again" and (gone := sorted(self.ever - set(self.items))):
            row = _row(str(rng.choice(gone)), rng)
            engine.add_items([row])
            self.items[row["item_id"]] = row
        else:
            user, ever = str(rng.choice(USERS)), sorted(self.ever)
            taken = [str(one) for one in rng.choice(ever, many)]
            times = [LATER + 10 * number + n for n in range(many)]
            engine.add_events(
                [
                    {"user_id": user, "item_id": item, "timestamp": at}
                    for item, at in zip(taken, times, strict=True)
                ]
            )
            self.seen[user] |= set(taken)
        self.ever |= set(self.items)


def _row(item: str, rng: np.random.Generator) -> dict[str, Any]:
    title = " ".join(rng.choice(TOLD, 3))
    year = None if rng.random() < 0.1 else int(rng.integers(1970, 2031))
    return {"item_id": item, "title": title, "year": year, "shelf": int(rng.integers(9))}


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_leaves_what_a_plain_model_says(artefact: Path, seed: int) -> None:
    rng, model = np.random.default_rng(seed), Model()
    with Engine.load(artefact) as one, Engine.load(artefact) as other:
        for number in range(25):
            engine, witness = (one, other) if rng.random() < 0.5 else (other, one)
            model.step(engine, rng, number)
            if rng.random() < 0.5:
                model.check(witness, rng)
        with Engine.load(artefact) as again:
            for engine in (one, other, again):
                model.check(engine, np.random.default_rng(seed))
            # Read in one go or as it came, in this process or another: the same answers.
            for user in USERS:
                assert again.recommend(user, 20) == one.recommend(user, 20)
                assert again.recommend(user, 20) == other.recommend(user, 20)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from twofold.indexing.live_log import ItemChange, LiveLog
log, start, dimension = LiveLog(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
vector = np.eye(1, dimension, dtype=np.float32)[0]
number, last = start, log.item_changes_after(0)[1]
while True:
    changes = [
        ItemChange(f"n{number}-{n}", "put", f'{{"item_id": "n{number}-{n}"}}', "robot", vector)
        for n in range(5)
    ]
    if number > start:
        changes.append(ItemChange(f"n{number - 1}-0", "remove"))
    assert log.append_items(changes, read=last)
    last += len(changes)
    print(number, flush=True)
    number += 1
"""


def test_what_was_acknowledged_survives_a_kill_and_nothing_is_half(artefact: Path) -> None:
    rng = np.random.default_rng(5)
    with Engine.load(artefact) as engine:
        dimension = engine._now().stage_one.index.dimension
    acknowledged: list[int] = []
    for turn in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(artefact), str(1000 * turn), str(dimension)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        acknowledged.append(int(process.stdout.readline()))
        time.sleep(float(rng.uniform(0, 0.03)))
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
    changes, _ = LiveLog(artefact).item_changes_after(0)
    calls: dict[int, list[ItemChange]] = {}
    for change in changes:
        number = int(change.item[1:].partition("-")[0])
        calls.setdefault(number + (change.change == "remove"), []).append(change)
    assert set(acknowledged) <= set(calls)
    for number, made in calls.items():
        assert len(made) == (5 if number % 1000 == 0 else 6)
    gone = {change.item for change in changes if change.change == "remove"}
    with Engine.load(artefact) as engine:
        there = set(engine.items["item_id"])
        wanted = {change.item for change in changes} - gone
        assert there == wanted | set(ITEMS["item_id"])


def test_threads_read_while_items_and_events_come(artefact: Path) -> None:
    """Whatever was acknowledged before a request began must show in its answer."""
    rng = np.random.default_rng(8)
    removed: list[str] = []
    came: list[tuple[str, str]] = []
    taken: list[str] = []
    done, wrong = threading.Event(), []
    with Engine.load(artefact) as engine, Engine.load(artefact) as other:

        def read(number: int) -> int:
            asked, own = 0, np.random.default_rng(number)
            reader = engine if number % 2 else other
            while not done.is_set():
                gone, there, seen = removed[:], came[:], taken[:]
                found = _ids(reader.recommend("u2", 15))
                if len(found) != 15 or len(set(found)) != 15:
                    wrong.append(f"a list of {len(found)}")
                if bad := set(found) & {*gone, *seen}:
                    wrong.append(f"{bad} came back")
                if there:
                    item, text = there[int(own.integers(len(there)))]
                    told = reader.search(text, 200)
                    if item not in _ids(told):
                        wrong.append(f"{item} is not found")
                    if reader.text(item) != text:
                        wrong.append(f"{item} has another text")
                asked += 1
            return asked

        with ThreadPoolExecutor(8) as pool:
            reading = [pool.submit(read, number) for number in range(8)]
            try:
                for number in range(24):
                    row = _row(f"n{number}", rng)
                    engine.add_items([row])
                    came.append((row["item_id"], row["title"]))
                    engine.add_items([_row(f"m{number}", rng)])
                    changed = f"i{number % N_ITEMS}"
                    if changed not in removed:
                        other.update_items([_row(changed, rng)])
                    if number % 2:
                        other.remove_items([f"m{number}"])
                        removed.append(f"m{number}")
                    if number % 4 == 0:
                        item = f"m{number}"
                        engine.add_events(
                            [{"user_id": "u2", "item_id": item, "timestamp": LATER + number}]
                        )
                        taken.append(item)
            finally:
                done.set()
            asked = [one.result() for one in reading]
    assert not wrong, wrong[:5]
    assert min(asked) > 0
