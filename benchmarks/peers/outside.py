"""Peers that run in an environment of their own, as a child process that is given a folder.

The folder holds what the peer may learn from and whom to answer, and nothing else of the data:

``task.json``
    ``settings``, ``k``, ``n_users``, ``n_items``, ``repeat``, ``seed``, ``threads``, ``has_times``.
``log.npz``
    One row an event that raises an item: ``users``, ``items`` (int64), ``positions`` (place among
    the user's rows, int64), ``times`` (milliseconds, int64) and ``weights`` (float32), in order of
    users and positions.
``asked.npz``
    ``users`` (int64), and what each must not be shown as rows of a CSR matrix: ``indptr``,
    ``indices`` (int64).

The child writes ``lists.npz``: ``items`` (int64, best first, -1 for padding) and ``scores``, both
``(n, k)``. Arrays of numpy are all that both sides must have.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.peers.best import sound
from benchmarks.peers.environment import interpreter
from benchmarks.peers.task import Task
from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import TwofoldError

_LINES = 12  # of what the child said last, told in the error


class OutsideError(TwofoldError):
    """A peer's process that failed, took too long, or left no lists."""


@dataclass(frozen=True)
class OutsidePeer:
    """A peer that runs elsewhere.

    Parameters
    ----------
    name
        Name of its rows.
    environment
        Name of its environment.
    script
        What runs there; its one argument is the folder.
    grid
        Settings that a search tries.
    timeout_s
        Seconds after which a run is ended.
    """

    name: str
    environment: str
    script: Path
    grid: tuple[Mapping[str, Any], ...]
    timeout_s: float = 600.0

    def lists(self, task: Task, settings: Mapping[str, Any]) -> Ranked:
        """Return what the process answered.

        Raises
        ------
        MissingDependencyError
            If its environment is not made.
        OutsideError
            If the process fails, takes too long or leaves no lists.
        InputError
            If its lists are not sound.
        """
        python = interpreter(self.environment)
        with tempfile.TemporaryDirectory(prefix="twofold-peer-") as made:
            folder = Path(made)
            write_task(folder, task, settings)
            run_outside(python, self.script, folder, threads=task.threads, timeout_s=self.timeout_s)
            return sound(read_lists(folder, self.name), task.excluded, task.k, self.name)


def write_task(folder: Path, task: Task, settings: Mapping[str, Any]) -> None:
    """Write what a peer is told to a folder, as the module's text says."""
    raises = task.log.matrix()
    who = np.repeat(np.arange(task.log.n_users, dtype=np.int64), np.diff(raises.indptr))
    n_items = np.int64(task.log.n_items)
    flat = task.log.users * n_items + task.log.items
    kept = task.log.take(np.isin(flat, who * n_items + raises.indices) & (task.log.weights > 0))
    np.savez(
        folder / "log.npz",
        users=kept.users,
        items=kept.items,
        positions=np.arange(len(kept)) - kept.indptr[kept.users],
        times=kept.times,
        weights=kept.weights,
    )
    np.savez(
        folder / "asked.npz",
        users=task.users,
        indptr=task.excluded.indptr.astype(np.int64),
        indices=task.excluded.indices.astype(np.int64),
    )
    told = {
        "settings": dict(settings),
        "k": task.k,
        "n_users": task.log.n_users,
        "n_items": task.log.n_items,
        "repeat": task.repeat,
        "seed": task.seed,
        "threads": task.threads,
        "has_times": task.asked_at is not None,
    }
    (folder / "task.json").write_text(json.dumps(told), encoding="utf-8")


def read_lists(folder: Path, name: str) -> Ranked:
    """Return the lists that a peer left in its folder.

    Raises
    ------
    OutsideError
        If there are none.
    """
    try:
        with np.load(folder / "lists.npz", allow_pickle=False) as found:
            return Ranked(found["items"].astype(np.int64), found["scores"])
    except (OSError, ValueError, KeyError) as error:
        raise OutsideError(f"{name} ended well but left no lists.npz to read ({error})") from error


def run_outside(
    python: Path, script: Path, folder: Path, *, threads: int, timeout_s: float
) -> None:
    """Run a script in another environment; what it says goes to standard error as it comes.

    It finds neither twofold nor the benchmarks: no path of this process is passed on.

    Parameters
    ----------
    python
        The interpreter.
    script
        The script; its one argument is the folder.
    folder
        What it is given.
    threads
        How many threads it may use.
    timeout_s
        Seconds after which it is ended, with all that it started.

    Raises
    ------
    OutsideError
        If it cannot be started, fails, or takes too long.
    """
    counted = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    surroundings = {**os.environ, **dict.fromkeys(counted, str(threads)), "PYTHONUNBUFFERED": "1"}
    command = [str(python), "-I", "-u", str(script), str(folder)]
    last: deque[str] = deque(maxlen=_LINES)
    try:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise OutsideError(f"cannot start {python} for {script.name}: {error}") from error
    told = threading.Thread(target=_pass_on, args=(child.stdout, last), daemon=True)
    told.start()
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise OutsideError(
            f"{script.name} took longer than {timeout_s:g} s and was ended; last it said: "
            f"{_said(last)}"
        ) from error
    finally:
        _end(child)
        told.join(5)
    if code:
        raise OutsideError(f"{script.name} failed with code {code}; last it said: {_said(last)}")


def _pass_on(stream: IO[str] | None, last: deque[str]) -> None:
    """Pass on what a child says, and keep the last of it."""
    for line in stream or ():
        last.append(line.rstrip())
        sys.stderr.write(line)
        sys.stderr.flush()


def _said(last: deque[str]) -> str:
    return "\n".join(list(last)) or "nothing"


def _end(child: subprocess.Popen[str]) -> None:
    """End a child that still runs, and all in its group."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
