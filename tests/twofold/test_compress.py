"""A smaller ranker in an artefact of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.ranking.worlds import make_queries
from tests.twofold.small_world import build_small
from twofold.cli import app
from twofold.compress import _dealt, compress
from twofold.engine import Engine
from twofold.indexing.artefact import open_artefact, verify
from twofold.indexing.errors import InputError
from twofold.settings import Settings


def test_the_smaller_artefact_serves_as_it_was_compared(
    small_artefact: Path, tmp_path: Path
) -> None:
    out = tmp_path / "smaller"
    report = compress(small_artefact, out, layers=2)
    assert (report.larger.layers, report.smaller.layers) == (3, 2)
    assert report.smaller.joint_layers == 1
    assert 0 < report.same_top <= 1
    assert report.error < 1.0
    generation = open_artefact(out)
    assert verify(generation) == []
    assert generation.manifest["compressed"]["layers"] == 2
    with (
        Engine.load(small_artefact, runtime="float32") as larger,
        Engine.load(out, runtime="float32") as smaller,
    ):
        assert smaller.user_ids == larger.user_ids
        queries = larger.histories
        served = larger.stages.retriever.retrieve(queries, 20)
        again = smaller.stages.retriever.retrieve(queries, 20)
        np.testing.assert_array_equal(served.items, again.items)
        assert larger.stages.ranker is not None
        assert smaller.stages.ranker is not None
        assert smaller.stages.ranker.model.shape.backbone.layers == 2
        # What is served from the folder is what was compared, on the same users.
        held, fit = _dealt(queries, open_artefact(small_artefact).manifest["seed"])
        assert not set(held.users) & set(fit.users)
        served = larger.stages.retriever.retrieve(held, larger.stages.rerank)
        told = smaller.stages.ranker.logits(held, served)
        wanted = larger.stages.ranker.logits(held, served)
        there = np.isfinite(wanted)
        error = np.sqrt(np.square(told[there] - wanted[there]).mean())
        assert error == pytest.approx(report.error, rel=1e-3)
        assert smaller.search("red comedy", 3)


def test_the_command_says_both_sides(small_artefact: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(
        app, ["compress", str(small_artefact), "-o", str(tmp_path / "a"), "-l", "2", "--json"]
    )
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["larger"]["layers"] == 3
    assert found["smaller"]["history_ms"] > 0


def test_what_cannot_be_compressed_leaves_nothing(
    small_artefact: Path, small_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="layers must be from 2 to 2"):
        compress(small_artefact, out, layers=3)
    with pytest.raises(InputError, match="joint_layers must be between 1 and 2, not 3"):
        compress(small_artefact, out, layers=2, joint_layers=3)
    assert not out.exists()
    bare = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    build_small(tmp_path / "bare", bare)
    with pytest.raises(InputError, match="has no ranker"):
        compress(tmp_path / "bare", out, layers=2)
    assert not out.exists()


def test_too_few_users_are_refused() -> None:
    few = make_queries([[1], [2], [], [3], [4]])
    with pytest.raises(InputError, match="at least 5 users with a history; got 4"):
        _dealt(few, 0)
    held, fit = _dealt(make_queries([[1], [2], [5], [3], [4]]), 0)
    assert (len(held), len(fit)) == (1, 4)
