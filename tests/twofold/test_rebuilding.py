"""Builds into a folder that holds one: same content, a served one left alone, and cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.twofold.small_world import build_small
from twofold import build as building
from twofold.engine import Engine
from twofold.indexing.artefact import GenerationWriter, open_artefact, verify
from twofold.indexing.generation import Generation
from twofold.settings import Settings

# On tensors this small, several threads only wait for each other.
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def artefact(tmp_path: Path, small_settings: Settings) -> Path:
    """Folder of an artefact that the test may write to."""
    build_small(tmp_path / "own", small_settings)
    return tmp_path / "own"


def test_the_same_build_twice_is_the_same_content(
    small_artefact: Path, artefact: Path, small_settings: Settings
) -> None:
    first, second = open_artefact(small_artefact), open_artefact(artefact)
    assert first.manifest["content_hash"] == second.manifest["content_hash"]
    assert verify(first) == verify(second) == []
    with Engine.load(small_artefact) as one, Engine.load(artefact) as other:
        assert one.recommend("u0") == other.recommend("u0")


def test_a_second_build_leaves_an_open_engine_alone(
    artefact: Path, small_settings: Settings
) -> None:
    with Engine.load(artefact) as engine:
        before = engine.recommend("u0")
        build_small(artefact, small_settings)
        assert (artefact / "CURRENT").read_text().strip() == "0002"
        assert engine.recommend("u0") == before
        with Engine.load(artefact) as later:
            assert later.recommend("u0") == before


def test_an_interrupted_build_leaves_the_old_generation(
    artefact: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Generation:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_small(artefact, small_settings)
    assert (artefact / "CURRENT").read_text().strip() == "0001"
    with Engine.load(artefact) as engine:
        assert len(engine.recommend("u0", 3)) == 3
    build_small(artefact, small_settings)
    assert (artefact / "CURRENT").read_text().strip() == "0002"


def test_a_build_interrupted_after_learning_does_not_learn_again(
    artefact: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Generation:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GenerationWriter, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_small(artefact, small_settings)
    with monkeypatch.context() as patch:
        patch.setattr(building, "learn", interrupted)
        content_hash = build_small(artefact, small_settings)
    assert (artefact / "CURRENT").read_text().strip() == "0002"
    with Engine.load(artefact) as engine:
        assert len(engine.recommend("u0", 3)) == 3
    assert content_hash == open_artefact(artefact).manifest["content_hash"]
