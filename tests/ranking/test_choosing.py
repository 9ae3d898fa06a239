"""Runtimes are chosen by trying, and a fast one that says something else is not taken."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import pytest
import torch

from tests.ranking.worlds import make_queries, make_ranker, make_served
from twofold.ranking import runtime
from twofold.ranking.choosing import Measured, fastest, measure_runtimes
from twofold.ranking.model import RankerModel
from twofold.ranking.ranker import Ranker


@pytest.fixture
def ranker(tiny_bert: Path) -> Ranker:
    return make_ranker(tiny_bert)


class Wrong(runtime.InMemory):
    """A runtime whose text model says the opposite."""

    name = "wrong"

    def prepare(self, model: RankerModel) -> RankerModel:
        other = copy.deepcopy(model)
        other.head.weight = torch.nn.Parameter(-model.head.weight)
        return other


class Slow(runtime.InMemory):
    """Single precision that waits."""

    name = "slow"

    def prepare(self, model: RankerModel) -> RankerModel:
        other = copy.deepcopy(model)
        other.g.register_forward_pre_hook(lambda *_: time.sleep(0.02))
        return other


def test_what_is_measured_is_true(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**runtime.RUNTIMES, "wrong": Wrong(), "slow": Slow()}
    monkeypatch.setattr(runtime, "RUNTIMES", known)
    queries = make_queries([[1, 2], [3], [4, 5, 6]])
    found = measure_runtimes(
        ranker,
        queries,
        make_served(3, short=range(3)),
        runtimes=("float32", "bfloat16", "wrong", "slow"),
        rounds=2,
    )
    by_name = {one.runtime: one for one in found}
    assert list(by_name) == ["float32", "bfloat16", "wrong", "slow"]
    assert by_name["float32"].error == 0.0
    assert by_name["float32"].same_top == 1.0
    assert 0.0 < by_name["bfloat16"].error < 0.15
    assert not by_name["wrong"].sound
    assert by_name["slow"].milliseconds > 20.0 > by_name["float32"].milliseconds
    assert fastest([by_name["slow"], by_name["wrong"]]) == "slow"


def test_the_fastest_sound_runtime_is_taken() -> None:
    exact = Measured("float32", 5.0, 0.0, 1.0)
    sound = Measured("bfloat16", 2.0, 0.02, 0.99)
    assert fastest([exact, sound]) == "bfloat16"
    assert fastest([exact, Measured("int8", 1.0, 0.02, 0.94), sound]) == "bfloat16"
    assert fastest([exact, Measured("int8", 1.0, 0.3, 1.0), sound]) == "bfloat16"
    assert fastest([Measured("float32", 1.0, 0.0, 1.0), sound]) == "float32"
    assert fastest([Measured("int8", 1.0, 9.0, 0.0)]) == "float32"
