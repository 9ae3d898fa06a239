"""An engine moves to another generation under its requests: none fails, none sees both."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.twofold.later import INTERACTIONS, ITEMS, bring_events, bring_rest, build_first
from twofold import Engine
from twofold.build import build
from twofold.engine import EngineError
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.errors import ArtefactBusyError, ArtefactError
from twofold.settings import Settings

LATER = 1_900_000_000
THREADS = 8


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, small_settings: Settings) -> Path:
    """What was there first, with a ranker; to be read only."""
    out = tmp_path_factory.mktemp("refresh") / "first"
    build_first(out, small_settings)
    return out


@pytest.fixture
def artefact(first: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    return Path(shutil.copytree(first, tmp_path / "own"))


def _ids(found: list[Any]) -> list[str]:
    return [one.item_id for one in found]


def _event(user: str, item: str, at: int = LATER) -> pl.DataFrame:
    return pl.DataFrame({"user_id": [user], "item_id": [item], "timestamp": [at]})


def _mapped(root: Path, generation: str) -> bool:
    """Say whether this process holds files of a generation."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the files that a process maps are told by Linux alone")
    return str(root / "generations" / generation) in maps.read_text()


def _held(
    run: Callable[[Any], Any], inside: threading.Event, go: threading.Event
) -> Callable[[Any], Any]:
    """Return a function that waits the first time until it may go on."""

    def held(asked: Any) -> Any:
        if not inside.is_set():
            inside.set()
            assert go.wait(60)
        return run(asked)

    return held


def test_an_engine_keeps_its_generation_until_it_is_told(
    artefact: Path, small_settings: Settings
) -> None:
    with Engine.load(artefact, runtime="float32") as engine:
        assert not engine.refresh()
        before = engine.recommend("u1", 10)
        build(INTERACTIONS, ITEMS, artefact, replace(small_settings, seed=1))
        assert engine.recommend("u1", 10) == before
        assert "i59" not in engine.items["item_id"]
        assert engine.settings.seed == 0
        assert engine.refresh()
        assert "i59" in engine.items["item_id"]
        assert engine.settings.seed == 1
        assert not engine.refresh()
        with Engine.load(artefact, runtime="float32") as fresh:
            assert engine.recommend("u1", 10) == fresh.recommend("u1", 10)
            assert engine.similar_items("i59", 4) == fresh.similar_items("i59", 4)
        assert not _mapped(artefact, "0001")
        assert _mapped(artefact, "0002")
    with pytest.raises(EngineError, match="is closed"):
        engine.refresh()


def test_a_request_under_way_ends_where_it_began(artefact: Path) -> None:
    bring_rest(artefact)
    with Engine.load(artefact, runtime="float32", threads=2) as engine:
        old, wanted = engine._shift, engine.recommend("u1", 10)
        inside, go = threading.Event(), threading.Event()
        patch = pytest.MonkeyPatch()
        patch.setattr(engine._batcher, "_run", _held(engine._batcher._run, inside, go))
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(engine.recommend("u1", 10)))
        thread.start()
        assert inside.wait(60)
        assert engine.compact().generation == "0002"
        assert engine._shift is not old
        assert "i59" in engine.items["item_id"]
        assert _ids(engine.recommend("u1", 10))
        assert _mapped(artefact, "0001")
        assert not old.live._log._reads.is_open
        go.set()
        thread.join(60)
        assert found == [wanted]
        patch.undo()
        del old, thread
        assert not _mapped(artefact, "0001")


def test_the_log_is_open_until_the_last_has_left(artefact: Path) -> None:
    bring_events(artefact, _event("u1", "i2"))
    with Engine.load(artefact, runtime="float32") as engine:
        old = engine._shift
        with engine._at_work() as shift:
            assert shift is old
            engine.compact()
            assert engine._shift is not old
            assert old.live._log._reads.is_open
            assert not old.enter()
        assert not old.live._log._reads.is_open
        engine.recommend("u1")
        last = engine._shift
    assert not last.live._log._reads.is_open


def test_eight_threads_read_while_it_is_compacted(artefact: Path) -> None:
    stop, errors = threading.Event(), list[BaseException]()
    generations = set[str]()
    with Engine.load(artefact, runtime="float32", threads=2) as engine:

        def ask(number: int) -> None:
            turn = 0
            while not stop.is_set():
                try:
                    turn += 1
                    user = f"u{(number * 7 + turn) % 60}"
                    # One shift a request: its numbers would decode to other items in another.
                    with engine._at_work() as now:
                        generations.add(now.generation.name)
                    for one in engine.recommend(user, 10):
                        assert one.item_id in known
                        assert set(one.reasons) <= known
                    engine.similar_items("i3", 3)
                    assert asyncio.run(engine.arecommend(user, 3))
                    if number == 0:
                        engine.add_events(_event(user, f"i{turn % 50}", LATER + turn))
                        given.append((user, f"i{turn % 50}"))
                except BaseException as error:
                    errors.append(error)
                    return

        known, given = set(ITEMS["item_id"]), list[tuple[str, str]]()
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        bring_rest(artefact)
        for _ in range(3):
            future = engine.compact(background=True)
            assert future.result(120).generation is not None
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not errors
        assert generations == {"0001", "0002", "0003", "0004"}
        # Nothing that was acknowledged is lost, whichever generation took it.
        for user, item in given:
            assert item not in _ids(engine.recommend(user, 60))
        assert not any(_mapped(artefact, f"000{old}") for old in (1, 2, 3))


def test_events_between_two_generations_count_once(artefact: Path) -> None:
    with Engine.load(artefact, runtime="float32") as engine, Engine.load(artefact) as other:
        engine.add_events(_event("new", "i1"))
        engine.compact()
        engine.add_events(_event("new", "i2", LATER + 1))
        for one in (engine, other):
            query = one._now().asking.user("new")
            items = one._now().catalogue.items
            assert items.decode(query.items) == ["i1", "i2"]
        assert other.refresh()
        assert len(other._now().asking.user("new").items) == 2
        assert "new" in other.user_ids
        assert other.recommend_batch(["new"], 3).height == 3


def test_what_cannot_be_opened_leaves_the_old_generation_at_work(artefact: Path) -> None:
    with Engine.load(artefact, runtime="float32") as engine:
        before = engine.recommend("u1", 5)
        (artefact / "CURRENT").write_text("0009\n")
        with pytest.raises(ArtefactError, match="names generation 0009"):
            engine.refresh()
        assert engine.recommend("u1", 5) == before
        (artefact / "CURRENT").write_text("0001\n")
        bring_events(artefact, _event("u1", "i2"))
        with begin_generation(artefact):
            with pytest.raises(ArtefactBusyError):
                engine.compact()
            with pytest.raises(ArtefactBusyError):
                engine.compact(background=True).result(60)
        assert engine.recommend("u2", 5)


def test_closing_does_not_undo_a_compaction_that_is_under_way(artefact: Path) -> None:
    bring_events(artefact, _event("u1", "i2"))
    engine = Engine.load(artefact, runtime="float32")
    future = engine.compact(background=True)
    engine.close()
    engine.close()
    assert future.result(60).generation == "0002"
    assert open_artefact(artefact).name == "0002"
    with pytest.raises(EngineError, match="is closed"):
        engine.compact()
