"""The plain cross-encoder: what it reads, what it learns from, and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from benchmarks.peers import cross_encoder
from benchmarks.peers.cross_encoder import (
    Recipe,
    history_texts,
    pairs_of,
    scores,
    seeded_users,
    train,
)
from twofold.indexing.errors import InputError
from twofold.indexing.models import ResolvedModel, resolve_model
from twofold.indexing.progress import Silent
from twofold.ranking.lists import Lists
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

TEXTS = ("space robot", "love red", "war opera", "comedy nail", "movie war", "polish love")
RECIPE = Recipe(steps=3, lists=2, negatives=2, bfloat16=False)


def lists_of(histories: list[list[int]], items: list[list[int]], labels: list[list[int]]) -> Lists:
    """Return labelled lists of users with these histories, oldest first."""
    lengths = [len(one) for one in histories]
    flat = np.array([item for one in histories for item in one], dtype=np.int64)
    n = len(flat)
    queries = Queries(
        users=np.arange(len(histories), dtype=np.int64),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=flat,
        kinds=np.zeros(n, dtype=np.int16),
        weights=np.ones(n, dtype=np.float32),
        times=np.arange(n, dtype=np.int64),
        steps=np.arange(n, dtype=np.int32),
        excluded=sp.csr_matrix((len(histories), max(100, n)), dtype=bool),
    )
    told = np.array(items, dtype=np.int64)
    falling = -np.arange(told.shape[1], dtype=np.float32)
    ranked = Candidates(told, np.where(told >= 0, falling, -np.inf).astype(np.float32))
    taken = np.array(labels, dtype=bool)
    return Lists(queries, ranked, taken, taken.sum(axis=1).astype(np.int64))


@pytest.fixture
def windows() -> tuple[Lists, ...]:
    """Return lists of two windows; one list has no hit, and one no miss."""
    first = lists_of(
        [[0, 1], [2], [3, 4, 5]],
        [[2, 3, 4, 5], [0, 1, 3, -1], [0, 1, 2, -1]],
        [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]],
    )
    second = lists_of([[5]], [[0, -1]], [[1, 0]])
    return first, second


@pytest.fixture
def backbone(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResolvedModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return resolve_model(str(tiny_bert))


def test_a_history_is_read_as_its_last_ten_items_oldest_first() -> None:
    texts = [f"t{number}" for number in range(15)]
    one = lists_of([list(range(12)), [], [14]], [[0], [0], [0]], [[0], [0], [0]])
    assert history_texts(one.queries, texts) == [
        " ; ".join(f"t{number}" for number in range(2, 12)),
        "",
        "t14",
    ]


def test_a_step_holds_a_hit_and_misses_of_the_same_list(windows: tuple[Lists, ...]) -> None:
    steps = pairs_of(windows, TEXTS, RECIPE, seed=0)
    assert len(steps) == 3
    # Two lists have both a hit and a miss, and every step takes two: each once.
    hits = {"space robot ; love red": {TEXTS[2], TEXTS[5]}, "war opera": {TEXTS[1]}}
    misses = {"space robot ; love red": {TEXTS[3], TEXTS[4]}, "war opera": {TEXTS[0], TEXTS[3]}}
    for step in steps:
        assert sorted(step.labels.tolist()) == [0, 0, 0, 0, 1, 1]
        assert set(step.histories) == set(hits)
        for history, candidate, label in zip(*step, strict=True):
            assert candidate in (hits if label else misses)[history]
        assert len(set(zip(step.histories, step.candidates, strict=True))) == 6
    again = pairs_of(windows, TEXTS, RECIPE, seed=0)
    assert [one.candidates for one in steps] == [one.candidates for one in again]
    others = [pairs_of(windows, TEXTS, RECIPE, seed=seed) for seed in range(1, 6)]
    assert any([a.candidates for a in one] != [a.candidates for a in steps] for one in others)
    with pytest.raises(InputError, match="a hit and a miss"):
        pairs_of(windows[1:], TEXTS, RECIPE, seed=0)


def test_it_is_trained_once_and_deterministic(
    windows: tuple[Lists, ...],
    backbone: ResolvedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trained(seed: int = 0) -> Path:
        steps = pairs_of(windows, TEXTS, RECIPE, seed)
        return train(steps, backbone, RECIPE, seed=seed, threads=1, progress=Silent())

    fitted = cross_encoder._fit
    calls = []

    def counted(*given: object) -> None:
        calls.append(1)
        fitted(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(cross_encoder, "_fit", counted)
    folder = trained()
    asked = (["space robot", ""], [list(TEXTS[:3]), list(TEXTS[3:5])])
    first = scores(folder, *asked, bfloat16=False)
    assert first.dtype == np.float32
    assert first.shape == (2, 3)
    assert np.isfinite(first).tolist() == [[True, True, True], [True, True, False]]
    assert first[1, 2] == -np.inf
    assert len(set(first[np.isfinite(first)].tolist())) == 5
    assert trained() == folder
    assert len(calls) == 1
    assert [one.name for one in folder.parent.iterdir()] == [folder.name]
    assert trained(seed=1) != folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    torch.rand(7)  # what else drew by chance must not matter
    moved = trained()
    assert len(calls) == 3
    assert moved != folder
    np.testing.assert_array_equal(scores(moved, *asked, bfloat16=False), first)


def test_it_learns_what_is_taken(backbone: ResolvedModel) -> None:
    # Whatever came before, the same item is taken.
    world = lists_of([[0], [1], [2], [3]], [[4, 5, 0]] * 4, [[1, 0, 0]] * 4)
    recipe = Recipe(steps=40, lists=4, negatives=2, learning_rate=3e-3, bfloat16=False)
    steps = pairs_of((world,), TEXTS, recipe, seed=0)
    folder = train(steps, backbone, recipe, seed=0, threads=1, progress=Silent())
    found = scores(folder, ["love red"], [[TEXTS[5], TEXTS[4], TEXTS[0]]], bfloat16=False)
    assert found[0].argmax() == 1
    assert found[0, 1] > 0 > max(found[0, 0], found[0, 2])


def test_users_are_drawn_by_seed_in_parts() -> None:
    parts = seeded_users(1000, seed=0)
    assert [len(part) for part in parts] == [100] * 5
    drawn = np.concatenate(parts)
    assert len(set(drawn.tolist())) == 500
    assert (np.diff(drawn) > 0).all()
    assert not np.array_equal(drawn, np.concatenate(seeded_users(1000, seed=1)))
    assert np.concatenate(seeded_users(130, seed=0)).tolist() == list(range(130))


def test_too_long_a_history_loses_its_oldest_items(backbone: ResolvedModel) -> None:
    model = cross_encoder._model(backbone.folder, 12, 0)
    long = " ; ".join(["space robot"] * 20 + ["love red"])
    (read,) = model.preprocess([(long, "war opera")])["input_ids"].tolist()
    said = model.tokenizer.decode(read)
    assert len(read) == 12
    assert "love red" in said
    assert "war opera" in said
