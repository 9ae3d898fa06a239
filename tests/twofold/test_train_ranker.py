"""Another ranker for an artefact: what it changes, what stays, and a training that is killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.twofold.small_world import small_tables
from twofold import Engine
from twofold.build import build
from twofold.indexing.artefact import open_artefact, verify
from twofold.indexing.errors import MissingDependencyError, SettingsError
from twofold.ranking.checkpoints import Checkpoints
from twofold.retraining import train_ranker, training_settings
from twofold.settings import Settings
from twofold.training_place import COURSE, FOLDER

pytestmark = pytest.mark.usefixtures("one_thread")
OVERRIDES = (
    "ranker.training.max_epochs=2",
    "ranker.training.batch_lists=4",
    "ranker.training.checkpoint_steps=3",
    "ranker.training.swa_epochs=1",
    "ranker.training.averaging=0.5",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, small_settings: Settings) -> Path:
    """An artefact with a ranker, to be read only."""
    out = tmp_path_factory.mktemp("ranked") / "artefact"
    build(*small_tables(), out, replace(small_settings, windows=1))
    return out


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Path:
    """A copy that the test may write to."""
    return Path(shutil.copytree(built, tmp_path / "own"))


def test_the_same_settings_give_the_same_ranker(own: Path) -> None:
    before = open_artefact(own)
    report = train_ranker(own)
    after = open_artefact(own)
    assert (report.generation, after.name) == ("0002", "0002")
    assert verify(after) == []
    assert after.manifest["content_hash"] == before.manifest["content_hash"] == report.content_hash


def test_other_settings_give_another_ranker_over_the_same_stage_one(own: Path) -> None:
    before = open_artefact(own)
    settings = training_settings(own, None, OVERRIDES)
    train_ranker(own, settings)
    after = open_artefact(own)
    changed = {
        name
        for name, entry in before.manifest["files"].items()
        if not name.startswith("stages/")
        and after.manifest["files"][name]["sha256"] != entry["sha256"]
    }
    assert {"ranker/model.safetensors", "learning.json"} <= changed
    assert not any(name.startswith(("collaborative", "items", "text")) for name in changed)
    assert after.manifest["settings"]["ranker"]["training"]["batch_lists"] == 4
    with Engine.load(own) as engine:
        assert engine.recommend("u1", 3)


def test_an_artefact_without_a_ranker_gets_one(artefact: Path) -> None:
    with Engine.load(artefact) as engine:
        assert engine.stages.ranker is None
    train_ranker(artefact, training_settings(artefact, None, ("windows=1",)))
    assert open_artefact(artefact).manifest["settings"]["ranker"]["train"]
    with Engine.load(artefact) as engine:
        assert engine.stages.ranker is not None


def test_its_course_is_kept_in_the_artefact(own: Path) -> None:
    train_ranker(own, training_settings(own, None, OVERRIDES))
    lines = [json.loads(line) for line in open_artefact(own).path(COURSE).read_text().splitlines()]
    epochs = [one for one in lines if one["kind"] == "epoch"]
    assert [(one["number"], one["swa"]) for one in epochs] == [
        (0, 0.0),
        (1, 0.0),
        (1, 1.0),
        (2, 0.0),
        (2, 1.0),
    ]
    assert {"stop_loss", "auc", "accuracy", "ndcg10", "ece", "gap_log_loss"} <= set(epochs[-1])
    best = min(epochs, key=lambda one: one["stop_loss"])
    told = open_artefact(own).json("learning")["ranker"]
    assert told["best_epoch"] == best["number"]
    assert not list((own / "cache" / FOLDER).rglob("*.safetensors"))


def test_only_the_training_may_change(own: Path) -> None:
    with pytest.raises(SettingsError, match=r"\[stage_one\]"):
        training_settings(own, None, ("stage_one.decay=0.5",))
    with pytest.raises(SettingsError, match="did you mean"):
        training_settings(own, None, ("ranker.training.lerning_rate=0.5",))
    assert open_artefact(own).name == "0001"


@pytest.fixture
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it seem that tensorboard is not installed, and allow nobody to begin to write."""

    def begin(*_: object, **__: object) -> None:
        raise AssertionError("a generation was begun")

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for module in ("twofold.build", "twofold.retraining"):
        monkeypatch.setattr(f"{module}.begin_generation", begin)


REPORTED = "ranker.training.report_to=['tensorboard']"


@pytest.mark.usefixtures("no_tensorboard")
def test_a_training_that_could_not_be_reported_writes_nothing(own: Path, tmp_path: Path) -> None:
    settings = training_settings(own, None, (REPORTED,))
    with pytest.raises(MissingDependencyError, match=r"twofold\[track\]"):
        train_ranker(own, settings, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("no_tensorboard")
def test_a_build_that_could_not_be_reported_writes_nothing(
    tmp_path: Path, small_settings: Settings
) -> None:
    training = replace(small_settings.ranker.training, report_to=("tensorboard",))
    settings = replace(small_settings, ranker=replace(small_settings.ranker, training=training))
    with pytest.raises(MissingDependencyError, match=r"twofold\[track\]"):
        build(*small_tables(), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_a_build_without_a_ranker_tells_nobody_of_a_training(
    own: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_ranker(own)
    assert open_artefact(own).has(COURSE)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    training = replace(small_settings.ranker.training, report_to=("tensorboard",))
    ranker = replace(small_settings.ranker, train=False, training=training)
    build(*small_tables(), own, replace(small_settings, ranker=ranker))
    assert not open_artefact(own).has(COURSE)


def test_a_ranker_may_be_written_to_another_folder(own: Path, tmp_path: Path) -> None:
    train_ranker(own, out=tmp_path / "other")
    assert open_artefact(own).name == "0001"
    with Engine.load(tmp_path / "other") as other, Engine.load(own) as engine:
        assert other.recommend("u1", 5) == engine.recommend("u1", 5)


@pytest.mark.parametrize(
    "technique",
    [
        ("ranker.training.adapter.kind=adalora", "ranker.training.adapter.rank=2"),
        ("ranker.training.members=2", "ranker.training.ensemble=distil"),
    ],
    ids=["adalora", "members"],
)
def test_a_killed_training_goes_on_to_the_same_end(
    own: Path, tmp_path: Path, technique: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*OVERRIDES, *technique)
    whole = Path(shutil.copytree(own, tmp_path / "whole"))
    wanted = train_ranker(whole, training_settings(whole, None, overrides)).content_hash
    killed = subprocess.run(
        [sys.executable, "-m", "tests.twofold.killed_training", str(own), "9", *overrides],
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert killed.returncode == -signal.SIGKILL
    assert open_artefact(own).name == "0001"
    taken_up = []
    real = Checkpoints.load

    def load(self: Checkpoints) -> object:
        taken_up.append(found := real(self))
        return found

    monkeypatch.setattr(Checkpoints, "load", load)
    report = train_ranker(own, training_settings(own, None, overrides))
    assert taken_up[0] is not None
    assert taken_up[0].about["step"] > 0
    assert report.content_hash == wanted
    one, other = (
        [
            {name: value for name, value in json.loads(line).items() if name not in VARYING}
            for line in open_artefact(root).path(COURSE).read_text().splitlines()
        ]
        for root in (own, whole)
    )
    assert one == other


VARYING = ("seconds", "epoch_seconds", "peak_rss_mb")
