"""What loading and closing an engine does, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.twofold.small_world import seen_by_user
from twofold.engine import Engine, EngineError
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries
from twofold.retrieval.retriever import Retriever

# On tensors this small, several threads only wait for each other.
pytestmark = pytest.mark.usefixtures("one_thread")


def test_somebody_is_answered_before_the_first_request(
    small_artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieve = Retriever.retrieve
    asked: list[Queries] = []

    def noted(self: Retriever, queries: Queries, k: int, **more: Any) -> Candidates:
        asked.append(queries)
        return retrieve(self, queries, k, **more)

    monkeypatch.setattr(Retriever, "retrieve", noted)
    with Engine.load(small_artefact, runtime="float32"):
        (first,) = asked
    assert first.lengths().tolist() == [max(len(items) for items in seen_by_user().values())]


def test_a_closed_engine_is_refused(small_artefact: Path) -> None:
    engine = Engine.load(small_artefact)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.recommend("u0")
    with pytest.raises(EngineError, match="closed"):
        asyncio.run(engine.arecommend("u0"))


def test_the_process_stays_as_it_was(small_artefact: Path) -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.random.get_rng_state().tolist(),
            str(np.random.get_state()),  # noqa: NPY002
            list(logging.getLogger().handlers),
            logging.getLogger().level,
            list(warnings.filters),
            dict(os.environ),
        )

    before = state()
    with Engine.load(small_artefact) as engine:
        engine.recommend("u0")
        engine.search("space")
    assert state() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_loading_and_closing_leaves_no_file_open(small_artefact: Path) -> None:
    def cycle() -> int:
        with Engine.load(small_artefact) as engine:
            engine.recommend("u0", 2)
        return len(os.listdir("/proc/self/fd"))

    first = cycle()
    assert max(cycle() for _ in range(30)) <= first


def test_loading_and_closing_leaves_no_memory_taken(small_artefact: Path) -> None:
    """A thousand cycles took 8 MiB while a library held on to the sizes of tensors it had read."""

    def taken(cycles: int) -> int:
        for _ in range(cycles):
            with Engine.load(small_artefact) as engine:
                engine.recommend("u0", 2)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    taken(3)
    tracemalloc.start()
    try:
        first = taken(10)
        assert (taken(40) - first) / 40 < 1500  # seen 610 bytes; with the leak 4,500
    finally:
        tracemalloc.stop()
