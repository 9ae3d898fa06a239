from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from twofold.evaluation.hardware import describe_hardware, library_versions, source_commit


def test_hardware_is_plain_and_true() -> None:
    found = describe_hardware(threads=2)
    assert json.loads(json.dumps(found)) == found
    assert found["threads"] == 2
    assert isinstance(found["cores"], int)
    assert found["cores"] >= 1
    assert found["cpu"]


def test_versions_are_those_installed() -> None:
    found = library_versions()
    assert found["numpy"] == version("numpy")
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, twofold.evaluation.hardware as h; h.describe_hardware(); h.library_versions();"
        "print(sorted({'torch', 'faiss', 'implicit', 'lightgbm', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_of_a_clean_and_of_a_changed_checkout(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *named, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert source_commit(tmp_path) is None
    git("init", "-q")
    assert source_commit(tmp_path) is None
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "untracked").write_text("two")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD")
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "quality.jsonl").write_text("one row")
    git("add", "benchmarks")
    git("commit", "-q", "-m", "results")
    (results / "quality.jsonl").write_text("two rows")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert source_commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
    (tmp_path / "inside").mkdir()
    assert source_commit(tmp_path / "inside") is None
