"""Where the course of a training is told: a file of JSON lines, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from twofold.indexing.errors import InputError, MissingDependencyError, SettingsError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from twofold.ranking.observing import Observer

TRAINING = "training.jsonl"
PROJECT = "twofold"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}
WITHOUT_ACCOUNT = ("offline", "dryrun", "disabled")

Values = Mapping[str, float]


class JsonLines:
    """Writes a line of JSON for every step and epoch that is told, each flushed at once.

    Keys are ``kind`` (``"step"`` or ``"epoch"``), ``number``, ``seconds`` (of training until then),
    ``peak_rss_mb`` (the most memory of this process, MiB; ``null`` on Windows) and all values that
    were told; what is not finite is ``null``. A training that is killed leaves whole lines. Where
    one goes on that was cut off, its lines up to there are kept, and ``seconds`` go on counting;
    all others make room for what is told.

    Parameters
    ----------
    path
        File to write.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._before = path, _trainings(path)
        self._run, self._begun = 0, time.perf_counter()
        self._file: TextIO | None = None

    def resumed(self, step: int, epoch: int) -> None:
        """Write again what was written of the training that is under way, up to there.

        Raises
        ------
        InputError
            If nothing was.
        """
        self._begin()
        if len(self._before) < self._run:
            raise InputError(
                f"a training is taken up, but {self._path} does not tell of it; remove the folder "
                "around it to begin anew"
            )
        limits = {"step": step, "epoch": epoch}
        for line in self._before[self._run - 1]:
            if line["number"] <= limits[line["kind"]]:
                self._put(line)
                self._begun = time.perf_counter() - line["seconds"]

    def step(self, number: int, values: Values) -> None:
        """Write the line of a step."""
        self._write("step", number, values)

    def epoch(self, number: int, values: Values) -> None:
        """Write the line of an epoch."""
        if number == 0:
            self._begin()
        self._write("epoch", number, values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        """Begin with the next training: what stood in the file goes when the first begins."""
        self._run += 1
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8")

    def _write(self, kind: str, number: int, values: Values) -> None:
        line: dict[str, Any] = {
            "kind": kind,
            "number": number,
            "seconds": round(time.perf_counter() - self._begun, 3),
            "peak_rss_mb": peak_rss_mb(),
        }
        taken = sorted(set(line) & set(values))
        if taken:
            raise InputError(f"a line of training has its own '{taken[0]}'; name the value anew")
        line |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._put(line)

    def _put(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            raise InputError("a training tells of its epoch 0, or of where it goes on, first")
        # One call, so that no half of a line is ever flushed alone.
        self._file.write(json.dumps(line, allow_nan=False, default=float) + "\n")
        self._file.flush()


class TensorBoard:
    """Writes values as scalars that TensorBoard shows: ``step/NAME`` and ``epoch/NAME``.

    Parameters
    ----------
    folder
        Folder of the event files, for ``tensorboard --logdir``. Of several trainings each but the
        first has a folder of its own below it. What an earlier training wrote there is shown no
        more, nor what one that goes on wrote after where it was cut off.

    Raises
    ------
    MissingDependencyError
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        check_trackers(["tensorboard"])
        self._folder, self._run = folder, 0
        self._writer: SummaryWriter | None = None

    def step(self, number: int, values: Values) -> None:
        """Write the scalars of a step."""
        self._write("step", number, values)

    def epoch(self, number: int, values: Values) -> None:
        """Write the scalars of an epoch, and flush all."""
        if number == 0:
            self._begin(0)
        self._write("epoch", number, values).flush()

    def resumed(self, step: int, epoch: int) -> None:
        """Go on after a step."""
        self._begin(step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def _write(self, kind: str, number: int, values: Values) -> SummaryWriter:
        if self._writer is None:
            raise InputError("a training tells of its epoch 0, or of where it goes on, first")
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, number)
        return self._writer

    def _begin(self, step: int) -> None:
        """Begin with the next training; the one before is closed."""
        from torch.utils.tensorboard import SummaryWriter

        self._close()
        self._run += 1
        folder = self._folder if self._run == 1 else self._folder / f"run-{self._run}"
        self._writer = SummaryWriter(str(folder), purge_step=step)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WeightsAndBiases:
    """Logs values to Weights & Biases: ``step/NAME`` over steps and ``epoch/NAME`` over epochs.

    Nothing is sent but the values, the configuration and what W&B finds out about the machine and
    its packages: no code, no git state, no output. It never asks for a key. With
    ``WANDB_MODE=offline`` it needs neither account nor network; ``wandb sync`` sends the run later.
    A training that fails marks its run as failed; one that is taken up again is a run of its own.

    Parameters
    ----------
    project
        Name of the project.
    folder
        Where W&B keeps its files, in a folder ``wandb``.
    config
        Settings that the run is shown with: JSON values.

    Raises
    ------
    MissingDependencyError
        If wandb is not installed.
    SettingsError
        If it may go online but there is no key, or no run can be begun.
    """

    def __init__(
        self,
        project: str,
        folder: Path,
        config: Mapping[str, Any],
    ) -> None:
        check_trackers(["wandb"])
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off", disable_code=True, disable_git=True, save_code=False
        )
        try:
            self._run = wandb.init(
                project=project,
                dir=str(folder),
                config=dict(config),
                job_type="training",
                mode=_wandb_mode(),
                # A caller's own run goes on beside this one.
                reinit="create_new",
                settings=settings,
            )
        except wandb.errors.Error as error:
            raise SettingsError(
                f"Weights & Biases begins no run ({error}); set WANDB_MODE=offline to keep it here"
            ) from error
        self._number = 0
        for kind in ("step", "epoch"):
            self._run.define_metric(kind, hidden=True)
            self._run.define_metric(f"{kind}/*", step_metric=kind)

    def step(self, number: int, values: Values) -> None:
        """Log the values of a step."""
        self._log("step", number, values)

    def epoch(self, number: int, values: Values) -> None:
        """Log the values of an epoch."""
        self._number += number == 0
        self._log("epoch", number, values)

    def resumed(self, step: int, epoch: int) -> None:
        """Go on: what was logged before stands in a run of its own."""
        self._number += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run.finish(exit_code=0 if kind is None else 1)

    def _log(self, kind: str, number: int, values: Values) -> None:
        named = {f"{kind}/{name}": value for name, value in values.items()}
        self._run.log({kind: number, "run": self._number, **named})


class _Together:
    """Tells several observers, one after the other."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def step(self, number: int, values: Values) -> None:
        """Tell all of a step."""
        for one in self._observers:
            one.step(number, values)

    def epoch(self, number: int, values: Values) -> None:
        """Tell all of an epoch."""
        for one in self._observers:
            one.epoch(number, values)

    def resumed(self, step: int, epoch: int) -> None:
        """Tell all that a training goes on."""
        for one in self._observers:
            one.resumed(step, epoch)


@contextmanager
def observers_of(
    report_to: Sequence[str],
    folder: Path,
    config: Mapping[str, Any],
) -> Iterator[Observer]:
    """Give one observer that tells all that the settings name; all are closed in the end.

    ``training.jsonl`` is always written. The end is also that of a training that raises.

    Parameters
    ----------
    report_to
        Where else: ``"tensorboard"``, ``"wandb"``.
    folder
        Gets ``training.jsonl``, and the folders ``tensorboard`` and ``wandb``.
    config
        Settings to show beside the course: JSON values. W&B's project is the one that
        ``WANDB_PROJECT`` names, or ``twofold``.

    Raises
    ------
    MissingDependencyError, SettingsError, InputError
        As of :func:`check_trackers` and the observers.
    """
    check_trackers(report_to)
    project = os.environ.get("WANDB_PROJECT") or PROJECT
    kinds: dict[str, Callable[[], AbstractContextManager[Observer]]] = {
        "tensorboard": lambda: TensorBoard(folder / "tensorboard"),
        "wandb": lambda: WeightsAndBiases(project, folder, config),
    }
    with ExitStack() as stack:
        told: list[Observer] = [stack.enter_context(JsonLines(folder / TRAINING))]
        told += [stack.enter_context(kinds[name]()) for name in report_to]
        yield _Together(told)


def check_trackers(report_to: Sequence[str]) -> None:
    """Refuse what training could not report to, before there is anything to report.

    Parameters
    ----------
    report_to
        As of the settings.

    Raises
    ------
    MissingDependencyError
        If a package is not installed.
    SettingsError
        If a name is unknown, or Weights & Biases would have to ask for a key.
    """
    for name in report_to:
        if name not in PACKAGES:
            raise SettingsError(f"training reports to {', '.join(PACKAGES)}, not to '{name}'")
        if find_spec(PACKAGES[name]) is None:
            raise MissingDependencyError(
                f"reporting to {name} needs a package: pip install 'twofold[track]'"
            )
    if "wandb" in report_to and _wandb_mode() not in WITHOUT_ACCOUNT:
        import wandb

        if not wandb.login(prompt=False, verify=False):
            raise SettingsError(
                "Weights & Biases has no key: run `wandb login` or set WANDB_API_KEY, or set "
                "WANDB_MODE=offline to keep the run on this machine"
            )


def peak_rss_mb() -> float | None:
    """Return the most memory that this process has held, MiB; ``None`` on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return round(most / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _wandb_mode() -> Any:
    import wandb

    return os.environ.get("WANDB_MODE") or wandb.setup().settings.mode


def _trainings(path: Path) -> list[list[dict[str, Any]]]:
    """Return the whole lines of each training that a file tells of; each begins with epoch 0."""
    out: list[list[dict[str, Any]]] = []
    if not path.exists():
        return out
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not text.endswith("\n"):
            break  # the process ended while it wrote the line
        line = json.loads(text)
        if line["kind"] == "epoch" and line["number"] == 0:
            out.append([])
        out[-1].append(line)
    return out
