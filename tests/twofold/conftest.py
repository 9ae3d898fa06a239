"""What all tests of the face need."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.twofold.later import INTERACTIONS, ITEMS, build_first
from tests.twofold.small_world import small_tables
from twofold.build import build
from twofold.settings import Settings


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch use one core, so that numbers can be compared to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, small_settings: Settings) -> Path:
    """An artefact of stage one alone, to be read only."""
    out = tmp_path_factory.mktemp("plain") / "artefact"
    settings = replace(small_settings, ranker=replace(small_settings.ranker, train=False))
    build(*small_tables(), out, settings)
    return out


@pytest.fixture
def artefact(plain: Path, tmp_path: Path) -> Path:
    """A copy that the test may write to."""
    shutil.copytree(plain, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture(scope="session")
def plain_settings(small_settings: Settings) -> Settings:
    """Stage one alone."""
    return replace(small_settings, ranker=replace(small_settings.ranker, train=False))


@pytest.fixture(scope="session")
def first_plain(tmp_path_factory: pytest.TempPathFactory, plain_settings: Settings) -> Path:
    """What was there first, without a ranker; to be read only."""
    out = tmp_path_factory.mktemp("compact") / "plain"
    build_first(out, plain_settings)
    return out


@pytest.fixture(scope="session")
def whole_plain(tmp_path_factory: pytest.TempPathFactory, plain_settings: Settings) -> Path:
    """All of the world, without a ranker; to be read only."""
    out = tmp_path_factory.mktemp("compact") / "whole"
    build(INTERACTIONS, ITEMS, out, plain_settings)
    return out


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Take back what a command did to twofold's logger, which outlives the command here."""
    logger = logging.getLogger("twofold")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before
