"""What all tests of the face need."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

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


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Take back what a command did to twofold's logger, which outlives the command here."""
    logger = logging.getLogger("twofold")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before
