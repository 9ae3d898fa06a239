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
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from twofold.indexing.durable import replace_text
from twofold.indexing.errors import InputError, MissingDependencyError, SettingsError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from twofold.ranking.observing import Observer

TRAINING = "training.jsonl"
PROJECT = "twofold"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}
WITHOUT_ACCOUNT = ("offline", "dryrun", "disabled")

Values = Mapping[str, float]


class Reached(NamedTuple):
    """How far a training had come that is taken up again.

    Parameters
    ----------
    step, epoch
        The last of each that its checkpoint holds.
    run
        Which of several rankers was trained, from 1; each begins with its epoch 0.
    """

    step: int
    epoch: int
    run: int = 1


class _Runs:
    """Counts the trainings that one observer is told of: each begins with its epoch 0.

    Parameters
    ----------
    reached
        Where the counting goes on.
    """

    def __init__(self, reached: Reached | None = None) -> None:
        self.begun = 0 if reached is None else reached.run

    @property
    def number(self) -> int:
        """Number of the training that is under way, from 1."""
        return max(1, self.begun)

    def of(self, kind: str, number: int) -> int:
        """Return which training a step or epoch belongs to, told in order."""
        self.begun += kind == "epoch" and number == 0
        return self.number


class JsonLines:
    """Writes a line of JSON for every step and epoch that is told, each flushed at once.

    Keys are ``kind`` (``"step"`` or ``"epoch"``), ``number``, ``seconds`` (of training until then),
    ``peak_rss_mb`` (the most memory of this process, MiB; ``null`` on Windows) and all values that
    were told; what is not finite is ``null``. A training that is killed leaves whole lines.

    Parameters
    ----------
    path
        File to write; one that is there is replaced.
    reached
        Goes on in the file that is there instead: lines after that step and that epoch are dropped,
        since the training tells them again, and ``seconds`` go on counting.

    Raises
    ------
    InputError
        If there is no whole file to go on in.
    """

    def __init__(self, path: Path, reached: Reached | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [] if reached is None else _until(path, reached)
        replace_text(path, "".join(kept))
        spent = json.loads(kept[-1])["seconds"] if kept else 0.0
        self._begun = time.perf_counter() - spent
        self._file = path.open("a", encoding="utf-8")

    def step(self, number: int, values: Values) -> None:
        """Write the line of a step."""
        self._write("step", number, values)

    def epoch(self, number: int, values: Values) -> None:
        """Write the line of an epoch."""
        self._write("epoch", number, values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

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
        # One call, so that no half of a line is ever flushed alone.
        self._file.write(json.dumps(line, allow_nan=False, default=float) + "\n")
        self._file.flush()


class TensorBoard:
    """Writes values as scalars that TensorBoard shows: ``step/NAME`` and ``epoch/NAME``.

    Parameters
    ----------
    folder
        Folder of the event files, for ``tensorboard --logdir``. Of several trainings each but the
        first has a folder of its own below it.
    reached
        Of a training that is taken up again: scalars after that step are not shown any more.

    Raises
    ------
    MissingDependencyError
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path, reached: Reached | None = None) -> None:
        check_trackers(["tensorboard"])
        self._folder, self._reached, self._runs = folder, reached, _Runs(reached)
        self._open: tuple[int, SummaryWriter] | None = None

    def step(self, number: int, values: Values) -> None:
        """Write the scalars of a step."""
        self._write("step", number, values)

    def epoch(self, number: int, values: Values) -> None:
        """Write the scalars of an epoch, and flush all."""
        self._write("epoch", number, values).flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def _write(self, kind: str, number: int, values: Values) -> SummaryWriter:
        writer = self._writer(self._runs.of(kind, number))
        for name, value in values.items():
            writer.add_scalar(f"{kind}/{name}", value, number)
        return writer

    def _writer(self, run: int) -> SummaryWriter:
        """Return the writer of a training; the one before is closed."""
        from torch.utils.tensorboard import SummaryWriter

        if self._open is None or self._open[0] != run:
            self._close()
            folder = self._folder if run == 1 else self._folder / f"run-{run}"
            again = self._reached if self._reached and self._reached.run == run else None
            purged = None if again is None else again.step + 1
            writer = SummaryWriter(str(folder), purge_step=purged)
            self._open = run, writer
        return self._open[1]

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


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
    reached
        Of a training that is taken up again.

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
        reached: Reached | None = None,
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
        self._runs = _Runs(reached)
        for kind in ("step", "epoch"):
            self._run.define_metric(kind, hidden=True)
            self._run.define_metric(f"{kind}/*", step_metric=kind)

    def step(self, number: int, values: Values) -> None:
        """Log the values of a step."""
        self._log("step", number, values)

    def epoch(self, number: int, values: Values) -> None:
        """Log the values of an epoch."""
        self._log("epoch", number, values)

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
        self._run.log({kind: number, "run": self._runs.of(kind, number), **named})


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


@contextmanager
def observers_of(
    report_to: Sequence[str],
    folder: Path,
    config: Mapping[str, Any],
    *,
    reached: Reached | None = None,
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
    reached
        How far a training had come that is taken up again; ``None`` for one that begins.

    Raises
    ------
    MissingDependencyError, SettingsError, InputError
        As of :func:`check_trackers` and the observers.
    """
    check_trackers(report_to)
    project = os.environ.get("WANDB_PROJECT") or PROJECT
    kinds: dict[str, Callable[[], AbstractContextManager[Observer]]] = {
        "tensorboard": lambda: TensorBoard(folder / "tensorboard", reached),
        "wandb": lambda: WeightsAndBiases(project, folder, config, reached),
    }
    with ExitStack() as stack:
        told: list[Observer] = [stack.enter_context(JsonLines(folder / TRAINING, reached))]
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


def _until(path: Path, reached: Reached) -> list[str]:
    """Return the lines of a file that a training which is taken up does not tell again."""
    limits, runs, kept = {"step": reached.step, "epoch": reached.epoch}, _Runs(), []
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for line in lines:
            if not line.endswith("\n"):
                break  # the process ended while it wrote the line
            told = json.loads(line)
            run = runs.of(told["kind"], told["number"])
            if run > reached.run:
                break
            if run < reached.run or told["number"] <= limits[told["kind"]]:
                kept.append(line)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"a training is taken up, but {path} cannot be read ({error}); remove the folder "
            "around it to begin anew"
        ) from error
    return kept
