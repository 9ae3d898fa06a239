"""What the command line shows while it works: progress bars and logs, all on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

from twofold.indexing.progress import Progress, Silent, Task

steps = logging.getLogger("twofold.steps")


def make_console() -> Console:
    """Return a console on stderr as it is now."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def make_progress(console: Console, *, as_json: bool) -> Progress:
    """Return bars on a terminal, one log line a step for machines, and silence elsewhere."""
    if as_json:
        return Logged()
    return Bars(console) if console.is_terminal else Silent()


def set_up_logging(console: Console, *, as_json: bool, verbose: bool) -> None:
    """Send twofold's logs to a console; only a command line may do this, never the library."""
    logger = logging.getLogger("twofold")
    logger.handlers[:] = [_JsonLines() if as_json else _Lines(console)]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


class _Lines(logging.Handler):
    """One line a record, printed above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno != logging.INFO else ""
        self._console.print(f"{level}{record.getMessage()}", markup=False)


class _JsonLines(logging.Handler):
    """One JSON object a record."""

    def emit(self, record: logging.LogRecord) -> None:
        entry = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        sys.stderr.write(json.dumps(entry, ensure_ascii=False) + "\n")


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{_short(speed)}/s", style="cyan")


class _Done(ProgressColumn):
    """How many units are done, of how many."""

    def render(self, task: RichTask) -> Text:
        total = "" if task.total is None else f"/{_short(task.total)}"
        return Text(f"{_short(task.completed)}{total}")


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


class Bars:
    """Progress as bars with rate and time left; a finished step leaves one line.

    Parameters
    ----------
    console
        Where they are drawn.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Done(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}", style="dim"),
            console=console,
            transient=True,
            # Results belong on stdout, bars or not.
            redirect_stdout=False,
        )
        self._open = 0

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Draw a bar while the step runs; steps may be nested."""
        if self._open == 0:
            self._bars.start()
        self._open += 1
        bar = self._bars.add_task(name, total=total, remark="")
        task = _Bar(self._bars, bar)
        began = time.perf_counter()
        try:
            yield task
            self._console.print(
                Text(_summary(name, task.done, time.perf_counter() - began, task.remark))
            )
        finally:
            self._bars.remove_task(bar)
            self._open -= 1
            if self._open == 0:
                self._bars.stop()


class _Bar:
    def __init__(self, bars: RichProgress, bar: TaskID) -> None:
        self._bars, self._bar = bars, bar
        self.done, self.remark = 0.0, ""

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        self._bars.advance(self._bar, amount)

    def note(self, text: str) -> None:
        self.remark = text
        self._bars.update(self._bar, remark=text)


class Logged:
    """Progress as one log record when a step begins and one when it ends."""

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Log the step's beginning and, with duration and rate, its end."""
        steps.info("%s", name, extra={"facts": {"step": name, "event": "begin", "total": total}})
        task = _Counted()
        began = time.perf_counter()
        yield task
        seconds = time.perf_counter() - began
        facts = {"step": name, "event": "end", "done": task.done, "seconds": round(seconds, 3)}
        steps.info("%s", _summary(name, task.done, seconds, task.remark), extra={"facts": facts})


class _Counted:
    def __init__(self) -> None:
        self.done, self.remark = 0.0, ""

    def advance(self, amount: float = 1) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        self.remark = text


def _summary(name: str, done: float, seconds: float, remark: str) -> str:
    parts = [f"{name}: {seconds:.1f} s"]
    if done:
        parts.append(f"{_short(done)} done, {_short(done / max(seconds, 1e-9))}/s")
    return ", ".join([*parts, remark] if remark else parts)
