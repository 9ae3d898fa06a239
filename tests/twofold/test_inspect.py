"""`twofold inspect`: what an artefact holds, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from twofold import cli
from twofold.indexing.artefact import begin_generation

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
