"""`twofold build` and `demo`: the command does what the library does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.twofold.small_world import small_tables
from twofold import cli, commands_measure
from twofold.indexing.artefact import open_artefact
from twofold.settings import Settings
from twofold.settings_file import to_toml

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, small_settings: Settings) -> list[str]:
    """Return the options that name the small world's tables and settings."""
    folder = tmp_path_factory.mktemp("inputs")
    log, items = small_tables()
    log.write_csv(folder / "log.csv")
    items.write_parquet(folder / "items.parquet")
    (folder / "small.toml").write_text(to_toml(small_settings), encoding="utf-8")
    return [
        *("--interactions", str(folder / "log.csv")),
        *("--items", str(folder / "items.parquet")),
        *("--config", str(folder / "small.toml")),
    ]


def test_build_makes_the_artefact_of_the_library(
    inputs: list[str], small_artefact: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "small"
    assert cli.run(["build", *inputs, "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n_users"] == 80
    assert report["generation"] == "0001"
    assert report["content_hash"] == open_artefact(small_artefact).manifest["content_hash"]
    assert cli.run(["inspect", str(out), "--verify"]) == 0


def test_the_demo_hands_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import twofold.demo

    asked: list[object] = []

    def note(out: Path, *, quick: bool, as_json: bool, progress: object) -> None:
        asked.extend([out, quick, as_json])

    monkeypatch.setattr(twofold.demo, "run_demo", note)
    assert cli.run(["demo", "--quick", "--out", str(tmp_path)]) == 0
    assert asked == [tmp_path, True, False]
    assert commands_measure.demo.__doc__


def test_an_index_that_repeats_recommends_what_a_user_has_had(
    inputs: list[str], small_artefact: Path, tmp_path: Path, capsys: Captured
) -> None:
    def seen_again(artefact: Path) -> set[str]:
        capsys.readouterr()
        assert cli.run(["recommend", str(artefact), "--user", "u0", "-k", "60", "--json"]) == 0
        found = {json.loads(line)["item_id"] for line in capsys.readouterr().out.splitlines()}
        log, _ = small_tables()
        return found & set(log.filter(log["user_id"] == "u0")["item_id"])

    out = tmp_path / "groceries"
    short = ("--set", "ranker.train=false", "--out", str(out))
    assert cli.run(["build", *inputs, "--repeat", *short]) == 0
    assert open_artefact(out).manifest["settings"]["stage_one"]["repeat"] is True
    assert len(seen_again(out)) == 12
    assert not seen_again(small_artefact)
