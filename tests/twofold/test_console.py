"""Progress and logs: bars for people, lines for machines, silence in a pipe."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from rich.console import Console

from twofold.console import Bars, Logged, make_progress, set_up_logging
from twofold.indexing.progress import Progress, Silent


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=120, color_system=None), out


def work(progress: Progress) -> None:
    with progress.step("Outer", 2) as outer:
        outer.advance()
        with progress.step("Inner") as inner:
            inner.note("loss 0.5")
        outer.advance(1)


def test_who_shows_progress_depends_on_who_reads() -> None:
    assert isinstance(make_progress(console(terminal=True)[0], as_json=False), Bars)
    assert isinstance(make_progress(console(terminal=False)[0], as_json=False), Silent)
    assert isinstance(make_progress(console(terminal=True)[0], as_json=True), Logged)


def test_bars_leave_one_line_a_step_with_its_rate() -> None:
    terminal, out = console(terminal=True)
    work(Bars(terminal))
    lines = [line for line in out.getvalue().replace("\r", "\n").splitlines() if " s, " in line]
    assert any("Inner: 0.0 s, loss 0.5" in line for line in lines)
    assert any("Outer: 0.0 s, 2 done, " in line and "/s" in line for line in lines)


def test_bars_end_with_an_error_and_without_a_line() -> None:
    terminal, out = console(terminal=True)
    bars = Bars(terminal)
    with pytest.raises(ValueError, match="broken"), bars.step("Step", 3):
        raise ValueError("broken")
    assert "Step: " not in out.getvalue()
    work(bars)
    assert "Outer: " in out.getvalue()


def test_bars_leave_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    terminal, out = console(terminal=True)
    with Bars(terminal).step("Step", 1):
        sys.stdout.write("data\n")
    assert capsys.readouterr().out == "data\n"
    assert "data" not in out.getvalue()


def test_a_finished_bar_goes_away() -> None:
    terminal, out = console(terminal=True)
    bars = Bars(terminal)
    with bars.step("First", 1):
        pass
    out.truncate(0)
    with bars.step("Second", 1):
        pass
    assert "Second" in out.getvalue()
    assert "First" not in out.getvalue()


def test_logged_steps_carry_facts(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(console(terminal=False)[0], as_json=True, verbose=False)
    work(Logged())
    out, err = capsys.readouterr()
    assert out == ""
    records = [json.loads(line) for line in err.splitlines()]
    assert [(one["event"], one["step"]) for one in records] == [
        ("begin", "Outer"),
        ("begin", "Inner"),
        ("end", "Inner"),
        ("end", "Outer"),
    ]
    assert records[0]["total"] == 2
    assert records[3]["done"] == 2
    assert records[3]["seconds"] >= 0
    assert records[2]["message"].endswith("loss 0.5")


def test_logs_for_people_name_only_what_is_unusual() -> None:
    target, out = console(terminal=False)
    set_up_logging(target, as_json=False, verbose=False)
    logger = logging.getLogger("twofold.somewhere")
    logger.debug("hidden")
    logger.info("plain [bold] text %d", 3)
    logger.warning("careful")
    assert out.getvalue() == "plain [bold] text 3\nwarning: careful\n"


def test_verbose_shows_details() -> None:
    target, out = console(terminal=False)
    set_up_logging(target, as_json=False, verbose=True)
    logging.getLogger("twofold.somewhere").debug("detail")
    assert out.getvalue() == "debug: detail\n"


def test_other_libraries_loggers_are_left_alone() -> None:
    before = logging.getLogger().handlers[:]
    set_up_logging(console(terminal=False)[0], as_json=False, verbose=True)
    assert logging.getLogger().handlers == before
