"""Fixtures for all rooms: tiny local models, so that no test needs a network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests import machine_code
from tests.indexing.tiny_models import make_bert, make_modernbert, make_qwen3, make_sentence_model
from tests.twofold import small_world
from twofold.settings import Settings

# Before anybody imports triton: without a GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
# What is compiled at its first call, or runs on a busy machine, takes longer than the next time.
settings.register_profile("twofold", deadline=None)
settings.load_profile("twofold")


def pytest_sessionstart() -> None:
    """Let every test run what is written now."""
    root = Path(__file__).parents[1]
    machine_code.forget_old([root / room for room in machine_code.ROOMS])


def pytest_runtest_setup() -> None:
    """Draw the same initial weights in every test, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what twofold remembers of this machine out of the caller's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a BERT encoder with 3 layers of width 32, 64 positions and a real tokenizer."""
    return make_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def tiny_modernbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a ModernBERT encoder with 3 layers, the upper two of which see 3 tokens far."""
    return make_modernbert(tmp_path_factory.mktemp("models") / "modernbert")


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Qwen3 decoder with 3 layers, heads wider than its width, and a BPE tokenizer."""
    return make_qwen3(tmp_path_factory.mktemp("models") / "qwen3")


@pytest.fixture(scope="session")
def tiny_sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sentence-transformers model of width 32 with the prompts "query: ", "item: "."""
    return make_sentence_model(tmp_path_factory.mktemp("models") / "sentence")


@pytest.fixture(scope="session")
def small_settings(tiny_sentence_model: Path, tiny_bert: Path) -> Settings:
    """Return settings with the tiny models, on one thread."""
    return small_world.small_settings(tiny_sentence_model, tiny_bert)


@pytest.fixture(scope="session")
def small_artefact(tmp_path_factory: pytest.TempPathFactory, small_settings: Settings) -> Path:
    """Folder of an artefact of the small world; to be read only."""
    out = tmp_path_factory.mktemp("artefacts") / "small"
    small_world.build_small(out, small_settings)
    return out
