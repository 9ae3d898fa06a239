"""Commands that ask an artefact answer what the engine answers."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from twofold import Engine, Rules, cli

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def engine(small_artefact: Path) -> Engine:
    return Engine.load(small_artefact, threads=1)


def lines(capsys: Captured) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_recommend_is_the_engines_answer(
    small_artefact: Path, engine: Engine, capsys: Captured
) -> None:
    assert cli.run(["recommend", str(small_artefact), "--user", "u3", "-k", "4", "--json"]) == 0
    found = lines(capsys)
    expected = engine.recommend("u3", 4)
    assert [one["item_id"] for one in found] == [one.item_id for one in expected]
    assert [one["rank"] for one in found] == [1, 2, 3, 4]
    assert found[0]["probability"] == pytest.approx(expected[0].probability)
    assert found[0]["sources"]


def test_recommend_shows_texts_and_reasons_to_people(
    small_artefact: Path, engine: Engine, capsys: Captured
) -> None:
    assert cli.run(["recommend", str(small_artefact), "--user", "u3", "-k", "2"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["rank", "item_id", "item"]
    assert len(rows) == 2
    assert engine.text(engine.recommend("u3", 1)[0].item_id) in rows[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "either --user ID or --all-users"),
        (["--user", "u1", "--all-users"], "either --user ID or --all-users"),
        (["--all-users"], "--out FILE ending in .csv or .parquet"),
        (["--all-users", "--out", "a.xlsx"], "--out FILE ending in .csv or .parquet"),
        (["--user", "u1", "-k", "0"], "greater than or equal to 1"),
        (["--user", "u1", "--threads", "0"], "greater than or equal to 1"),
        (["--all-users", "--out", "/no/such/folder/a.csv"], "/no/such/folder is no folder"),
        (["--all-users", "--out", "a.csv", "--budget-ms", "5"], "--budget-ms is for one --user"),
        (["--user", "u1", "--budget-ms", "0"], "budget_ms must be a positive number"),
        (["--user", "u1", "--where", "yeer > 3"], "names the column 'yeer', but the items have"),
        (["--user", "u1", "--at-most", "shelf"], "expected COLUMN=N such as genre=2, came 'shelf'"),
        (["--user", "u1", "--at-most", "shelf=x"], "expected COLUMN=N"),
        (["--user", "u1", "--at-most", "shelf=0"], "at least 1 item of each shelf"),
        (["--user", "u1", "--at", "soon"], "expected a time such as 2030-01-31T12:00Z"),
        (["--user", "u1", "--diversity", "2"], "diversity must be in 0..1, not 2"),
        (["--user", "u1", "--deny", "/no/such/ids"], "/no/such/ids"),
        (["--user", "u1", "--runtime", "fast"], "one of float32, bfloat16, int8, cuda, not 'fast'"),
    ],
)
def test_mistakes_are_one_line(
    small_artefact: Path, more: list[str], message: str, capsys: Captured
) -> None:
    assert cli.run(["recommend", str(small_artefact), *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_budget_is_kept_and_told(small_artefact: Path, engine: Engine, capsys: Captured) -> None:
    asked = ["recommend", str(small_artefact), "-u", "u3", "-k", "4", "--json"]
    assert cli.run([*asked, "--budget-ms", "0.001"]) == 0
    out, err = capsys.readouterr()
    told = [json.loads(line)["item_id"] for line in out.splitlines()]
    assert told == [one.item_id for one in engine.retrieve("u3", 4)]
    assert "reranked=0/" in err
    assert cli.run([*asked, "--budget-ms", "60000", "--runtime", "float32"]) == 0
    _, err = capsys.readouterr()
    n = engine.recommend("u3", 4).candidates
    assert f"reranked={n}/{n}" in err


def test_retrieve_is_stage_one(small_artefact: Path, engine: Engine, capsys: Captured) -> None:
    assert cli.run(["retrieve", str(small_artefact), "--user", "u3", "-k", "7", "--json"]) == 0
    expected = engine.retrieve("u3", 7)
    assert [one["item_id"] for one in lines(capsys)] == [one.item_id for one in expected]


def test_search_finds_by_text(small_artefact: Path, engine: Engine, capsys: Captured) -> None:
    assert cli.run(["search", str(small_artefact), "space robot", "-k", "3", "--json"]) == 0
    expected = engine.search("space robot", 3)
    assert [one["item_id"] for one in lines(capsys)] == [one.item_id for one in expected]
    assert cli.run(["search", str(small_artefact), "  "]) == 2
    assert "needs a text" in capsys.readouterr().err


def test_similar_items(small_artefact: Path, engine: Engine, capsys: Captured) -> None:
    assert cli.run(["similar", str(small_artefact), "i3", "-k", "3", "--json"]) == 0
    expected = engine.similar_items("i3", 3)
    assert [one["item_id"] for one in lines(capsys)] == [one.item_id for one in expected]
    assert cli.run(["similar", str(small_artefact), "i999"]) == 2
    assert "item 'i999' is not in the index" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["recommend", "-u", "x"], ["search", "x"], ["similar", "x"]])
def test_what_is_no_artefact_is_refused(
    command: list[str], tmp_path: Path, capsys: Captured
) -> None:
    name, *rest = command
    arguments = (
        [name, *rest[:-2], str(tmp_path), *rest[-2:]]
        if "-u" in rest
        else [name, str(tmp_path), *rest]
    )
    assert cli.run(arguments) == 2
    assert "is not an artefact" in capsys.readouterr().err


def test_rules_reach_every_command(
    small_artefact: Path, engine: Engine, tmp_path: Path, capsys: Captured
) -> None:
    allow, deny = tmp_path / "allow.txt", tmp_path / "deny.txt"
    allow.write_text("".join(f"i{item}\n" for item in range(40)))
    deny.write_text("i3\n\n  i4  \nnobody knows\n")
    given = ["--where", "shelf < 4", "--allow", str(allow), "--deny", str(deny)]
    given += ["--at-most", "shelf=2", "--diversity", "0.2", "--at", "2030-01-31", "--json"]
    rules = Rules(
        where="shelf < 4",
        allow=[f"i{item}" for item in range(40)],
        deny=["i3", "i4"],
        at_most={"shelf": 2},
        diversity=0.2,
    )
    wanted = {
        "recommend": engine.recommend("u3", 10, **rules),
        "retrieve": engine.retrieve("u3", 10, **rules),
        "search": engine.search("robot", 10, **rules),
        "similar": engine.similar_items("i5", 10, **rules),
    }
    asked = {"recommend": ["-u", "u3"], "retrieve": ["-u", "u3"], "search": ["robot"]}
    for command, expected in wanted.items():
        about = asked.get(command, ["i5"])
        assert cli.run([command, str(small_artefact), *about, "-k", "10", *given]) == 0
        assert [one["item_id"] for one in lines(capsys)] == [one.item_id for one in expected]
        assert len(expected) == 8
    out = tmp_path / "all.csv"
    for command in ("recommend", "retrieve"):
        everyone = [command, str(small_artefact), "--all-users", "--out", str(out), *given]
        assert cli.run([*everyone, "-k", "10"]) == 0
        found = pl.read_csv(out).filter(pl.col("user_id") == "u3")["item_id"].to_list()
        assert found == [one.item_id for one in wanted[command]]
