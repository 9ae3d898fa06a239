"""Items since the build: found, changed and gone at the next request, in every process."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.twofold.small_world import N_ITEMS, small_tables
from twofold import Engine, cli
from twofold.build import build
from twofold.catalogue import Catalogue
from twofold.indexing.dataset import load_dataset
from twofold.indexing.errors import ArtefactError, DataError, InputError, UnknownIdError
from twofold.indexing.live_items import ItemForm, read_live_items, read_written, written
from twofold.indexing.live_log import FILE, ItemChange, LiveLog
from twofold.indexing.text import TextEncoder
from twofold.settings import Settings

INTERACTIONS, ITEMS = small_tables()
LATER = 1_800_000_000
NEW = {"item_id": "n1", "title": "robot opera robot", "year": 2030, "shelf": 9}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=["stage one", "ranker"])
def artefact(
    request: pytest.FixtureRequest, plain: Path, small_artefact: Path, tmp_path: Path
) -> Path:
    """A copy that the test may write to, without and with a ranker."""
    shutil.copytree(plain if request.param == "stage one" else small_artefact, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def small(plain: Path, tmp_path: Path) -> Path:
    """A copy of the artefact of stage one alone."""
    shutil.copytree(plain, tmp_path / "own")
    return tmp_path / "own"


def _ids(found: list[Any]) -> list[str]:
    return [one.item_id for one in found]


def test_an_item_that_came_is_found_everywhere(artefact: Path) -> None:
    with Engine.load(artefact) as engine, Engine.load(artefact) as other:
        assert engine.add_items([NEW, {**NEW, "item_id": "n2", "title": "nail polish red"}]) == 2
        for one in (engine, other):
            assert len(one.items) == N_ITEMS + 2
            assert one.items.row(-2, named=True) == NEW
            assert one.text("n1") == "robot opera robot"
            for user in ("u2", "nobody"):
                everything = _ids(one.recommend(user, N_ITEMS + 2))
                assert {"n1", "n2"} <= set(everything)
                assert len(everything) == len(set(everything))
            assert "n1" in _ids(one.search("robot opera robot", 5))
            assert "n1" in _ids(one.retrieve("u2", N_ITEMS + 2))
            assert _ids(one.recommend("u2", 5, where="year > 2025", deny=["n2"])) == ["n1"]
            assert len(one.recommend("u2", 9, at_most={"shelf": 1})) == 7  # six shelves, and one
            assert len(one.recommend("u2", 9, diversity=0.5)) == 9
            near = _ids(one.similar_items("n1", N_ITEMS + 2))
            assert len(near) == N_ITEMS + 1
            assert "n1" not in near
            found = one.recommend_batch(["u2", "u3"], N_ITEMS + 2)
            assert set(found["item_id"]) >= {"n1", "n2"}
            assert one.recommend_for([("n1", 1.0)], 5)[0].reasons == ("n1",)


def test_events_of_an_item_that_came_count(artefact: Path) -> None:
    with Engine.load(artefact) as engine, Engine.load(artefact) as other:
        with pytest.raises(DataError, match="expected an item of the build"):
            other.add_events([{"user_id": "v", "item_id": "n1", "timestamp": LATER}])
        engine.add_items([NEW])
        other.add_events([{"user_id": "v", "item_id": "n1", "timestamp": LATER}])
        for one in (engine, other):
            found = one.recommend("v", N_ITEMS + 1)
            assert len(found) == N_ITEMS
            assert "n1" not in _ids(found)
            assert found[0].reasons == ("n1",)
    with Engine.load(artefact) as again:
        assert _ids(again.recommend("v", N_ITEMS + 1)) == _ids(found)


def test_a_user_with_events_meets_items_that_come_later(artefact: Path) -> None:
    with Engine.load(artefact) as engine:
        engine.add_events([{"user_id": "u2", "item_id": "i1", "timestamp": LATER}])
        engine.recommend("u2", 5)
        engine.add_items([NEW])
        assert "n1" in _ids(engine.recommend("u2", N_ITEMS + 1))
        frame = engine.recommend_batch(None, 2)
        assert frame["user_id"].n_unique() == len(engine.user_ids)


def test_an_item_that_changed_is_what_it_is_now(artefact: Path) -> None:
    with Engine.load(artefact) as engine, Engine.load(artefact) as other:
        old, history = engine.text("i3"), engine.histories.take(np.array([0]))
        relations = engine.stages.retriever.retrieve(history, N_ITEMS).scores
        engine.update_items([{"item_id": "i3", "title": "comedy nail polish"}])
        for one in (engine, other):
            assert one.text("i3") == "comedy nail polish"
            row = one.items.filter(pl.col("item_id") == "i3").row(0, named=True)
            assert (row["title"], row["year"]) == ("comedy nail polish", 1983)
            assert len(one.items) == N_ITEMS
            assert "i3" in _ids(one.search("comedy nail polish", 5))
        engine.update_items([{"item_id": "i3", "year": 2031}])
        assert _ids(other.recommend("nobody", 5, where="year > 2030")) == ["i3"]
        assert other.text("i3") == "comedy nail polish"
        # Back as it was, everything is as it was.
        engine.update_items([{"item_id": "i3", "title": old, "year": 1983}])
        again = engine.stages.retriever.retrieve(engine.histories.take(np.array([0])), N_ITEMS)
        np.testing.assert_allclose(again.scores, relations, atol=1e-5)


def test_an_item_that_went_comes_no_more_but_speaks_on(artefact: Path) -> None:
    with Engine.load(artefact) as engine, Engine.load(artefact) as other:
        user = "u2"
        first, second = _ids(engine.recommend(user, 2))
        log = INTERACTIONS.filter(pl.col("user_id") == user).sort("timestamp")
        row = log.row(-1, named=True)
        # Features are told relative to the list, so close items may change places when some go.
        wanted = _ids(engine.recommend(user, N_ITEMS, deny=[first, row["item_id"]]))
        assert engine.remove_items([first, row["item_id"]]) == 2
        for one in (engine, other):
            assert len(one.items) == N_ITEMS - 2
            found = one.recommend(user, N_ITEMS)
            assert _ids(found) == wanted
            assert first not in _ids(found)
            assert any(row["item_id"] in each.reasons for each in found)
            for told in (
                one.recommend("nobody", N_ITEMS),
                one.search(one.text(first), N_ITEMS),
                one.similar_items(second, N_ITEMS),
                one.retrieve("u4", N_ITEMS),
                one.recommend("u4", N_ITEMS, allow=[first, second]),
                one.recommend("u4", N_ITEMS, where="year > 0", deny=[second]),
                one.recommend("u4", N_ITEMS, diversity=0.3),
            ):
                assert first not in _ids(told)
            assert first not in set(one.recommend_batch(None, N_ITEMS)["item_id"])
            assert len(one.similar_items(first, 5)) == 5  # it is known all the same
        engine.add_events([{"user_id": user, "item_id": first, "timestamp": LATER}])
        engine.add_items([{"item_id": first, "title": "space war"}])
        assert other.text(first) == "space war"
        assert first in _ids(other.recommend("nobody", N_ITEMS))
        assert other.items.filter(pl.col("item_id") == first)["year"].to_list() == [None]


def test_calls_that_do_not_fit_change_nothing(small: Path) -> None:
    with Engine.load(small) as engine:
        before = engine.recommend("u2", N_ITEMS)
        cases: list[tuple[Any, Any, type[Exception], str]] = [
            (engine.add_items, [NEW, {**NEW, "item_id": "i1"}], InputError, "use update_items"),
            (engine.update_items, [{**NEW, "item_id": "i1"}, NEW], UnknownIdError, "use add_items"),
            (engine.remove_items, ["i1", "n1"], UnknownIdError, "'n1' is not in the catalogue"),
            (engine.remove_items, "i1", InputError, r"put it in \[ \]"),
            (engine.add_items, [{**NEW, "colour": "red"}], DataError, "no such column"),
            (engine.add_items, [{**NEW, "year": "soon"}], DataError, "the build's type, Int64"),
            (engine.add_items, [NEW, NEW], DataError, "expected each item once"),
            (engine.add_items, [{"title": "x"}], DataError, "expected a column for the item"),
            (engine.add_items, [{**NEW, "item_id": " "}], DataError, "the id of an item"),
        ]
        for call, given, kind, message in cases:
            with pytest.raises(kind, match=message):
                call(given)
        assert engine.add_items([]) == engine.update_items([]) == engine.remove_items([]) == 0
        assert not (small / FILE).exists()
        assert engine.recommend("u2", N_ITEMS) == before
        engine.remove_items(["i1"])
        with pytest.raises(UnknownIdError, match="not in the catalogue"):
            engine.remove_items(["i2", "i1"])
        with pytest.raises(UnknownIdError, match="use add_items"):
            engine.update_items([{"item_id": "i1", "year": 1}])
        assert "i2" in _ids(engine.recommend("nobody", N_ITEMS))


def test_what_another_process_did_meanwhile_counts(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(small) as engine, Engine.load(small) as other:
        read = engine._shift.live._growth.read

        def late(changes: Any) -> Any:
            monkeypatch.undo()
            other.add_items([NEW])  # between the first look and the writing
            return read(changes)

        monkeypatch.setattr(engine._shift.live._growth, "read", late)
        with pytest.raises(InputError, match="'n1' is in the catalogue already"):
            engine.add_items([NEW])
        monkeypatch.setattr(engine._shift.live._growth, "read", late)
        other.remove_items(["n1"])
        engine.update_items([{"item_id": "i1", "year": 5}])
        assert LiveLog(small).item_changes_after(0)[1] == 4
        assert engine.recommend("u2", N_ITEMS) == other.recommend("u2", N_ITEMS)


def test_texts_are_encoded_once_and_by_nobody_else(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = TextEncoder.encode_documents

    def noted(self: TextEncoder, texts: Any, **more: Any) -> Any:
        encoded.append(len(texts))
        return encode(self, texts, **more)

    monkeypatch.setattr(TextEncoder, "encode_documents", noted)
    rows = [{**NEW, "item_id": f"n{n}"} for n in range(5)]
    with Engine.load(artefact) as engine, Engine.load(artefact) as other:
        engine.add_items(rows)
        assert "n4" in _ids(other.recommend("u2", 2 * N_ITEMS))
        with pytest.raises(InputError):
            engine.add_items(rows)
        # What says the same is not encoded again.
        engine.update_items([{"item_id": "n1", "year": 7}, {"item_id": "i1", "year": 7}])
    with Engine.load(artefact) as again:
        assert "n4" in _ids(again.recommend("u2", 2 * N_ITEMS))
        index = again._now().stage_one.index
        told = TextEncoder.load(again.settings.text)
        np.testing.assert_allclose(
            index.vectors[-1], encode(told, ["robot opera robot"])[0], atol=1e-6
        )
    assert encoded == [5]


def test_a_generation_that_holds_some_of_the_log_reads_the_rest(small: Path) -> None:
    with Engine.load(small) as engine:
        engine.add_items([NEW])
        engine.add_events([{"user_id": "v", "item_id": "i1", "timestamp": LATER}])
        engine.add_items([{**NEW, "item_id": "n2"}])
        engine.add_events([{"user_id": "w", "item_id": "n2", "timestamp": LATER}])
    (folder,) = (small / "generations").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["live"] = {"events": 1, "items": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with Engine.load(small) as engine:
        assert engine.items.height == N_ITEMS + 1
        assert engine._now().asking.live.users() == ["w"]
        assert "n2" not in _ids(engine.recommend("w", N_ITEMS + 1))
    (folder / "data" / "removed.json").write_text('["i5"]')
    with Engine.load(small) as engine:
        assert "i5" not in _ids(engine.recommend("nobody", N_ITEMS))
        engine.add_items([{"item_id": "i5", "title": "space"}])
        assert "i5" in _ids(engine.recommend("nobody", N_ITEMS))


def test_a_log_of_another_model_is_refused(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vector = np.ones(3, dtype=np.float32)
    LiveLog(small).append_items([ItemChange("i1", "put", '{"item_id": "i1"}', "x", vector)])
    with pytest.raises(ArtefactError, match=r"another model .* --forget-built"):
        Engine.load(small)
    assert cli.run(["update", str(small), "--forget-built"]) == 0
    assert "1 changes of items that it holds are forgotten" in capsys.readouterr().out
    with Engine.load(small) as engine:
        assert engine.items.height == N_ITEMS


def test_update_on_the_command_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items, gone, events = (small.parent / name for name in ("i.csv", "g.csv", "e.csv"))
    items.write_text("item_id,title,year\nn1,robot opera,2030\ni1,nail polish,2031\n")
    gone.write_text("item_id\ni2\ni3\n")
    events.write_text("user_id,item_id,timestamp\nu2,n1,1800000000\n")
    with Engine.load(small) as engine:
        options = ["--items", str(items), "--remove", str(gone), "--events", str(events)]
        assert cli.run(["update", str(small), *options]) == 0
        told = capsys.readouterr().out
        for line in ("2 items are in force", "2 items are removed", "1 events of 1 users"):
            assert line in told
        found = _ids(engine.recommend("u2", N_ITEMS))
        assert {"n1", "i2", "i3"}.isdisjoint(found)
        assert engine.text("i1") == "nail polish"
        assert engine.items.filter(pl.col("item_id") == "i1")["shelf"].to_list() == [1]
    assert cli.run(["update", str(small), "--remove", str(gone)]) == 2
    assert "'i2' is not in the catalogue" in capsys.readouterr().err
    assert cli.run(["inspect", str(small)]) == 0
    assert "4 changes of items since the build" in capsys.readouterr().out
    assert cli.run(["update", str(small)]) == 2
    assert "needs --events FILE, --items FILE" in capsys.readouterr().err


def test_windows_of_items_that_came_hold(tmp_path: Path, small_settings: Settings) -> None:
    dated = ITEMS.with_columns(
        available_from=pl.lit("2020-01-01"), available_until=pl.lit(None, dtype=pl.String)
    )
    settings = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    build(INTERACTIONS, dated, tmp_path / "own", settings)
    with Engine.load(tmp_path / "own") as engine:
        engine.add_items([{**NEW, "available_until": datetime(2021, 1, 1, tzinfo=UTC)}])
        engine.add_items([{**NEW, "item_id": "n2", "available_from": "2022-01-01"}])
        engine.remove_items(["i1"])
        everything = {}
        for year in (2020, 2021, 2022):
            at = datetime(year, 6, 1, tzinfo=UTC)
            everything[year] = set(_ids(engine.recommend("nobody", 2 * N_ITEMS, at=at)))
            assert "i1" not in everything[year]
        assert [sorted({"n1", "n2"} & one) for one in everything.values()] == [["n1"], [], ["n2"]]


def test_vectors_that_were_brought_come_with_items(
    tmp_path: Path, small_settings: Settings
) -> None:
    rng = np.random.default_rng(0)
    brought = ITEMS.with_columns(v=pl.Series(rng.normal(size=(N_ITEMS, 5)).tolist()))
    settings = replace(
        small_settings,
        data=replace(small_settings.data, vector_column="v"),
        ranker=replace(small_settings.ranker, train=False),
    )
    build(INTERACTIONS, brought, tmp_path / "own", settings)
    with Engine.load(tmp_path / "own") as engine:
        row = brought.row(4, named=True)
        engine.add_items([{**NEW, "v": [2 * one for one in row["v"]]}])
        assert _ids(engine.similar_items("n1", 1)) == ["i4"]
        engine.update_items([{"item_id": "n1", "year": 1}])
        assert _ids(engine.similar_items("n1", 1)) == ["i4"]
        with pytest.raises(DataError, match="expected a vector for every item"):
            engine.add_items([{**NEW, "item_id": "n2"}])
        with pytest.raises(DataError, match=r"expected vectors of 5 numbers, .* came 2"):
            engine.add_items([{**NEW, "item_id": "n2", "v": [1.0, 2.0]}])


def test_rows_are_read_as_the_builds_and_written_as_they_were(small_settings: Settings) -> None:
    table = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["x", None],
            "tags": [["p", "q"], None],
            "when": [datetime(2020, 1, 1, tzinfo=UTC), None],
            "price": [1.5, float("nan")],
            "kind": pl.Series(["k", None], dtype=pl.Categorical),
            "raw": [b"\x00\xff", None],
        }
    )
    again = read_written(written(table), table.schema)
    assert again.schema == table.schema
    assert again.drop("price").equals(table.drop("price"))
    np.testing.assert_array_equal(again["price"].to_numpy(), table["price"].to_numpy())
    dataset = load_dataset(pl.DataFrame({"user": ["u"], "item": ["a"]}), table)
    form = ItemForm.of(dataset.table, small_settings.data)
    catalogue = Catalogue.of(dataset)
    read = read_live_items([{"id": "b", "title": "new"}], form, catalogue.rows)
    assert read is not None
    assert read.frame.schema == dataset.table.schema
    assert read.texts == ["new"]
    held = read_live_items([{"id": "a", "price": 3}], form, catalogue.rows)
    assert held is not None
    assert held.texts == [dataset.texts[0]]
    assert held.frame["tags"].to_list() == [["p", "q"]]
    assert held.frame["price"].to_list() == [3.0]
    # A template may name columns that are left out.
    form = ItemForm.of(dataset.table, replace(small_settings.data, text_template="{title}, {tags}"))
    told = read_live_items([{"id": "a", "price": 3}], form, catalogue.rows)
    assert told is not None
    assert told.texts == ["x, p, q"]


def test_the_log_is_plain(small: Path) -> None:
    with Engine.load(small) as engine:
        engine.add_items([NEW])
        engine.remove_items(["i1"])
        dimension = engine._now().stage_one.index.dimension
    with sqlite3.connect(small / FILE) as connection:
        rows = connection.execute("SELECT * FROM items ORDER BY number").fetchall()
    assert [row[:3] for row in rows] == [(1, "n1", "put"), (2, "i1", "remove")]
    assert json.loads(rows[0][3]) == NEW
    assert rows[0][4] == NEW["title"]
    assert len(rows[0][5]) == 4 * dimension
    assert rows[1][3:] == (None, None, None)
