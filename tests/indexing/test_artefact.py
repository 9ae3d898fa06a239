"""The artefact: what is written is what is read, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.indexing.small_artefact import ABOUT, FRAME, build
from twofold.indexing.artefact import (
    begin_generation,
    open_artefact,
    verify,
)
from twofold.indexing.errors import ArtefactBusyError, ArtefactError, InputError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = build(tmp_path / "a")
    opened = open_artefact(tmp_path / "a")
    assert opened.folder == written.folder
    assert opened.name == "0001"
    array = opened.array("factors/users")
    np.testing.assert_array_equal(array, [0, 1, 2])
    assert array.dtype == np.float32
    assert not array.flags.writeable
    assert opened.frame("items").equals(FRAME)
    assert opened.json("kinds") == ["view", "purchase"]
    assert opened.path("ranker/model.bin").read_bytes() == b"weights"
    assert [opened.has(one) for one in ("kinds", "ranker", "factors/users", "other")] == [
        True,
        True,
        True,
        False,
    ]
    assert opened.measurements() == {"seconds": 1.5}
    assert opened.manifest["settings"] == {"factors": 8}
    assert verify(opened) == []


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4), np.float32),
        np.array(3),
        np.asfortranarray(np.eye(3)),
        np.array(["a", "bc"]),
    ],
)
def test_odd_arrays_survive(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    with begin_generation(tmp_path) as writer:
        writer.put_array("odd", array)
        generation = writer.commit(ABOUT)
    read = generation.array("odd")
    assert read.shape == array.shape
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def interrupt(root: Path) -> None:
    """Finish the stage "first" with "old/a", begin the next, and go on no further."""
    with begin_generation(root) as writer:
        writer.put_array("old/a", np.arange(3))
        writer.finish("first", "key")
        writer.put_array("b", np.arange(3))
        raise KeyboardInterrupt


def test_equal_builds_have_equal_bytes_and_one_content_hash(tmp_path: Path) -> None:
    first = build(tmp_path / "a")
    with begin_generation(tmp_path / "b") as writer:
        writer.put_array("factors/users", np.arange(3, dtype=np.float32))
        # The same table from other parts, and the same files in other stages.
        writer.put_frame("items", pl.concat([FRAME[:1], FRAME[1:]], rechunk=False))
        writer.put_json("kinds", ["view", "purchase"])
        writer.path("ranker/model.bin").write_bytes(b"weights")
        second = writer.commit(ABOUT, measurements={"seconds": 99})
    assert second.manifest["content_hash"] == first.manifest["content_hash"]


def test_the_course_of_a_training_is_verified_but_makes_no_other_build(tmp_path: Path) -> None:
    built = []
    for seconds in (1, 2):
        with begin_generation(tmp_path / str(seconds)) as writer:
            writer.path("ranker/model.bin").write_bytes(b"weights")
            writer.path("ranker/training.jsonl").write_text(f'{{"seconds": {seconds}}}\n')
            writer.finish("learned", "key")
            built.append(writer.commit(ABOUT))
    assert built[0].manifest["content_hash"] == built[1].manifest["content_hash"]
    assert verify(built[0]) == []
    built[0].path("ranker/training.jsonl").write_text('{"seconds": 3}\n')
    (problem,) = verify(built[0])
    assert problem.startswith("ranker/training.jsonl was changed")


def test_a_table_put_together_from_parts_has_the_same_bytes(tmp_path: Path) -> None:
    whole = pl.DataFrame({"x": np.arange(300_000), "y": np.arange(300_000) % 7})
    parts = pl.concat([whole[:1000], whole[1000:250_000], whole[250_000:]], rechunk=False)
    with begin_generation(tmp_path) as writer:
        writer.put_frame("whole", whole)
        writer.put_frame("parts", parts)
        files = writer.commit({}).manifest["files"]
    assert files["whole.parquet"] == files["parts.parquet"]


@pytest.mark.parametrize(
    ("values", "about"), [(4, ABOUT), (3, {**ABOUT, "seed": 8}), (3, {**ABOUT, "settings": {}})]
)
def test_the_content_hash_tells_builds_apart(
    tmp_path: Path, values: int, about: dict[str, Any]
) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b", values, about=about)
    assert second.manifest["content_hash"] != first.manifest["content_hash"]


def test_readers_keep_the_generation_they_opened(tmp_path: Path) -> None:
    first = build(tmp_path, 1)
    mapped = first.array("factors/users")
    second = build(tmp_path, 2)
    assert first.array("factors/users").shape == (1,)
    assert verify(first) == []
    build(tmp_path, 3)
    assert open_artefact(tmp_path).name == "0003"
    assert sorted(os.listdir(tmp_path / "generations")) == ["0002", "0003"]
    assert mapped.shape == (1,)  # what was mapped stays readable
    assert second.array("factors/users").shape == (2,)
    with pytest.raises(ArtefactError, match="removed by a later build; open the artefact again"):
        first.array("factors/users")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    busy = pytest.raises(ArtefactBusyError, match=r"lock file .*\.lock")
    with begin_generation(tmp_path), busy:
        build(tmp_path)
    build(tmp_path)


def test_a_finished_stage_is_taken_up_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path)
    with pytest.raises(ArtefactError, match="interrupted; run the same `twofold build` again"):
        open_artefact(tmp_path)
    with begin_generation(tmp_path) as writer:
        assert writer.finished("first", "key")
        assert not writer.written().has("b")
        np.testing.assert_array_equal(writer.written().array("old/a"), np.arange(3))
        writer.commit({})
    assert open_artefact(tmp_path).has("old/a")


@pytest.mark.parametrize("change", ["key", "content", "missing"])
def test_a_stage_that_changed_is_made_again(tmp_path: Path, change: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path)
    path = next(tmp_path.rglob("a.npy"))
    if change == "content":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    if change == "missing":
        path.unlink()
    with begin_generation(tmp_path) as writer:
        assert not writer.finished("first", "other" if change == "key" else "key")
        assert not writer.written().has("old/a")
        writer.put_array("old/a", np.arange(4))
        writer.finish("first", "other")
        generation = writer.commit({})
    assert len(generation.array("old/a")) == 4


def test_a_stage_that_is_not_asked_for_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path)
    with begin_generation(tmp_path) as writer:
        writer.put_json("new", 1)
        generation = writer.commit({})
    assert not generation.has("old")
    assert verify(generation) == []


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    with begin_generation(tmp_path) as writer:
        for name in ("", "../x", "/x", "manifest.json", "measurements.json", "stages/x"):
            with pytest.raises(InputError):
                writer.path(name)
        with pytest.raises(InputError, match="Python objects"):
            writer.put_array("a", np.array([{}], dtype=object))
        with pytest.raises(InputError, match="JSON"):
            writer.put_json("a", float("nan"))
        writer.put_json("a", 1)
        writer.finish("one", "key")
        with pytest.raises(InputError, match="written by stage 'one'"):
            writer.put_json("a", 2)
        with pytest.raises(InputError, match="finished already"):
            writer.finish("one", "key")
