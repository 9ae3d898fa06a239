"""The command line as a person and a pipe meet it: exit codes, one line, where things go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from twofold import __version__, cli, commands_build
from twofold.indexing.errors import DataError, TwofoldError

Captured = pytest.CaptureFixture[str]


def commands(group: typer.core.TyperGroup, path: str = "") -> Iterator[tuple[str, object]]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def all_commands() -> dict[str, object]:
    group = typer.main.get_command(cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    return dict(commands(group))


@pytest.mark.parametrize("name", all_commands())
def test_every_command_and_option_has_help(name: str) -> None:
    command = all_commands()[name]
    assert getattr(command, "help", None), f"{name} has no help"
    for parameter in getattr(command, "params", []):
        assert parameter.help, f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", all_commands())
def test_help_of_every_command_comes_up(name: str, capsys: Captured) -> None:
    assert cli.run([*name.split(), "--help"]) == 0
    assert f"Usage: twofold {name}" in capsys.readouterr().out


def test_without_a_command_comes_the_help(capsys: Captured) -> None:
    assert cli.run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_the_version_is_printed(capsys: Captured) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"twofold {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'"),
        (["doctor", "--jsn"], "No such option: --jsn"),
        (["inspect"], "Missing argument"),
        (["inspect", "/no/such/folder"], "/no/such/folder does not exist"),
        (["settings", "--set", "sed=3"], "sed: no such setting; did you mean seed?"),
        (["settings", "--set", "seed"], "write section.key=value"),
        (["settings", "--set", "seed=-1"], "seed must be in 0 .. 2**32 - 1, not -1"),
        (["settings", "--config", "/no.toml"], "/no.toml: No such file or directory"),
        (["settings", "--config", "/"], "/: Is a directory"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    arguments: list[str], message: str, capsys: Captured
) -> None:
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("twofold: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (TwofoldError("two\nlines"), 2, "twofold: two lines\n"),
        (DataError("no", file="f.csv", row=3), 2, "twofold: f.csv, row 3: no\n"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, "twofold: a.csv: No such file\n"),
        (PermissionError(13, "Permission denied", "b"), 2, "twofold: b: Permission denied\n"),
        (FileNotFoundError("No such file: c"), 2, "twofold: No such file: c\n"),
        (OSError(28, "No space left on device"), 2, "twofold: No space left on device\n"),
        (KeyboardInterrupt(), 130, "twofold: interrupted\n"),
        (typer.Abort(), 130, "twofold: interrupted\n"),
    ],
)
def test_errors_become_codes(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(commands_build, "begin", fail)
    assert cli.run(["doctor"]) == code
    assert capsys.readouterr().err == line


def test_verbose_shows_where_a_mistake_came_from(capsys: Captured) -> None:
    assert cli.run(["--verbose", "inspect", "/no/such/folder"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("make it: twofold build\n")


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(commands_build, "begin", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(["doctor"])


def test_settings_can_be_written_and_read_back(tmp_path: Path, capsys: Captured) -> None:
    assert cli.run(["settings"]) == 0
    text = capsys.readouterr().out
    assert text.count("#") > 20
    file = tmp_path / "all.toml"
    file.write_text(text, encoding="utf-8")
    assert cli.run(["settings", "--config", str(file), "--set", "seed=7"]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["seed"] == 7
    assert shown["ranker"] == tomllib.loads(text)["ranker"]


def twofold(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "twofold", *arguments]


def test_help_is_quick() -> None:
    best = 9.0
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(twofold("--help"), check=True, capture_output=True)
        best = min(best, time.perf_counter() - began)
    # 0.1 s on an idle machine; a heavy import takes more than a second.
    assert best < 0.5


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        twofold("settings"), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert done.returncode == cli.BROKEN_PIPE
    assert done.stderr == ""


def test_interrupting_is_one_line_and_code_130() -> None:
    code = (
        "import sys, time; from twofold import cli, commands_build\n"
        "def wait(**_): print('ready', flush=True); time.sleep(60)\n"
        "commands_build.begin = wait; sys.exit(cli.run(['doctor']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "twofold: interrupted\n"


def test_doctor_speaks_json(capsys: Captured) -> None:
    code = cli.run(["doctor", "--json"])
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"area", "name", "status", "detail", "fix"} == set(findings[0])
    assert code == int(any(finding["status"] == "missing" for finding in findings))
