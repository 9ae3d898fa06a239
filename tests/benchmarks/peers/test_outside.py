"""Peers in another process: what they are told, what comes back, and how they fail."""

from __future__ import annotations

import ast
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import environment, outside
from benchmarks.peers.environment import (
    ENVIRONMENTS,
    commands_of,
    environment_folder,
    interpreter,
    make_environment,
    requirements_of,
)
from benchmarks.peers.lenskit_models import lenskit_factors, lenskit_neighbours
from benchmarks.peers.outside import OutsideError, OutsidePeer, run_outside
from benchmarks.peers.sasrec import sasrec
from tests.benchmarks.peers.tasks import log_of, task_of
from twofold.indexing.errors import InputError, MissingDependencyError, TwofoldError

# Writes what it was told beside lists of the first allowed items, as a true peer would.
ANSWERS = """
import json, sys, numpy as np
from pathlib import Path
folder = Path(sys.argv[1])
task = json.loads((folder / "task.json").read_text())
log, asked = np.load(folder / "log.npz"), np.load(folder / "asked.npz")
print("reading", sorted(one.name for one in folder.iterdir()))
print("log", *(log[name].tolist() for name in ("users", "items", "positions", "times", "weights")))
print("told", json.dumps(task, sort_keys=True))
items = np.full((len(asked["users"]), task["k"]), -1)
for row in range(len(items)):
    hidden = asked["indices"][asked["indptr"][row]:asked["indptr"][row + 1]]
    allowed = np.setdiff1d(np.arange(task["n_items"]), hidden)[:task["k"]]
    items[row, :len(allowed)] = allowed
np.savez(folder / "lists.npz", items=items, scores=-np.sort(items, axis=1).astype(float))
"""


@pytest.fixture(autouse=True)
def _this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "interpreter", lambda name: Path(sys.executable))


def peer_of(tmp_path: Path, text: str, timeout_s: float = 60) -> OutsidePeer:
    script = tmp_path / "script.py"
    script.write_text(text)
    return OutsidePeer("fake", "rectools", script, ({"a": 1},), timeout_s)


def test_a_peer_is_told_what_it_may_know_and_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = task_of(
        log_of([(0, 3, 1), (0, 1, 2), (1, 2, 1), (1, 0, 5), (1, 2, 6)], 3, 5, frozenset({4})),
        [1, 0],
        k=4,
    )
    ranked = peer_of(tmp_path, ANSWERS).lists(task, {"steps": 3})
    assert ranked.items.tolist() == [[1, 3, 4, -1], [0, 2, 4, -1]]
    assert ranked.items.dtype == np.int64
    said = capfd.readouterr().err
    assert "reading ['asked.npz', 'log.npz', 'task.json']" in said
    day = 86_400_000
    assert (
        f"log [0, 0, 1] [3, 1, 0] [0, 1, 0] [{day}, {2 * day}, {5 * day}] [1.0, 1.0, 1.0]" in said
    )
    assert (
        'told {"has_times": true, "k": 4, "n_items": 5, "n_users": 3, "repeat": false, "seed": 0, '
        '"settings": {"steps": 3}, "threads": 1}'
    ) in said


def test_a_peer_finds_nothing_of_this_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", root)
    script = f"import sys\nassert {root!r} not in sys.path, sys.path\n" + ANSWERS
    task = task_of(log_of([(0, 0, 1)], 1, 3), [0], k=2)
    monkeypatch.chdir(root)
    assert peer_of(tmp_path, script).lists(task, {}).items.tolist() == [[1, 2]]


def test_threads_are_passed_on(tmp_path: Path) -> None:
    script = "import os\nassert os.environ['OMP_NUM_THREADS'] == '3'\n" + ANSWERS
    task = replace(task_of(log_of([(0, 0, 1)], 1, 3), [0], k=2), threads=3)
    assert len(peer_of(tmp_path, script).lists(task, {}).items) == 1


def test_a_failing_peer_is_one_error_with_its_last_words(tmp_path: Path) -> None:
    task = task_of(log_of([(0, 0, 1)], 1, 3), [0])
    with pytest.raises(OutsideError, match=r"failed with code 1; last it said:(.|\n)*no memory"):
        peer_of(tmp_path, "raise RuntimeError('no memory')").lists(task, {})
    with pytest.raises(OutsideError, match=r"left no lists\.npz"):
        peer_of(tmp_path, "pass").lists(task, {})
    shows = (
        ANSWERS + "np.savez(folder / 'lists.npz', items=[[0, 1, 2, -1]], scores=[[3, 2, 1, 0.]])"
    )
    with pytest.raises(InputError, match="fake: a list shows what is excluded"):
        peer_of(tmp_path, shows).lists(task, {})
    with pytest.raises(OutsideError, match="cannot start"):
        run_outside(tmp_path / "no", tmp_path / "x.py", tmp_path, threads=1, timeout_s=1)


def test_a_slow_peer_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('started', child.pid)\n"
        "time.sleep(60)\n"
    )
    task = task_of(log_of([(0, 0, 1)], 1, 3), [0])
    begun = time.monotonic()
    with pytest.raises(OutsideError, match=r"longer than 2 s(.|\n)*started") as caught:
        peer_of(tmp_path, text, timeout_s=2).lists(task, {})
    assert time.monotonic() - begun < 30
    grandchild = int(str(caught.value).rsplit("started", 1)[1].split()[0])
    for _ in range(100):
        if not _runs(grandchild):
            return
        time.sleep(0.05)
    pytest.fail("what the script had started still runs")


def _runs(process: int) -> bool:
    """Return whether a process runs; one that is dead and not yet waited for does not."""
    status = Path(f"/proc/{process}/stat")
    try:
        if status.parent.parent.exists() and Path("/proc/self/stat").exists():
            return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
        os.kill(process, 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


@pytest.mark.parametrize(
    "peer", [sasrec(1000), sasrec(50_000), lenskit_neighbours(), lenskit_factors()]
)
def test_peers_elsewhere_have_an_environment_a_script_and_a_grid(peer: OutsidePeer) -> None:
    assert peer.environment in ENVIRONMENTS
    assert requirements_of(peer.environment).exists()
    assert 1 <= len(peer.grid) <= 8
    assert len({str(one) for one in peer.grid}) == len(peer.grid)
    tree = ast.parse(peer.script.read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    assert not {name.split(".")[0] for name in names} & {"twofold", "benchmarks", "tests"}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_requirements_are_pinned(name: str) -> None:
    lines = requirements_of(name).read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if line and not line.startswith("#")]
    assert len(asked) > 20
    assert all("==" in line for line in asked)


class TestEnvironments:
    """Made once, where their requirements say; never half."""

    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        self.file = tmp_path / "nothing.txt"
        self.file.write_text("# nothing is asked for\n")
        monkeypatch.setattr(environment, "requirements_of", lambda name: self.file)

    def test_a_missing_one_is_an_error_with_the_command(self) -> None:
        with pytest.raises(
            MissingDependencyError, match=r"python -m benchmarks\.peers\.environment rectools$"
        ):
            interpreter("rectools")

    def quick(self, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
        """Leave out pip, and run a line of Python in its place."""

        def commands(folder: Path, file: Path) -> tuple[list[str], ...]:
            first, second = commands_of(folder, file)
            assert second[1:] == ["-m", "pip", "install", "-r", str(self.file)]
            return [*first, "--without-pip"], [second[0], "-c", code]

        monkeypatch.setattr(environment, "commands_of", commands)

    def test_it_is_made_once_and_anew_for_other_requirements(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.quick(monkeypatch, "")
        folder = make_environment("rectools")
        made = interpreter("rectools")
        assert made.is_relative_to(folder)
        assert made.exists()
        (folder / "kept").touch()
        assert make_environment("rectools") == folder
        assert (folder / "kept").exists()
        self.file.write_text("# something else\n")
        assert environment_folder("rectools") != folder
        with pytest.raises(MissingDependencyError):
            interpreter("rectools")

    def test_half_of_one_is_none_and_is_made_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.quick(monkeypatch, "raise SystemExit(3)")
        with pytest.raises(TwofoldError, match="failed with code 3"):
            make_environment("rectools")
        (environment_folder("rectools") / "left over").touch()
        with pytest.raises(MissingDependencyError):
            interpreter("rectools")
        self.quick(monkeypatch, "")
        assert not (make_environment("rectools") / "left over").exists()


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(InputError, match="there are rectools, lenskit"):
        requirements_of("conda")
