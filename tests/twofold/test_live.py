"""Events since the build: in force at the next request, durable, shared, read as the build's."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.twofold.small_world import N_ITEMS, N_USERS, small_tables
from twofold import Engine, cli
from twofold.build import build
from twofold.indexing.dataset import load_dataset
from twofold.indexing.errors import ArtefactError, DataError, UnknownIdError
from twofold.indexing.live_log import FILE, LiveEvent, LiveLog
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.settings import Settings

INTERACTIONS, ITEMS = small_tables()
LATER = 1_800_000_000


pytestmark = pytest.mark.usefixtures("one_thread")


def _ids(found: list[Any]) -> list[str]:
    return [one.item_id for one in found]


def _event(user: str, item: str, at: int = LATER) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": at}


def _same(one: Queries, other: Queries) -> None:
    for name in ("users", "indptr", "items", "kinds", "weights", "times", "steps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.excluded != other.excluded).nnz == 0


def test_an_event_counts_from_the_next_request(artefact: Path) -> None:
    with Engine.load(artefact) as engine:
        before = _ids(engine.recommend("u2", 10))
        assert engine.add_events([_event("u2", before[0])]) == 1
        after = _ids(engine.recommend("u2", 10))
        assert before[0] not in after
        assert before[0] in _ids(engine.recommend("u4", N_ITEMS))


def test_a_new_user_is_known_by_their_events(artefact: Path) -> None:
    with Engine.load(artefact) as engine:
        trending = _ids(engine.recommend("new", 5))
        engine.add_events([_event("new", "i1", LATER), _event("new", "i4", LATER + 1)])
        found = engine.recommend("new", 5)
        assert _ids(found) != trending
        assert {"i1", "i4"}.isdisjoint(_ids(engine.recommend("new", N_ITEMS)))
        assert _ids(found) == _ids(engine.recommend_for([("i1", 1.0), ("i4", 1.0)], 5))
        frame = engine.recommend_batch(["u1", "new", "u2"], 5)
        assert frame["user_id"].unique(maintain_order=True).to_list() == ["u1", "new", "u2"]
        assert frame.filter(pl.col("user_id") == "new")["item_id"].to_list() == _ids(found)
        everyone = engine.recommend_batch(None, 2)["user_id"].unique().to_list()
        assert set(everyone) == {*(f"u{user}" for user in range(N_USERS)), "new"}
        with pytest.raises(UnknownIdError, match="'nobody' is not in the index"):
            engine.recommend_batch(["nobody"])


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_history_is_the_one_that_a_build_would_have_made(
    artefact: Path, small_settings: Settings, shuffled: bool
) -> None:
    rng = np.random.default_rng(0)
    n, first = 40, int(INTERACTIONS["timestamp"].min() or 0)  # type: ignore[arg-type]
    new = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in rng.integers(0, 6, n)],
            "item_id": [f"i{item}" for item in rng.integers(0, N_ITEMS, n)],
            # Some are older than what the build holds, and none at one time with another.
            "timestamp": first + 1800 + 3600 * rng.choice(2000, n, replace=False),
        }
    )
    given = new.sample(fraction=1.0, shuffle=True, seed=1) if shuffled else new
    whole = load_dataset(pl.concat([INTERACTIONS, new]), ITEMS, small_settings.data)
    with Engine.load(artefact) as engine:
        for part in given.iter_slices(7):
            engine.add_events(part)
        settings = engine.settings.stage_one
        for user in range(6):
            wanted = queries_of_users(
                whole.interactions,
                np.array([whole.users.number(f"u{user}")]),
                max_history=settings.max_history,
            )
            _same(engine._now().asking.user(f"u{user}"), wanted)


def test_what_a_later_build_holds_counts_once(artefact: Path) -> None:
    row = INTERACTIONS.filter(pl.col("user_id") == "u3").row(2, named=True)
    with Engine.load(artefact) as engine:
        before = engine._now().asking.user("u3")
        engine.add_events([row])
        _same(engine._now().asking.user("u3"), before)


def test_events_are_there_after_loading_again_and_in_another_engine(artefact: Path) -> None:
    with Engine.load(artefact) as engine, Engine.load(artefact) as other:
        first = _ids(other.recommend("u2", 1))[0]
        engine.add_events([_event("u2", first)])
        assert first not in _ids(other.recommend("u2", N_ITEMS))
        second = _ids(engine.recommend("u2", 1))[0]
        other.add_events([_event("u2", second, LATER + 1)])
        assert second not in _ids(engine.recommend("u2", N_ITEMS))
    with Engine.load(artefact) as again:
        assert {first, second}.isdisjoint(_ids(again.recommend("u2", N_ITEMS)))


def test_a_thousand_events_are_in_force_in_a_blink(artefact: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [
        _event(f"v{rng.integers(200)}", f"i{rng.integers(N_ITEMS)}", LATER + n) for n in range(1000)
    ]
    with Engine.load(artefact) as engine:
        engine.add_events(rows[:10])
        spent = []
        for start in range(3):
            begun = time.perf_counter()
            engine.add_events([{**row, "user_id": f"{row['user_id']}-{start}"} for row in rows])
            engine.recommend(f"v7-{start}", 5)
            spent.append(time.perf_counter() - begun)
    assert min(spent) < 0.25  # seen: 20 ms on a quiet machine


def test_rows_that_cannot_be_used_leave_nothing_behind(artefact: Path) -> None:
    with Engine.load(artefact) as engine:
        before = _ids(engine.recommend("u2", 5))
        for rows, message in (
            ([_event("u2", "i1"), _event("u2", "x9")], "row 2, column 'item_id': expected an item"),
            ([{"user_id": "u2"}], "expected a column for the item"),
            ([{**_event("u2", "i1"), "timestamp": "soon"}], "'soon'"),
            ([{"user_id": "", "item_id": "i1"}], "expected the id of a user"),
        ):
            with pytest.raises(DataError, match=message):
                engine.add_events(rows)
        assert engine.add_events([]) == 0
        assert _ids(engine.recommend("u2", 5)) == before
    assert not (artefact / FILE).exists()


def test_ratings_and_dislikes_are_read_as_the_builds(
    tmp_path: Path, small_settings: Settings
) -> None:
    rated = INTERACTIONS.with_columns(rating=1 + pl.int_range(pl.len()) % 5)
    events = replace(small_settings.data.events, like_at_least=4.0, dislike_at_most=2.0)
    settings = replace(
        small_settings,
        data=replace(small_settings.data, events=events),
        ranker=replace(small_settings.ranker, train=False),
    )
    build(rated, ITEMS, tmp_path / "own", settings)
    with Engine.load(tmp_path / "own") as engine:
        kinds = engine._now().dataset.kinds
        rows = [{**_event("new", f"i{n}", LATER + n), "rating": n} for n in range(1, 6)]
        engine.add_events(rows)
        query = engine._now().asking.user("new")
        names = [kinds[kind] for kind in query.kinds.tolist()]
        assert names == ["rating 4", "rating 5"]
        assert query.excluded.nnz == 5
        # One between two levels takes the higher.
        engine.add_events([{**_event("half", "i1"), "rating": 4.5}])
        assert [kinds[kind] for kind in engine._now().asking.user("half").kinds] == ["rating 5"]


def test_threads_read_and_write_at_once(artefact: Path) -> None:
    with Engine.load(artefact) as engine:

        def write(number: int) -> None:
            for item in range(10):
                engine.add_events([_event(f"w{number}", f"i{item}", LATER + item)])
                found = _ids(engine.recommend(f"w{number}", N_ITEMS))
                assert len(found) == N_ITEMS - item - 1
                assert not {f"i{one}" for one in range(item + 1)} & set(found)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))


def test_update_on_the_command_line(artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = artefact.parent / "new.csv"
    file.write_text("user_id,item_id,timestamp\nu2,i1,1800000000\nnew,i3,1800000000\n")
    with Engine.load(artefact) as engine:
        assert cli.run(["update", str(artefact), "--events", str(file)]) == 0
        assert "2 events of 2 users" in capsys.readouterr().out
        assert "i1" not in _ids(engine.recommend("u2", N_ITEMS))
    assert cli.run(["inspect", str(artefact)]) == 0
    assert "2 events since the build" in capsys.readouterr().out
    file.write_text("user_id,item_id\nu2,x1\n")
    assert cli.run(["update", str(artefact), "--events", str(file)]) == 2
    assert "expected an item of the build" in capsys.readouterr().err
    assert LiveLog(artefact).count() == 2


def test_what_a_build_holds_can_be_forgotten(
    artefact: Path, small_settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    new = pl.DataFrame([_event("u2", "i1"), _event("u2", "i2", LATER + 5), _event("new", "i3")])
    with Engine.load(artefact) as engine:
        engine.add_events(new)
        assert cli.run(["update", str(artefact), "--forget-built"]) == 0
        assert "0 events that the build holds" in capsys.readouterr().out
    settings = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    build(pl.concat([INTERACTIONS, new[:2]]), ITEMS, artefact, settings)
    assert cli.run(["update", str(artefact), "--forget-built", "--json"]) == 0
    assert '"forgotten": 2' in capsys.readouterr().out
    assert [event.user for event in LiveLog(artefact).after(0)[0]] == ["new"]
    with Engine.load(artefact) as engine:
        assert {"i1", "i2"}.isdisjoint(_ids(engine.recommend("u2", N_ITEMS)))
    assert cli.run(["update", str(artefact)]) == 2
    assert "update needs --events FILE" in capsys.readouterr().err


def test_a_damaged_log_is_refused(artefact: Path) -> None:
    (artefact / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(ArtefactError, match=r"cannot read .*live\.sqlite: .*; restore it"):
        Engine.load(artefact)


WRITER = """
import sys
from pathlib import Path
from twofold.indexing.live_log import LiveEvent, LiveLog
log = LiveLog(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    rows = [LiveEvent(f"u{number}", f"i{n}", number, "view", 1.0, 1, True, True) for n in range(50)]
    log.append(rows)
    print(number, flush=True)
    number += 1
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    acknowledged: list[int] = []
    for turn in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(1000 * turn)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        acknowledged.append(int(process.stdout.readline()))
        time.sleep(float(rng.uniform(0, 0.03)))
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
    events, _ = LiveLog(tmp_path).after(0)
    counts: dict[int, int] = {}
    for event in events:
        counts[event.time] = counts.get(event.time, 0) + 1
    assert set(acknowledged) <= set(counts)
    assert set(counts.values()) == {50}  # whole batches, whatever was under way


def test_a_log_gives_what_it_was_given(tmp_path: Path) -> None:
    log = LiveLog(tmp_path)
    assert log.after(0) == ([], 0)
    assert log.version() == -1
    assert not (tmp_path / FILE).exists()
    rows = [LiveEvent("u", "é\n'", 5, "rating 4.5", 0.5, -1, True, False)]
    log.append(rows)
    assert log.after(0) == (rows, 1)
    assert log.after(1) == ([], 1)
    other = LiveLog(tmp_path)
    seen = other.version()
    assert other.after(0) == (rows, 1)
    log.append(rows)
    assert other.version() != seen
    assert other.after(1) == (rows, 2)
    assert log.count() == 2
    log.close()
    log.append(rows)
    assert other.count() == 3
