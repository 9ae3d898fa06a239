"""The artefact: what is written is what is read, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from twofold.indexing.artefact import (
    Generation,
    GenerationWriter,
    begin_generation,
    open_artefact,
    stage_key,
    verify,
)
from twofold.indexing.errors import ArtefactBusyError, ArtefactError, InputError

ABOUT = {"settings": {"factors": 8}, "seed": 7, "counts": {"items": 3}}
FRAME = pl.DataFrame({"item_id": ["a", "b", "c"], "tags": [["x"], [], None]})


def build(
    root: Path, values: int = 3, *, about: dict[str, Any] = ABOUT, keep: int = 2
) -> Generation:
    with begin_generation(root, keep=keep) as writer:
        writer.put_array("factors/users", np.arange(values, dtype=np.float32))
        writer.put_frame("items", FRAME)
        writer.finish("data", stage_key(values))
        writer.put_json("kinds", ["view", "purchase"])
        writer.path("ranker/model.bin").write_bytes(b"weights")
        return writer.commit(about, measurements={"seconds": 1.5})


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
