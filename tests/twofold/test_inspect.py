"""`twofold inspect`: what an artefact holds, and whether it is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.twofold.small_world import build_small
from twofold import Engine, cli
from twofold.indexing.artefact import begin_generation
from twofold.indexing.errors import InputError, SettingsError
from twofold.indexing.tuning import IndexSettings
from twofold.settings import Settings

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "films.twofold"
    with begin_generation(folder) as writer:
        writer.put_array("factors/users", np.arange(6.0))
        writer.put_json("data/about", {"n": 1})
        writer.finish("numbers", "key")
        writer.commit({"seed": 0, "counts": {"users": 6}})
    return folder


def test_it_shows_parts_and_counts(artefact: Path, capsys: Captured) -> None:
    assert cli.run(["inspect", str(artefact)]) == 0
    out = capsys.readouterr().out
    assert "generation    0001" in out
    assert "counts.users  6" in out
    assert "factors" in out
    assert "(whole)" in out


def test_it_says_what_an_item_costs(small_artefact: Path, capsys: Captured) -> None:
    assert cli.run(["inspect", str(small_artefact), "--json"]) == 0
    each = json.loads(capsys.readouterr().out)["ranker_bytes_an_item"]
    n_items = 60
    tables = sum(file.stat().st_size for file in small_artefact.glob("**/ranker/**/*.npy"))
    assert each == tables / n_items > 100
    assert cli.run(["inspect", str(small_artefact)]) == 0
    assert f"The ranker's tables take {each:,.0f} bytes an item" in capsys.readouterr().out


def test_it_speaks_json(artefact: Path, capsys: Captured) -> None:
    assert cli.run(["inspect", str(artefact), "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["generation"] == "0001"
    assert found["counts"] == {"users": 6}
    assert found["verified"] is True
    assert "factors/users.npy" in found["files"]


def test_whole_files_are_verified(artefact: Path, capsys: Captured) -> None:
    assert cli.run(["inspect", str(artefact), "--verify"]) == 0
    assert "hashes hold" in capsys.readouterr().out


def test_one_changed_byte_is_found(artefact: Path, capsys: Captured) -> None:
    file = artefact / "generations" / "0001" / "factors" / "users.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert cli.run(["inspect", str(artefact)]) == 0
    assert cli.run(["inspect", str(artefact), "--verify"]) == 1
    assert "factors/users.npy was changed" in capsys.readouterr().out


def test_a_truncated_file_is_refused_at_once(artefact: Path, capsys: Captured) -> None:
    file = artefact / "generations" / "0001" / "factors" / "users.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert cli.run(["inspect", str(artefact)]) == 2
    assert "users.npy has" in capsys.readouterr().err


def test_an_index_that_was_asked_for_serves_and_is_shown(
    tmp_path: Path, small_settings: Settings, capsys: Captured
) -> None:
    plain = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    exact, quick = tmp_path / "exact", tmp_path / "quick"
    build_small(exact, plain)
    build_small(quick, replace(plain, index=IndexSettings(kind="IVF4,SQ8", recall_target=1.0)))
    assert cli.run(["inspect", str(quick), "--verify"]) == 0
    told = capsys.readouterr().out
    assert "To find texts, at the recall that was asked for:" in told
    assert "IVF4,SQ8 *" in told
    assert "factors" not in told
    assert "Efforts of IVF4,SQ8, on the queries that they were learned on:" in told
    drawn = tmp_path / "curve.png"
    assert cli.run(["inspect", str(quick), "--plot", str(drawn), "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)["indexes"]["texts"]["chosen"]
    assert chosen["kind"] == "IVF4,SQ8"
    assert (chosen["effort"], chosen["over"]) in [
        (one["effort"], one["over"]) for one in chosen["curve"]
    ]
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert cli.run(["inspect", str(exact), "--plot", str(drawn)]) == 2
    assert "nothing to draw: this artefact looks at all items" in capsys.readouterr().err
    assert cli.run(["inspect", str(exact)]) == 0
    assert "To find" not in capsys.readouterr().out
    with Engine.load(exact) as one, Engine.load(quick, device="cpu") as other:
        for user in ("u1", "u2", "nobody"):
            wanted = [found.item_id for found in one.recommend(user, 20)]
            assert [found.item_id for found in other.recommend(user, 20)] == wanted
        searched = other.search("robot war", 5, where="shelf < 3")
        assert [found.item_id for found in searched] == [
            found.item_id for found in one.search("robot war", 5, where="shelf < 3")
        ]
        with pytest.raises(InputError, match="device must be auto, cpu or cuda"):
            Engine.load(quick, device="gpu")  # type: ignore[arg-type]


def test_an_index_that_cannot_be_is_refused(small_settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"index\.kind must be auto, exact, or a FAISS factory"):
        build_small(tmp_path / "own", replace(small_settings, index=IndexSettings(kind="fastest")))
    assert not (tmp_path / "own" / "CURRENT").exists()
