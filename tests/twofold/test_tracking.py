"""The course of a training is told: lines that survive a kill, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from twofold import tracking
from twofold.indexing.errors import InputError, MissingDependencyError, SettingsError
from twofold.ranking.observing import Observer
from twofold.tracking import JsonLines, TensorBoard, check_trackers, observers_of


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def numbers(path: Path) -> list[tuple[str, int]]:
    return [(line["kind"], line["number"]) for line in told(path)]


def tell(observer: Observer, first: int = 1, last: int = 2) -> None:
    """Tell of epochs of three steps each."""
    if first == 1:
        observer.epoch(0, {"ndcg10": 0.1})
    for epoch in range(first, last + 1):
        for step in range(3 * epoch - 2, 3 * epoch + 1):
            observer.step(step, {"loss": 1 / step})
        observer.epoch(epoch, {"ndcg10": 0.1 + epoch / 10, "best": 1})


def test_lines_hold_all_that_was_told(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "new" / "training.jsonl") as lines:
        lines.epoch(0, {"auc": float("nan"), "best": 1})
        lines.step(10, {"loss": 0.5, "learning_rate": 1e-4})
    first, second = told(tmp_path / "new" / "training.jsonl")
    memory = [line.pop("peak_rss_mb") for line in (first, second)]
    seconds = [line.pop("seconds") for line in (first, second)]
    assert first == {"kind": "epoch", "number": 0, "auc": None, "best": 1}
    assert second == {"kind": "step", "number": 10, "loss": 0.5, "learning_rate": 1e-4}
    assert 0 <= seconds[0] <= seconds[1] < 60
    assert 20 < memory[0] <= memory[1] < 50_000


def test_a_value_must_not_take_a_name_of_the_line(tmp_path: Path) -> None:
    with (
        JsonLines(tmp_path / "a.jsonl") as lines,
        pytest.raises(InputError, match="its own 'seconds'"),
    ):
        lines.step(1, {"seconds": 1.0})


def test_a_killed_training_leaves_whole_lines(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from twofold.tracking import JsonLines\n"
        "lines = JsonLines(Path(sys.argv[1])); lines.epoch(0, {})\n"
        "for step in range(1, 8): lines.step(step, {'loss': 0.5})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.jsonl")], check=False)
    assert done.returncode == -signal.SIGKILL
    steps = [("step", one) for one in range(1, 8)]
    assert numbers(tmp_path / "a.jsonl") == [("epoch", 0), *steps]


def test_a_training_goes_on_in_its_file(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.jsonl", tmp_path / "whole.jsonl"
    with JsonLines(whole) as lines:
        tell(lines, last=3)
    with JsonLines(path) as lines:
        tell(lines, last=2)
    path.write_text(path.read_text().replace('"seconds": 0.0', '"seconds": 50.0'))
    with path.open("a") as file:
        file.write('{"kind": "step", "numb')  # the process ended here
    with JsonLines(path) as lines:
        lines.resumed(3, 0)
        assert numbers(path) == [("epoch", 0), ("step", 1), ("step", 2), ("step", 3)]
        lines.epoch(1, {"ndcg10": 0.2})
        tell(lines, first=2, last=3)
    assert numbers(path) == numbers(whole)
    assert [line["seconds"] >= 50 for line in told(path)] == [True] * len(told(whole))


def test_of_several_trainings_the_later_ones_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JsonLines(path) as lines:
        for _ in range(3):
            tell(lines)
    run = numbers(path)[: len(numbers(path)) // 3]
    with JsonLines(path) as lines:
        lines.resumed(6, 2)
        lines.resumed(6, 1)
        assert numbers(path) == [*run, *run[:-1]]


def test_a_training_that_begins_anew_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JsonLines(path) as lines:
        tell(lines)
    kept = path.read_text()
    with JsonLines(path) as lines:
        assert path.read_text() == kept
        lines.epoch(0, {})
        assert numbers(path) == [("epoch", 0)]


def test_no_file_to_go_on_in_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    told = pytest.raises(InputError, match=r"taken up, but .*a\.jsonl does not tell of it")
    with JsonLines(path) as lines, told:
        lines.resumed(1, 0)


def test_what_comes_before_the_beginning_is_refused(tmp_path: Path) -> None:
    for observer in (JsonLines(tmp_path / "a.jsonl"), TensorBoard(tmp_path)):
        with observer, pytest.raises(InputError, match="epoch 0"):
            observer.step(1, {"loss": 1.0})


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard would show of a folder of event files."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(one.step, round(one.value, 4)) for one in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_reads_what_was_told(tmp_path: Path) -> None:
    with TensorBoard(tmp_path) as board:
        tell(board, last=1)
        assert scalars(tmp_path)["epoch/ndcg10"] == [(0, 0.1), (1, 0.2)]  # flushed by then
    assert scalars(tmp_path) == {
        "epoch/ndcg10": [(0, 0.1), (1, 0.2)],
        "epoch/best": [(1, 1.0)],
        "step/loss": [(1, 1.0), (2, 0.5), (3, 0.3333)],
    }


def test_tensorboard_shows_no_step_twice(tmp_path: Path) -> None:
    with TensorBoard(tmp_path) as board:
        tell(board, last=2)
    with TensorBoard(tmp_path) as board:
        board.resumed(4, 1)
        board.step(5, {"loss": 7.0})
    assert scalars(tmp_path)["step/loss"][3:] == [(4, 0.25), (5, 7.0)]


def test_tensorboard_keeps_several_trainings_apart(tmp_path: Path) -> None:
    with TensorBoard(tmp_path) as board:
        for _ in range(2):
            tell(board, last=1)
    with TensorBoard(tmp_path) as board:
        board.resumed(3, 1)
        board.resumed(3, 1)
        board.step(4, {"loss": 7.0})
    assert [one for one, _ in scalars(tmp_path)["step/loss"]] == [1, 2, 3]
    assert [one for one, _ in scalars(tmp_path / "run-2")["step/loss"]] == [1, 2, 3, 4]


@pytest.fixture
def own_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep W&B in a folder of its own: offline, silent, without the caller's account."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.teardown()  # what it read of the environment
    yield tmp_path / "home"
    wandb.teardown()


def test_a_run_is_kept_offline(
    tmp_path: Path, own_wandb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with observers_of(["wandb"], tmp_path / "w", {"rate": 0.5, "deep": {"a": 1}}) as observer:
        tell(observer)
    wandb.teardown()  # its own process writes the file, and has ended then
    (run,) = (tmp_path / "w" / "wandb").glob("offline-run-*/*.wandb")
    kept = run.read_bytes()
    for word in (b"epoch/ndcg10", b"step/loss", b"rate", b"deep", b"twofold"):
        assert word in kept
    assert numbers(tmp_path / "w" / "training.jsonl")[0] == ("epoch", 0)
    assert list(own_wandb.rglob("*.wandb")) == []


def test_without_a_key_nobody_is_asked(own_wandb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")

    def ask(*_: Any, **__: Any) -> str:
        raise AssertionError("a question was asked")

    monkeypatch.setattr("builtins.input", ask)
    with pytest.raises(SettingsError, match=r"no key: run `wandb login` .* WANDB_MODE=offline"):
        check_trackers(["wandb"])


def test_a_missing_package_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        with (
            pytest.raises(MissingDependencyError, match=r"pip install 'twofold\[track\]'"),
            observers_of([name], tmp_path, {}),
        ):
            pass
    with pytest.raises(SettingsError, match="tensorboard, wandb, not to 'paper'"):
        check_trackers(["paper"])
    assert list(tmp_path.iterdir()) == []


def test_all_are_told_and_closed_also_when_training_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Any] = []

    class Run:
        def __init__(self, *_: Any) -> None:
            self.seen: list[int] = []

        def step(self, number: int, values: Any) -> None:
            self.seen.append(number)

        epoch = step

        def __enter__(self) -> Run:
            return self

        def __exit__(self, kind: Any, *_: Any) -> None:
            ended.append((kind, self.seen))

    monkeypatch.setattr(tracking, "WeightsAndBiases", Run)
    monkeypatch.setattr(tracking, "check_trackers", lambda report_to: None)

    def train() -> None:
        with observers_of(["tensorboard", "wandb"], tmp_path, {}) as observer:
            observer.epoch(0, {"ndcg10": 0.1})
            observer.step(1, {"loss": 0.5})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert ended == [(KeyboardInterrupt, [0, 1])]
    assert scalars(tmp_path / "tensorboard")["step/loss"] == [(1, 0.5)]
    assert numbers(tmp_path / "training.jsonl") == [("epoch", 0), ("step", 1)]


def test_a_failed_training_is_marked(own_wandb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    codes = []
    for raised in (None, ValueError):
        run = tracking.WeightsAndBiases("p", own_wandb, {})
        with monkeypatch.context() as patch:
            finish = Mock(wraps=run._run.finish)
            patch.setattr(run._run, "finish", finish)
            run.__exit__(raised, None, None)
        codes.append(finish.call_args.kwargs["exit_code"])
    assert codes == [0, 1]
