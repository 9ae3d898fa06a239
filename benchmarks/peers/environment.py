"""Python environments of their own, for peers whose requirements contradict twofold's.

``python -m benchmarks.peers.environment rectools`` makes one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from twofold.cache import cache_folder
from twofold.indexing.errors import InputError, MissingDependencyError, TwofoldError

ENVIRONMENTS = ("rectools", "lenskit")
# Written last: an environment without it was not finished.
_READY = "ready-for-twofold"


def requirements_of(name: str) -> Path:
    """Return the file of an environment's pinned requirements.

    Raises
    ------
    InputError
        If there is no such environment.
    """
    if name not in ENVIRONMENTS:
        raise InputError(f"no environment '{name}'; there are {', '.join(ENVIRONMENTS)}")
    return Path(__file__).with_name(f"{name}.txt")


def environment_folder(name: str) -> Path:
    """Return where an environment lies, made or not: other requirements, another folder."""
    told = requirements_of(name).read_bytes() + platform.python_version().encode()
    known = hashlib.sha256(told).hexdigest()[:12]
    return cache_folder() / "benchmarks" / "environments" / f"{name}-{known}"


def interpreter(name: str) -> Path:
    """Return the interpreter of an environment that was made before.

    Raises
    ------
    MissingDependencyError
        If it was not made.
    """
    folder = environment_folder(name)
    if not (folder / _READY).exists():
        raise MissingDependencyError(
            f"the environment of {name} is not made yet (no {folder}); run: "
            f"python -m benchmarks.peers.environment {name}"
        )
    return _python(folder)


def make_environment(name: str) -> Path:
    """Make an environment unless it is there, and return its folder; pip says how it goes.

    Raises
    ------
    TwofoldError
        If pip fails; what it had installed is made anew the next time.
    """
    folder, file = environment_folder(name), requirements_of(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (folder / _READY).exists():
            return folder
        if folder.exists():
            shutil.rmtree(folder)
        for command in commands_of(folder, file):
            done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise TwofoldError(
                    f"making the environment of {name} failed with code {done.returncode} at "
                    f"'{' '.join(command)}'; see what it said above, and run it again"
                )
        (folder / _READY).touch()
    return folder


def commands_of(folder: Path, file: Path) -> tuple[list[str], ...]:
    """Return the commands that make an environment in a folder from a file of requirements."""
    return (
        [sys.executable, "-m", "venv", str(folder)],
        [str(_python(folder)), "-m", "pip", "install", "-r", str(file)],
    )


def _python(folder: Path) -> Path:
    """Return the interpreter in an environment's folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main() -> None:
    """Make the environment that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.environment")
    parser.add_argument("name", choices=ENVIRONMENTS)
    try:
        print(make_environment(parser.parse_args().name))
    except TwofoldError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
