"""`twofold data`: what tables hold, and everything that is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twofold import cli

Captured = pytest.CaptureFixture[str]

LOG = "userId,movieId,rating,timestamp\nu1,a,5,1700000000\nu1,b,1,1700000100\nu2,a,4,1700000200\n"
FILMS = "movieId,title\na,Alien\nb,Bambi\nc,Carrie\n"


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    log, films = tmp_path / "log.csv", tmp_path / "films.csv"
    log.write_text(LOG, encoding="utf-8")
    films.write_text(FILMS, encoding="utf-8")
    return log, films


def test_describe_counts_and_says_how_columns_were_read(
    tables: tuple[Path, Path], capsys: Captured
) -> None:
    assert cli.run(["data", "describe", *map(str, tables)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    assert lines["users"].strip() == "2"
    assert lines["items without interactions"].strip() == "1"
    assert "- interactions: column 'timestamp' is the time" in out


def test_describe_speaks_json(tables: tuple[Path, Path], capsys: Captured) -> None:
    assert cli.run(["data", "describe", *map(str, tables), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["n_users"], found["n_items"], found["n_interactions"]) == (2, 3, 3)
    assert found["notes"]
    steps = [json.loads(line) for line in err.splitlines()]
    assert {step["event"] for step in steps} == {"begin", "end"}


def test_describe_needs_no_items(tables: tuple[Path, Path], capsys: Captured) -> None:
    assert cli.run(["data", "describe", str(tables[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text_share"] == 0


def test_settings_reach_the_rules(tables: tuple[Path, Path], capsys: Captured) -> None:
    rule = ["--set", "data.events.dislike_at_most=2"]
    assert cli.run(["data", "describe", *map(str, tables), "--json", *rule]) == 0
    assert json.loads(capsys.readouterr().out)["n_dislikes"] == 1


def test_describe_stops_at_the_first_mistake(tables: tuple[Path, Path], capsys: Captured) -> None:
    tables[0].write_text(LOG.replace("b,1", "b,much"), encoding="utf-8")
    assert cli.run(["data", "describe", *map(str, tables)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "row 2, column 'rating'" in err
    assert "'much'" in err


def test_validate_reports_every_mistake(tables: tuple[Path, Path], capsys: Captured) -> None:
    tables[0].write_text(LOG.replace("b,1", "b,much").replace("u2", ""), encoding="utf-8")
    assert cli.run(["data", "validate", *map(str, tables)]) == 1
    out = capsys.readouterr().out
    assert "user id is given" in out
    assert "'much'" in out
    assert out.endswith("they cannot be loaded\n")


def test_validate_passes_good_tables(tables: tuple[Path, Path], capsys: Captured) -> None:
    assert cli.run(["data", "validate", *map(str, tables)]) == 0
    assert capsys.readouterr().out.endswith("3 interactions, 3 items: they can be loaded\n")


def test_validate_speaks_json(tables: tuple[Path, Path], capsys: Captured) -> None:
    tables[0].write_text(LOG.replace("b,1", "b,much"), encoding="utf-8")
    assert cli.run(["data", "validate", *map(str, tables), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    (error,) = [one for one in report["problems"] if one["severity"] == "error"]
    assert error["column"] == "rating"


def test_unknown_items_can_be_left_out(tables: tuple[Path, Path], capsys: Captured) -> None:
    tables[0].write_text(f"{LOG}u2,zzz,3,1700000300\n", encoding="utf-8")
    assert cli.run(["data", "describe", *map(str, tables)]) == 2
    assert "zzz" in capsys.readouterr().err
    assert cli.run(["data", "describe", *map(str, tables), "--drop-unknown-items"]) == 0
    assert "zzz" in capsys.readouterr().out
