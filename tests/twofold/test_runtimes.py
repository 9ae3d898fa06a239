"""The choice of runtime is made once on a machine, and kept outside the artefact."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from twofold import runtimes
from twofold.doctor import examine
from twofold.engine import Engine
from twofold.indexing.errors import InputError
from twofold.ranking import choosing
from twofold.ranking.choosing import Measured


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let bfloat16 be the fastest; return a list that grows with each measurement."""
    calls: list[int] = []

    def measure(ranker: Any, queries: Any, candidates: Any, **_: Any) -> tuple[Measured, ...]:
        calls.append(len(queries))
        assert candidates.n_queries == len(queries) > 0
        return (Measured("float32", 2.0, 0.0, 1.0), Measured("bfloat16", 1.0, 0.01, 1.0))

    monkeypatch.setattr(choosing, "measure_runtimes", measure)
    return calls


def served_in(artefact: Path, **how: Any) -> str:
    with Engine.load(artefact, **how) as engine:
        ranker = engine.stages.ranker
        assert ranker is not None
        return ranker.runtime.name


def kept() -> list[Path]:
    return sorted(runtimes._folder().glob("*"))


def test_a_choice_is_made_once_and_remembered(small_artefact: Path, measured: list[int]) -> None:
    assert served_in(small_artefact) == "bfloat16"
    assert served_in(small_artefact) == "bfloat16"
    assert len(measured) == 1
    (file,) = kept()
    told = json.loads(file.read_text())
    assert told["runtime"] == "bfloat16"
    assert [one["runtime"] for one in told["measured"]] == ["float32", "bfloat16"]
    (choice,) = runtimes.remembered()
    assert choice.runtime == "bfloat16"
    assert choice.milliseconds == {"float32": 2.0, "bfloat16": 1.0}


def test_a_runtime_that_is_asked_for_is_not_measured(
    small_artefact: Path, measured: list[int]
) -> None:
    assert served_in(small_artefact, runtime="int8") == "int8"
    assert served_in(small_artefact, runtime="float32") == "float32"
    assert measured == []
    assert kept() == []
    with pytest.raises(InputError, match="one of float32, bfloat16, int8, cuda, not 'fast'"):
        Engine.load(small_artefact, runtime="fast")


def test_other_threads_are_another_machine(small_artefact: Path, measured: list[int]) -> None:
    served_in(small_artefact)
    torch.set_num_threads(2)
    assert list(runtimes.remembered()) == []
    served_in(small_artefact)
    assert len(measured) == 2
    assert len(kept()) == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"runtime": "float32", "measured": [{}], "model": "x"}']
)
def test_a_damaged_record_is_measured_again(
    small_artefact: Path, measured: list[int], content: str
) -> None:
    served_in(small_artefact)
    (file,) = kept()
    file.write_text(content)
    assert served_in(small_artefact) == "bfloat16"
    assert len(measured) == 2
    assert json.loads(file.read_text())["runtime"] == "bfloat16"


def test_a_cache_that_cannot_be_written_is_said_and_done_without(
    small_artefact: Path,
    measured: list[int],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, logger="twofold"):
        assert served_in(small_artefact) == "bfloat16"
    assert "could not be kept" in caplog.text
    assert measured


def test_the_real_measurement_agrees_with_itself(small_artefact: Path) -> None:
    name = served_in(small_artefact)
    (choice,) = runtimes.remembered()
    assert choice.runtime == name
    assert set(choice.milliseconds) == {"float32", "bfloat16", "int8"}
    assert all(spent > 0 for spent in choice.milliseconds.values())


def test_doctor_tells_what_was_chosen(small_artefact: Path, measured: list[int]) -> None:
    def told() -> list[str]:
        return [one.detail for one in examine() if one.area == "runtimes"]

    assert told() == ["none measured yet: an artefact's first load on this machine does it"]
    served_in(small_artefact)
    assert told() == ["bfloat16 (float32 2.00 ms, bfloat16 1.00 ms a list)"]
