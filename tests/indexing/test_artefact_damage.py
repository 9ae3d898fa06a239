"""Damaged, half written and killed: an artefact is whole or refused, and nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.indexing import killed_build
from tests.indexing.small_artefact import build
from twofold.indexing.artefact import (
    Generation,
    begin_generation,
    open_artefact,
    verify,
)
from twofold.indexing.durable import files_under
from twofold.indexing.errors import ArtefactError, InputError
from twofold.indexing.manifest import FORMAT_VERSION


def damage(root: Path, what: str) -> None:
    generation = root / "generations" / "0001"
    manifest = generation / "manifest.json"
    told = json.loads(manifest.read_text())
    if what == "no folder":
        shutil.rmtree(root)
    elif what == "a file":
        shutil.rmtree(root)
        root.write_text("x")
    elif what == "other folder":
        shutil.rmtree(root / "generations")
        (root / "CURRENT").unlink()
    elif what == "garbage in CURRENT":
        (root / "CURRENT").write_text("../../etc")
    elif what == "missing generation":
        (root / "CURRENT").write_text("0007\n")
    elif what == "no manifest":
        manifest.unlink()
    elif what == "half a manifest":
        manifest.write_text(manifest.read_text()[:50])
    elif what == "other manifest":
        manifest.write_text("{}")
    elif what == "newer format":
        manifest.write_text(json.dumps({**told, "format_version": FORMAT_VERSION + 1}))
    elif what == "older format":
        manifest.write_text(json.dumps({**told, "format_version": FORMAT_VERSION - 1}))
    elif what == "incomplete manifest":
        manifest.write_text(json.dumps({**told, "files": {"kinds.json": {}}}))
    elif what == "missing file":
        (generation / "kinds.json").unlink()
    elif what == "truncated file":
        (generation / "items.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no folder", "does not exist"),
        ("a file", "is a file"),
        ("other folder", "is not an artefact"),
        ("garbage in CURRENT", "should name a folder"),
        ("missing generation", "names generation 0007, but .* is missing"),
        ("no manifest", r"has no manifest\.json"),
        ("half a manifest", "cannot be read"),
        ("other manifest", "is not the manifest of a twofold artefact"),
        ("newer format", "upgrade twofold or build"),
        ("older format", r"this twofold reads \d+; build the artefact again"),
        ("incomplete manifest", "is incomplete"),
        ("missing file", r"kinds\.json is missing"),
        ("truncated file", r"items\.parquet has 4 bytes where the manifest says"),
    ],
)
def test_a_damaged_artefact_is_refused_in_one_line(tmp_path: Path, what: str, message: str) -> None:
    root = tmp_path / "a"
    build(root)
    damage(root, what)
    with pytest.raises(ArtefactError, match=message) as raised:
        open_artefact(root)
    assert "\n" not in str(raised.value)


def test_verify_names_every_changed_file(tmp_path: Path) -> None:
    generation = build(tmp_path)
    (generation.folder / "kinds.json").write_text('["view", "purchasE"]'.ljust(26))
    (generation.folder / "stray").write_text("x")
    (generation.folder / "ranker/model.bin").unlink()
    told = dict(generation.manifest, seed=8)
    (generation.folder / "manifest.json").write_text(json.dumps(told))
    problems = verify(Generation(generation.folder, told))
    for name in ("kinds.json", "stray", "ranker/model.bin", "manifest.json"):
        assert sum(line.startswith(name) for line in problems) == 1, problems


@pytest.mark.parametrize("name", ["factors/users.npy", "items.parquet", "kinds.json"])
def test_reading_a_damaged_file_says_which(tmp_path: Path, name: str) -> None:
    generation = build(tmp_path)
    (generation.folder / name).write_bytes(b"\x93NUMPY\x01")
    stem, suffix = name.split(".")
    read = {"npy": generation.array, "parquet": generation.frame, "json": generation.json}[suffix]
    with pytest.raises(ArtefactError, match=name):
        read(stem)
    with pytest.raises(ArtefactError, match=r"holds no 'nothing\.npy'"):
        generation.array("nothing")


def test_pickles_are_refused(tmp_path: Path) -> None:
    with begin_generation(tmp_path) as writer:
        np.save(writer.path("objects.npy"), np.array([{}], dtype=object), allow_pickle=True)
        generation = writer.commit({})
    with pytest.raises(ArtefactError, match=r"objects\.npy"):
        generation.array("objects")


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ArtefactError, match="holds other files"):
        build(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_path_that_is_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtefactError):
        build(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Let no file grow beyond `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["array", "frame", "json", "other"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, kind: str) -> None:
    big = np.random.default_rng(0).normal(size=50_000)

    def build_big() -> None:
        with begin_generation(tmp_path / "new" / "a") as writer:
            writer.put_json("small", 1)
            writer.finish("small", "key")
            if kind == "array":
                writer.put_array("big", big)
            elif kind == "frame":
                writer.put_frame("big", pl.DataFrame({"x": big}))
            elif kind == "json":
                writer.put_json("big", big.tolist())
            else:
                raise OSError(errno.ENOSPC, "No space left on device")

    with small_disk(100_000), pytest.raises(ArtefactError, match="cannot write"):
        build_big()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_keeps_the_old_generation(tmp_path: Path) -> None:
    old = build(tmp_path)
    before = sorted(files_under(tmp_path))
    with small_disk(100_000), pytest.raises(ArtefactError, match="cannot write"):
        build(tmp_path, 50_000)
    assert sorted(files_under(tmp_path)) == before
    assert verify(open_artefact(tmp_path)) == []
    assert open_artefact(tmp_path).folder == old.folder


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ArtefactError, match="Permission denied; give a folder that can be written"):
        build(tmp_path / "a")


def test_a_user_error_before_any_stage_leaves_nothing_behind(tmp_path: Path) -> None:
    def refuse() -> None:
        with begin_generation(tmp_path / "a" / "b") as writer:
            writer.put_json("x", 1)
            raise InputError("no such column")

    with pytest.raises(InputError, match="no such column"):
        refuse()
    assert os.listdir(tmp_path) == []


def run_build(root: Path, step: int, version: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.indexing.killed_build", str(root), str(step)]
    return subprocess.run(
        [*command, str(version)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def kill_points(root: Path, version: int, n: int) -> list[int]:
    """Return `n` steps spread over a build, with all of the commit's own among them."""
    lived = run_build(root, 0, version)
    assert lived.returncode == 0, lived.stderr
    taken = int(lived.stdout.split()[0])
    return sorted({*np.linspace(1, taken, n, dtype=int).tolist(), *range(taken - 5, taken + 1)})


def test_a_killed_first_build_is_refused_and_resumed(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    points = kill_points(whole, 1, 10)
    assert len(points) >= 10
    expected = open_artefact(whole).manifest["content_hash"]
    taken_up = 0
    for point in points:
        root = tmp_path / f"killed-{point}"
        assert run_build(root, point, 1).returncode == -signal.SIGKILL
        published = (root / "CURRENT").exists()
        if published:
            assert verify(open_artefact(root)) == []
        else:
            with pytest.raises(ArtefactError) as raised:
                open_artefact(root)
            assert "\n" not in str(raised.value)
        durable = len(list(root.glob("generations/*/stages/*.json")))
        generation, made = killed_build.build(root)
        assert len(made) == (3 if published else 3 - durable)
        taken_up += 3 - len(made)
        assert generation.manifest["content_hash"] == expected
        assert verify(open_artefact(root)) == []
        assert not list(root.glob("generations/.*"))
    assert taken_up > 0


def test_a_killed_rebuild_leaves_the_old_generation(tmp_path: Path) -> None:
    old = tmp_path / "old"
    killed_build.build(old, 1)
    killed_build.build(old, 2)
    shutil.copytree(old, tmp_path / "whole")
    points = kill_points(tmp_path / "whole", 3, 10)
    hashes = {
        version: open_artefact(tmp_path / name).manifest["content_hash"]
        for version, name in ((2, "old"), (3, "whole"))
    }
    for point in points:
        root = tmp_path / f"killed-{point}"
        shutil.copytree(old, root)
        assert run_build(root, point, 3).returncode == -signal.SIGKILL
        opened = open_artefact(root)
        assert verify(opened) == []
        assert opened.manifest["content_hash"] in hashes.values()
        if opened.name == "0002":
            assert opened.manifest["content_hash"] == hashes[2]
        generation, _ = killed_build.build(root, 3)
        assert generation.manifest["content_hash"] == hashes[3]
        assert len(list(root.glob("generations/*"))) == 2
