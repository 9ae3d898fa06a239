"""Compaction: what a build of everything would hold, under kept weights, safe against any kill."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tests.twofold.later import (
    FIRST,
    INTERACTIONS,
    ITEMS,
    LATER,
    N_FIRST_ITEMS,
    RANKER,
    REST,
    bring_events,
    bring_items,
    bring_rest,
    build_first,
    event_of,
    hashes,
)
from tests.twofold.small_world import N_ITEMS
from twofold import Engine
from twofold.build import build
from twofold.cli import app
from twofold.compact import compact
from twofold.compress import compress
from twofold.indexing.artefact import begin_generation, open_artefact, verify
from twofold.indexing.collaborative import Factors
from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import ArtefactBusyError
from twofold.indexing.generation import Generation
from twofold.indexing.live_log import LiveLog, Position
from twofold.indexing.text import TextEncoder
from twofold.indexing.vectors import VectorIndex
from twofold.ranking.alignment import align_factors
from twofold.ranking.digests import digest_items
from twofold.ranking.items import lower_states
from twofold.ranking.ranker import Ranker
from twofold.ranking.stored import FloatRows
from twofold.retrieval.stage_one import StageOne
from twofold.settings import Settings
from twofold.training_place import COURSE

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def artefact(first_plain: Path, tmp_path: Path) -> Path:
    """A copy of what was there first, to write to."""
    return Path(shutil.copytree(first_plain, tmp_path / "own"))


def _ids(found: list[Any]) -> list[str]:
    return [one.item_id for one in found]


def _open_ranker(generation: Generation, settings: Settings) -> Ranker:
    index = VectorIndex.open(generation, device="cpu")
    stage_one = StageOne.open(generation, index, settings.stage_one)
    return Ranker.open(generation, index.vectors, stage_one.relations(), settings.ranker)


def test_it_holds_to_the_bit_what_a_build_of_everything_holds(
    tmp_path: Path, small_settings: Settings
) -> None:
    own, whole = tmp_path / "own", tmp_path / "whole"
    build_first(own, small_settings)
    old = open_artefact(own)
    bring_rest(own)
    report = compact(own)
    build(INTERACTIONS, ITEMS, whole, small_settings)
    found, wanted = open_artefact(own), open_artefact(whole)
    assert verify(found) == []
    assert (found.name, report.generation) == ("0002", "0002")
    assert hashes(found) == hashes(wanted)
    same = ("counts", "data_fingerprint", "settings", "encoder", "dimension", "seed", "metric")
    assert {name: found.manifest[name] for name in same} == {
        name: wanted.manifest[name] for name in same
    }
    assert found.manifest["live"] == {"events": REST.height, "items": ITEMS.height - N_FIRST_ITEMS}
    assert report.taken["events"] == REST.height
    assert report.taken["users"] == found.manifest["counts"]["users"] - FIRST["user_id"].n_unique()
    assert report.taken["items"] == ITEMS.height - N_FIRST_ITEMS
    for kept in ("fusion.json", "learning.json", *RANKER[:1], "ranker/calibration.json"):
        assert found.manifest["files"][kept]["sha256"] == old.manifest["files"][kept]["sha256"]
    # The weights are those that this course led to.
    assert found.path(COURSE).read_bytes() == old.path(COURSE).read_bytes()
    ranker = _open_ranker(found, small_settings)
    before = np.zeros_like(ranker.tables.factors)
    ids, held = Dataset.open(found).items, Dataset.open(old).items
    before[ids.encode(held.ids)] = old.array("ranker/factors")
    factors = Factors.open(found, small_settings.stage_one.collaborative)
    np.testing.assert_array_equal(ranker.tables.factors, align_factors(factors.items, before))
    made = digest_items(ranker.model, ranker.tables)
    for name, rows in (("vectors", made.vectors), ("soft", made.soft)):
        assert isinstance(rows, FloatRows)
        np.testing.assert_array_equal(found.array(f"ranker/digests/{name}"), rows.values)
    with Engine.load(own) as engine:
        assert engine.recommend("u1", 5)
        assert engine.search("red comedy", 5)
    # A smaller ranker holds as much of the log where that stands, and of no other.
    compress(own, tmp_path / "smaller", layers=2)
    compress(own, own, layers=2)
    assert open_artefact(own).manifest["live"] == found.manifest["live"]
    assert "live" not in open_artefact(tmp_path / "smaller").manifest
    assert not open_artefact(own).has(COURSE)


def test_states_of_texts_that_stayed_are_copied_bit_by_bit(
    tmp_path: Path, small_settings: Settings
) -> None:
    own = tmp_path / "own"
    settings = replace(small_settings, ranker=replace(small_settings.ranker, joint_layers=2))
    build_first(own, settings)
    old = _open_ranker(open_artefact(own), settings).tables
    bring_rest(own)
    changed = ITEMS[3:4].with_columns(pl.lit("war war war love").alias("title"))
    bring_items(own, changed)
    assert compact(own).taken["changed_texts"] == 1
    generation = open_artefact(own)
    new = _open_ranker(generation, settings)
    first = Generation(own / "generations" / "0001")
    ids, held = Dataset.open(generation).items, Dataset.open(first).items
    assert new.tables.states is not None
    assert old.states is not None
    for item in ids.ids:
        here = new.tables.tokens.rows(np.array([ids.number(item)]))
        states = new.tables.states.of(here).numpy()
        if item in held and item != "i3":
            there = old.tokens.rows(np.array([held.number(item)]))
            np.testing.assert_array_equal(states, old.states.of(there).numpy())
            np.testing.assert_array_equal(new.tables.tokens.tokens[here], old.tokens.tokens[there])
        else:
            number = np.array([ids.number(item)])
            made = lower_states(new.model.backbone, new.tables.tokens, number).numpy()
            np.testing.assert_allclose(states, made, atol=2e-3)


def test_live_answers_stay_what_they_were(artefact: Path) -> None:
    bring_events(artefact, REST.filter(pl.col("item_id").is_in(ITEMS["item_id"][:55].to_list())))
    with Engine.load(artefact) as engine:
        asking, items = engine._now().asking, engine._now().catalogue.items
        users = REST["user_id"].unique(maintain_order=True).to_list()
        before = {user: asking.user(user) for user in users}
        assert engine.compact().generation == "0002"
        later, ids = engine._now().asking, engine._now().catalogue.items
        assert not later.live.users()
        assert set(users) <= set(engine.user_ids)
        for user, query in before.items():
            found = later.user(user)
            assert ids.decode(found.items) == items.decode(query.items)
            for name in ("kinds", "weights", "times", "steps"):
                np.testing.assert_array_equal(getattr(found, name), getattr(query, name))
            excluded = [
                sorted(names.decode(one.excluded.indices))
                for names, one in ((ids, found), (items, query))
            ]
            assert excluded[0] == excluded[1]
        # And it goes on from there.
        first = _ids(engine.recommend("u2", 1))[0]
        engine.add_events(event_of("u2", first))
        assert first not in _ids(engine.recommend("u2", N_ITEMS))


def test_two_compactions_come_to_what_one_does(artefact: Path, whole_plain: Path) -> None:
    with Engine.load(artefact) as idle:
        bring_items(artefact, ITEMS[N_FIRST_ITEMS:])
        bring_events(artefact, REST[:90])
        compact(artefact)
        bring_events(artefact, REST[90:])
        assert compact(artefact).taken["events"] == REST.height - 90
        assert open_artefact(artefact).name == "0003"
        assert hashes(open_artefact(artefact)) == hashes(open_artefact(whole_plain))
        assert idle.refresh()
        assert not idle.refresh()


def test_vectors_are_taken_from_the_log_and_made_where_it_has_none(
    artefact: Path, whole_plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_items(artefact, ITEMS[N_FIRST_ITEMS:])
    other = Path(shutil.copytree(artefact, artefact.with_name("other")))
    with sqlite3.connect(other / "live.sqlite") as connection:
        connection.execute("UPDATE items SET vector = NULL")
    connection.close()
    compact(other)
    with monkeypatch.context() as patch:
        patch.setattr(TextEncoder, "load", lambda *_: pytest.fail("no text had to be encoded"))
        compact(artefact)
    wanted = VectorIndex.open(open_artefact(whole_plain), device="cpu").vectors
    for root in (artefact, other):
        found = VectorIndex.open(open_artefact(root), device="cpu").vectors
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_log_is_pruned_when_no_kept_generation_needs_it(artefact: Path) -> None:
    log = LiveLog(artefact)
    bring_events(artefact, REST[:50].filter(pl.col("item_id").is_in(FIRST["item_id"].to_list())))
    n_first = log.count()
    assert compact(artefact).pruned == 0  # the build is kept
    assert log.count() == n_first
    bring_events(artefact, event_of("u1", "i2"))
    assert compact(artefact).pruned == n_first
    assert log.count() == 1
    assert Position.of(open_artefact(artefact).manifest) == Position(n_first + 1, 0)
    bring_events(artefact, event_of("u1", "i3", LATER + 1))
    assert log.after(0)[1] == n_first + 2
    assert compact(artefact).pruned == 1
    log.close()


def test_removed_items_stay_known_and_are_never_proposed(artefact: Path) -> None:
    with Engine.load(artefact) as engine:
        user, best = "u2", _ids(engine.recommend("u2", 3))
        assert engine.remove_items(best[:2]) == 2
        bring_events(artefact, event_of("u4", "i4"))
        engine.compact()
        for _ in range(2):
            found = _ids(engine.recommend(user, N_ITEMS))
            assert set(best[:2]).isdisjoint(found)
            assert best[2] in found
            assert set(best[:2]).isdisjoint(_ids(engine.similar_items(best[2], N_ITEMS)))
            assert set(best[:2]).isdisjoint(_ids(engine.search("space opera", N_ITEMS)))
            assert set(best[:2]).isdisjoint(_ids(engine.recommend("x", N_ITEMS, allow=best)))
            assert engine.similar_items(best[0], 3)
            # A later compaction holds to it.
            bring_events(artefact, event_of("u4", "i5", LATER + 1))
            engine.compact()
        assert open_artefact(artefact).manifest["compacted"]["removed"] == 2
        bring_items(artefact, ITEMS.filter(pl.col("item_id") == best[0]))
        engine.compact()
        found = _ids(engine.recommend(user, N_ITEMS))
        assert best[0] in found
        assert best[1] not in found


def test_a_log_begun_anew_beside_a_compacted_generation_counts(artefact: Path) -> None:
    bring_rest(artefact)
    compact(artefact)
    # As where an artefact is copied to another machine without its log.
    for file in artefact.glob("live.sqlite*"):
        file.unlink()
    with Engine.load(artefact) as engine:
        first, second = _ids(engine.recommend("u2", 2))
        engine.add_events(event_of("u2", first))
        assert first not in _ids(engine.recommend("u2", N_ITEMS))
        engine.remove_items([second])
    with Engine.load(artefact) as again:
        assert {first, second}.isdisjoint(_ids(again.recommend("u2", N_ITEMS)))
        report = again.compact()
        assert report.taken["events"] == 1
        assert report.taken["removed"] == 1
        assert {first, second}.isdisjoint(_ids(again.recommend("u2", N_ITEMS)))


def test_events_that_are_there_or_of_nobody_known_are_told(artefact: Path) -> None:
    log = LiveLog(artefact)
    bring_events(artefact, FIRST[:4])
    bring_events(artefact, event_of("u1", "i59"))  # came with no item
    bring_events(artefact, pl.concat([event_of("u1", "i4"), event_of("u1", "i4", LATER + 1)]))
    bring_events(artefact, event_of("u1", "i4"))
    taken = compact(artefact).taken
    assert taken["events"] == 2
    assert taken["known_events"] == 5
    assert taken["unknown_events"] == 1
    log.close()


def test_nothing_new_writes_nothing(artefact: Path) -> None:
    before = sorted(artefact.rglob("*"))
    told = CliRunner().invoke(app, ["compact", str(artefact)])
    assert told.exit_code == 0
    assert "nothing came since" in told.stdout
    assert sorted(artefact.rglob("*")) == before
    told = CliRunner().invoke(app, ["compact", str(artefact), "--json"])
    assert json.loads(told.stdout)["generation"] is None


def test_what_another_compaction_took_is_not_taken_again(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_events(artefact, event_of("u1", "i2"))

    @contextmanager
    def late(*args: Any, **how: Any) -> Iterator[Any]:
        monkeypatch.undo()
        assert compact(artefact).generation == "0002"
        with begin_generation(*args, **how) as writer:
            yield writer

    monkeypatch.setattr("twofold.compact.begin_generation", late)
    assert compact(artefact).generation is None
    assert open_artefact(artefact).name == "0002"
    assert not list(artefact.glob("generations/.*"))


def test_another_build_at_work_is_told(artefact: Path) -> None:
    bring_events(artefact, event_of("u1", "i2"))
    with begin_generation(artefact), pytest.raises(ArtefactBusyError, match="another build"):
        compact(artefact)
    assert open_artefact(artefact).name == "0001"


def test_the_command_tells_what_came_and_the_drift(artefact: Path) -> None:
    bring_rest(artefact)
    told = CliRunner().invoke(app, ["compact", str(artefact)])
    assert told.exit_code == 0, told.output
    assert f"taken in: {REST.height} events" in told.stdout
    assert "drift of" in told.stdout
    assert "the ten best of" in told.stdout
    shown = CliRunner().invoke(app, ["inspect", str(artefact)]).stdout
    assert "the ten best of" in shown
    assert "since the build" not in shown
    bring_events(artefact, event_of("u1", "i2"))
    shown = CliRunner().invoke(app, ["inspect", str(artefact)]).stdout
    assert "1 events since the build" in shown
    told = CliRunner().invoke(app, ["compact", str(artefact), "--json"])
    found = json.loads(told.stdout)
    assert found["drift"]["users"]["n"] == 1
    assert found["taken"]["events"] == 1


def test_an_index_keeps_its_kind_until_the_catalogue_outgrew_it(
    tmp_path: Path, plain_settings: Settings
) -> None:
    own = tmp_path / "own"
    index = replace(plain_settings.index, kind="IVF4,Flat")
    build_first(own, replace(plain_settings, index=index))
    manifest = own / "generations" / "0001" / "manifest.json"
    told = json.loads(manifest.read_text())
    told["settings"]["index"]["kind"] = "auto"  # as if it had been chosen
    manifest.write_text(json.dumps(told))
    bring_rest(own)
    compact(own)
    about = open_artefact(own).json("faiss-proposer")
    assert about["factory"] == "IVF4,Flat"
    assert about["about"]["chosen_for"] == N_FIRST_ITEMS
    assert about["about"]["chosen"]["n_items"] == N_ITEMS
    more = [ITEMS.with_columns((pl.col("item_id") + f"-{n}").alias("item_id")) for n in range(1)]
    bring_items(own, pl.concat(more))
    compact(own)
    # So few are looked at one by one, where nothing else is asked for.
    assert not open_artefact(own).has("faiss-proposer")
