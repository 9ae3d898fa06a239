"""`twofold train-ranker`: labels of one's own, mistakes that leave nothing, and Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.twofold.small_world import N_ITEMS, N_USERS, small_tables
from twofold import Engine, cli
from twofold.indexing.artefact import open_artefact, verify
from twofold.ranking.checkpoints import NAME, Checkpoints
from twofold.training_place import FOLDER

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def own(small_artefact: Path, tmp_path: Path) -> Path:
    """A copy that the test may write to."""
    return Path(shutil.copytree(small_artefact, tmp_path / "own"))


def _labels(folder: Path, *more: tuple[str, str, int]) -> Path:
    """Write labels: of each user's last three items and of one of the other taste, disliked."""
    log, _ = small_tables()
    last = log.sort("timestamp").group_by("user_id", maintain_order=True).tail(3)
    rows = [(user, item, 1) for user, item in last.select("user_id", "item_id").iter_rows()]
    half = N_ITEMS // 2
    rows += [(f"u{n}", f"i{half * (1 - n % 2) + n % 7 + 20}", 0) for n in range(N_USERS)]
    known = {(user, item) for user, item, label in rows if label}
    rows = [row for row in rows if row[2] or row[:2] not in known]
    path = folder / "labels.csv"
    schema = ["user_id", "item_id", "label"]
    pl.DataFrame([*rows, *more], schema=schema, orient="row").write_csv(path)
    return path


def _files(root: Path) -> dict[str, int]:
    """Return all files with their sizes; locks say nothing."""
    files = (one for one in root.rglob("*") if one.is_file() and one.name != ".lock")
    return {str(one.relative_to(root)): one.stat().st_size for one in files}


def test_labels_of_ones_own_are_trained_on(own: Path, tmp_path: Path, capsys: Captured) -> None:
    labels = _labels(tmp_path)
    before = open_artefact(own)
    assert cli.run(["train-ranker", str(own), "--labels", str(labels), "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    after = open_artefact(own)
    assert (report["generation"], after.name) == ("0002", "0002")
    assert report["content_hash"] == after.manifest["content_hash"]
    assert report["content_hash"] != before.manifest["content_hash"]
    assert verify(after) == []
    told = after.json("learning")
    rows = pl.read_csv(labels)
    assert told["labels"] == {"pairs": len(rows), "hits": int(rows["label"].sum())}
    assert report["about"] == told["ranker"]
    assert told["n_window_users"] == [N_USERS]
    # Every list is of the three that were taken and the one that was not.
    assert sum(told["ranker"][name][0] for name in ("n_fit", "n_stop", "n_calibration")) == N_USERS
    assert all(json.loads(line)["message"] for line in err.splitlines())
    with Engine.load(own) as engine:
        assert all(one.probability is not None for one in engine.recommend("u1", 3))
    assert [one.name for one in (own / "generations").iterdir() if not one.name.isdigit()] == []


Wrong = Callable[[Path], list[str]]
WRONG: dict[str, tuple[Wrong, str]] = {
    "a name": (lambda _: ["--set", "ranker.training.lerning_rate=1"], "did you mean"),
    "a value": (lambda _: ["--set", "ranker.training.batch_lists=0"], "at least 1"),
    "a stage": (lambda _: ["--set", "stage_one.repeat=true"], "[stage_one]"),
    "a start": (lambda _: ["--set", "ranker.training.init_from=nowhere"], "nowhere does not exist"),
    "a user": (lambda at: ["--labels", str(_labels(at, ("nobody", "i1", 1)))], "came 'nobody'"),
    "an item": (lambda at: ["--labels", str(_labels(at, ("u1", "i99", 1)))], "came 'i99'"),
    "no labels": (lambda at: ["--labels", str(at / "none.csv")], "none.csv"),
    "few labels": (lambda at: ["--labels", str(_few(at))], "at least 20 users"),
    "no room": (lambda at: ["--out", str(_taken(at))], "holds other files"),
}


def _few(folder: Path) -> Path:
    path = folder / "few.csv"
    path.write_text("user_id,item_id,label\nu1,i3,1\nu1,i50,0\n")
    return path


def _taken(folder: Path) -> Path:
    (folder / "taken").mkdir()
    (folder / "taken" / "letter.txt").write_text("mine")
    return folder / "taken"


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_leaves_nothing(
    name: str, own: Path, tmp_path: Path, capsys: Captured
) -> None:
    make, told = WRONG[name]
    wrong = make(tmp_path)
    before = _files(tmp_path)
    assert cli.run(["train-ranker", str(own), *wrong]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.startswith("twofold: ")
    assert err.count("\n") == 1
    assert _files(tmp_path) == before
    assert [one.name for one in (own / "generations").iterdir()] == ["0001"]


def test_ctrl_c_leaves_the_old_ranker_and_the_next_run_goes_on(
    own: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(own) as engine:
        wanted = engine.recommend("u1", 5)
    short = ("max_epochs=2", "batch_lists=4", "checkpoint_steps=3")
    told = ("windows=2", *(f"ranker.training.{one}" for one in short))
    command = ["train-ranker", str(own), *(part for one in told for part in ("--set", one))]
    process = subprocess.Popen(
        [sys.executable, "-m", "twofold", *command],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    kept = own / "cache" / FOLDER / "member-0" / NAME
    try:
        while process.poll() is None and not kept.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "twofold: interrupted"
    assert "Traceback" not in err
    assert [one.name for one in (own / "generations").iterdir()] == ["0001"]
    with Engine.load(own) as engine:
        assert engine.recommend("u1", 5) == wanted
    steps: list[int] = []
    real = Checkpoints.load

    def load(self: Checkpoints) -> object:
        found = real(self)
        steps.append(0 if found is None else int(found.about["step"]))
        return found

    monkeypatch.setattr(Checkpoints, "load", load)
    assert cli.run(command) == 0
    assert steps[0] > 0
    assert "trained" in capsys.readouterr().out
    assert open_artefact(own).name == "0002"
    assert not kept.exists()
