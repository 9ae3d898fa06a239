"""The commands over a small artefact and small tables: answers, and mistakes that leave nothing."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.twofold.small_world import N_USERS, small_tables
from twofold import cli
from twofold.settings import Settings
from twofold.settings_file import to_toml

Captured = pytest.CaptureFixture[str]


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "n"),
    [
        (["recommend", "--user", "u0", "-k", "4"], 4),
        (["recommend", "--user", "nobody", "-k", "4"], 4),
        (["retrieve", "--user", "u0", "-k", "7"], 7),
        (["search", "space robot", "-k", "3"], 3),
        (["similar", "i0", "-k", "3"], 3),
    ],
)
def test_a_question_is_answered_in_json_and_for_people(
    arguments: list[str], n: int, small_artefact: Path, capsys: Captured
) -> None:
    command, *rest = arguments
    assert cli.run([command, str(small_artefact), *rest, "--json"]) == 0
    rows = json_lines(capsys.readouterr().out)
    assert [row["rank"] for row in rows] == list(range(1, n + 1))
    assert cli.run([command, str(small_artefact), *rest]) == 0
    out = capsys.readouterr().out
    assert all(str(row["item_id"]) in out for row in rows)


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
def test_all_users_are_recommended_to_into_a_file(
    name: str, small_artefact: Path, tmp_path: Path
) -> None:
    out = tmp_path / name
    assert (
        cli.run(["recommend", str(small_artefact), "--all-users", "-k", "3", "-o", str(out)]) == 0
    )
    frame = pl.read_csv(out) if name.endswith("csv") else pl.read_parquet(out)
    assert frame.columns == ["user_id", "item_id", "score", "probability", "rank"]
    assert frame.height == 3 * N_USERS
    assert list(tmp_path.iterdir()) == [out]


@dataclass(frozen=True)
class Place:
    """A folder with good tables and settings, to spoil one thing in."""

    folder: Path
    artefact: Path

    @property
    def interactions(self) -> Path:
        return self.folder / "interactions.csv"

    @property
    def items(self) -> Path:
        return self.folder / "items.csv"

    @property
    def config(self) -> Path:
        return self.folder / "settings.toml"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def build(self, *more: str) -> list[str]:
        given = ["-i", str(self.interactions), "-t", str(self.items), "-c", str(self.config)]
        return ["build", *given, "-o", str(self.out), *more]

    def rows(self, text: str) -> None:
        """Write interactions after a header."""
        self.interactions.write_text(text)

    def copy(self) -> Path:
        """Return a copy of the artefact."""
        return Path(shutil.copytree(self.artefact, self.folder / "copy"))

    def files(self) -> dict[str, int]:
        found = (one for one in self.folder.rglob("*") if one.is_file())
        return {str(one.relative_to(self.folder)): one.stat().st_size for one in found}


@pytest.fixture
def place(tmp_path: Path, small_artefact: Path, small_settings: Settings) -> Place:
    made = Place(tmp_path, small_artefact)
    interactions, items = small_tables()
    interactions.write_csv(made.interactions)
    items.write_csv(made.items)
    made.config.write_text(to_toml(small_settings))
    return made


def test_build_and_evaluate_run_on_files(place: Place, capsys: Captured) -> None:
    assert cli.run(place.build("--json")) == 0
    (report,) = json_lines(capsys.readouterr().out)
    assert report["n_users"] == N_USERS
    arguments = ["evaluate", *place.build()[1:7], "-p", "leave-last-n", "-n", "1"]
    assert cli.run([*arguments, "--json"]) == 0
    *rows, pairs = json_lines(capsys.readouterr().out)
    assert {"reranked", "fused stage one"} <= {str(row["row"]["name"]) for row in rows}
    groups = {str(row["row"]["group"]) for row in rows if row["row"]["name"] == "reranked"}
    assert {"all", "history 6-20", "items under 90 days", "items head"} <= groups
    (whole,) = (
        row["row"]
        for row in rows
        if (row["row"]["name"], row["row"]["group"]) == ("reranked", "all")
    )
    for metric in ("diversity@10", "popularity_lift@10", "delta_gap@10", "serendipity@10"):
        assert whole["metrics"][metric]["mean"] is not None, metric
    tested = {name for name, one in pairs.items() if "p_holm" in one}
    assert "reranked - popularity: ndcg@10" in tested
    assert "gauc" in set(pairs) - tested
    assert cli.run([*arguments, "-s", "ranker.train=false"]) == 0
    out = capsys.readouterr().out
    assert "ndcg@10" in out
    assert "history 6-20" in out
    assert "n_labels" in out


HEAD = "user_id,item_id,timestamp\n"
Mistake = Callable[[Place], list[str]]


def rows(text: str) -> Mistake:
    """Return a mistake in the interactions."""

    def spoil(place: Place) -> list[str]:
        place.rows(text)
        return place.build()

    return spoil


def build_with(*more: str) -> Mistake:
    return lambda place: place.build(*more)


def ask(*arguments: str) -> Mistake:
    return lambda place: [arguments[0], str(place.artefact), *arguments[1:]]


def no_parquet(place: Place) -> list[str]:
    file = place.folder / "x.parquet"
    file.write_text("this is no parquet")
    return [*place.build(), "-i", str(file)]


def cut_gz(place: Place) -> list[str]:
    file = place.folder / "x.csv.gz"
    file.write_bytes(gzip.compress(place.interactions.read_bytes())[:-200])
    return [*place.build(), "-i", str(file)]


def duplicate_items(place: Place) -> list[str]:
    place.items.write_text("item_id,title\ni0,one\ni0,two\n")
    return place.build()


def config(text: str) -> Mistake:
    def spoil(place: Place) -> list[str]:
        place.config.write_text(text)
        return place.build()

    return spoil


def out_is_a_file(place: Place) -> list[str]:
    place.out.write_text("mine")
    return place.build()


def out_holds_others(place: Place) -> list[str]:
    place.out.mkdir()
    (place.out / "mine.txt").write_text("mine")
    return place.build()


def cut_file(place: Place) -> list[str]:
    file = next(place.copy().rglob("relations/popularity.npy"))
    file.write_bytes(file.read_bytes()[:-10])
    return ["recommend", str(place.folder / "copy"), "-u", "u0"]


def lost_file(place: Place) -> list[str]:
    next(place.copy().rglob("relations/popularity.npy")).unlink()
    return ["recommend", str(place.folder / "copy"), "-u", "u0"]


def unfinished(place: Place) -> list[str]:
    copy = place.copy()
    (copy / "CURRENT").unlink()
    return ["recommend", str(copy), "-u", "u0"]


def later_version(place: Place) -> list[str]:
    file = next(place.copy().rglob("manifest.json"))
    manifest = json.loads(file.read_text())
    manifest["format_version"] = 999
    file.write_text(json.dumps(manifest))
    return ["recommend", str(place.folder / "copy"), "-u", "u0"]


def no_manifest(place: Place) -> list[str]:
    next(place.copy().rglob("manifest.json")).write_text("{")
    return ["recommend", str(place.folder / "copy"), "-u", "u0"]


def other_family(place: Place) -> list[str]:
    model = place.folder / "gpt"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "gpt2"}')
    return place.build("-s", f"ranker.model={model}")


def empty_model(place: Place) -> list[str]:
    (place.folder / "empty").mkdir()
    return place.build("-s", f"text.model={place.folder / 'empty'}")


MISTAKES: dict[str, tuple[Mistake, str]] = {
    "no such file": (lambda place: [*place.build(), "-i", "/no/such.csv"], "/no/such.csv"),
    "empty file": (rows(""), "interactions.csv"),
    "header only": (rows(HEAD), "interactions.csv"),
    "missing column": (rows("who,item_id\nu0,i0\n"), "user"),
    "NaN weight": (rows("user_id,item_id,weight\nu0,i0,1\nu0,i1,NaN\n"), "row 2"),
    "no number": (rows("user_id,item_id,rating\nu0,i0,good\n"), "row 1"),
    "empty user": (rows(f"{HEAD}u0,i0,1700000005\n,i1,1700000006\n"), "row 2"),
    "empty item": (rows(f"{HEAD}u0,i0,1700000005\nu0,,1700000006\n"), "row 2"),
    "unknown event": (rows("user_id,item_id,event\nu0,i0,teleport\n"), "teleport"),
    "unknown item": (rows(f"{HEAD}u0,i0,1700000005\nu0,x99,1700000006\n"), "x99"),
    "no time": (rows(f"{HEAD}u0,i0,1700000005\nu0,i1,yesterday\n"), "column 'timestamp'"),
    "uneven rows": (rows(f"{HEAD}u0,i0,1700000005\nu0,i1,1700000006,7,8\n"), "interactions.csv"),
    "nothing to hold out": (
        rows(f"{HEAD}u0,i0,1700000005\nu1,i1,1700000006\n"),
        "more than 1 labels",
    ),
    "too few users": (
        rows(f"{HEAD}u0,i0,1700000005\nu0,i1,1700000006\nu0,i2,1700000007\n"),
        "users",
    ),
    "duplicate items": (duplicate_items, "i0"),
    "no parquet": (no_parquet, "x.parquet"),
    "truncated gz": (cut_gz, "x.csv.gz"),
    "unknown format": (lambda place: [*place.build(), "-i", str(place.config)], "settings.toml"),
    "unknown setting": (build_with("-s", "ranker.jont_layers=1"), "joint_layers"),
    "wrong type": (build_with("-s", "ranker.rerank=many"), "[ranker] rerank"),
    "out of range": (build_with("-s", "ranker.training.dropout=2"), "ranker.training.dropout"),
    "wrong choice": (build_with("-s", "stage_one.fusion=magic"), "fusion"),
    "bad TOML": (config("[ranker\n"), "settings.toml"),
    "unknown section": (config("[rankr]\ntrain = true\n"), "ranker"),
    "out is a file": (out_is_a_file, "is a file"),
    "out holds others": (out_holds_others, "other files"),
    "unknown text model": (build_with("-s", "text.model=/no/model"), "/no/model"),
    "no text model": (empty_model, "holds no model"),
    "unknown ranker": (build_with("-s", "ranker.model=/no/model"), "/no/model"),
    "unsupported family": (other_family, "gpt2"),
    "too many layers": (build_with("-s", "ranker.joint_layers=9"), "joint_layers"),
    "no artefact": (lambda _: ["recommend", "/no/artefact", "-u", "u0"], "/no/artefact"),
    "another folder": (lambda place: ["search", str(place.folder), "x"], "not an artefact"),
    "truncated file": (cut_file, "relations/popularity.npy"),
    "lost file": (lost_file, "relations/popularity.npy"),
    "damaged manifest": (no_manifest, "manifest.json"),
    "unfinished": (unfinished, "interrupted"),
    "later version": (later_version, "999"),
    "k of 0": (ask("recommend", "-u", "u0", "-k", "0"), "-k"),
    "k too large": (ask("recommend", "-u", "u0", "-k", "10001"), "-k"),
    "threads of 0": (ask("recommend", "-u", "u0", "--threads", "0"), "--threads"),
    "nobody": (ask("recommend"), "--user"),
    "both": (ask("recommend", "-u", "u0", "--all-users"), "--user"),
    "all without out": (ask("recommend", "--all-users"), "--out"),
    "unknown suffix": (ask("recommend", "--all-users", "-o", "x.txt"), ".csv or .parquet"),
    "no out folder": (ask("recommend", "--all-users", "-o", "/no/such/x.csv"), "/no/such"),
    "similar to nothing": (ask("similar", "x99"), "x99"),
    "empty search": (ask("search", "  "), "empty"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    name: str, place: Place, capsys: Captured
) -> None:
    mistake, message = MISTAKES[name]
    arguments = mistake(place)
    before = place.files()
    code = cli.run(arguments)
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("twofold: ")]
    assert code == 2, err
    assert not out
    assert len(lines) == 1, err
    assert err.splitlines()[-1] == lines[0]
    assert "Traceback" not in err
    assert message in lines[0]
    assert place.files() == before


def test_a_mistake_leaves_an_earlier_generation_serving(place: Place, capsys: Captured) -> None:
    copy = place.copy()
    arguments = place.build("-s", "ranker.model=/no/model")
    arguments[arguments.index(str(place.out))] = str(copy)
    assert cli.run(arguments) == 2
    capsys.readouterr()
    assert (copy / "CURRENT").read_text().strip() == "0001"
    assert cli.run(["recommend", str(copy), "-u", "u0", "--json"]) == 0
    assert len(json_lines(capsys.readouterr().out)) == 10
