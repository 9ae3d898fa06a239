"""Lists that a ranker labels itself: what it is sure of, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import N_FEATURES
from twofold.ranking.lists import Lists
from twofold.ranking.pseudo_labels import labelled_by_itself
from twofold.ranking.training_settings import PseudoLabelSettings

Floats = npt.NDArray[np.float32]
NONE = -np.inf


def _unlabelled(items: list[list[int]]) -> Lists:
    """Return lists without labels; an item's features are all its number."""
    numbers = np.array(items, dtype=np.int64)
    features = np.repeat(numbers[:, :, None], N_FEATURES, axis=2).astype(np.float32)
    return planted_lists(numbers, np.zeros(numbers.shape, dtype=bool), features)


LISTS = _unlabelled([[1, 2, 3, 4], [5, 6, 7, -1], [8, 9, -1, -1]])
LOGITS = np.array(
    [[0.0, 9.0, -3.0, 1.0], [-4.0, 2.0, 7.0, NONE], [0.5, -5.0, NONE, NONE]], dtype=np.float32
)


def test_the_surest_of_all_lists_together_are_labelled_in_their_order() -> None:
    # Of nine candidates two are hits, 2 and 7, and three are misses, 3, 5 and 9.
    found = labelled_by_itself(LISTS, LOGITS, PseudoLabelSettings(hits=0.22, misses=0.34))
    assert found.candidates.items.tolist() == [[2, 3, -1, -1], [5, 7, -1, -1], [9, -1, -1, -1]]
    assert found.labels.tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False] * 4,
    ]
    assert found.n_held_out.tolist() == [1, 1, 0]
    # A list without a sure hit is passed over where hits are learned from.
    assert found.hits().tolist() == [0, 1]
    assert found.counted().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_what_is_kept_keeps_its_features_and_scores() -> None:
    found = labelled_by_itself(LISTS, LOGITS, PseudoLabelSettings(hits=0.22, misses=0.34))
    scores = [[-1.0, -2.0], [0.0, -2.0], [-1.0, NONE]]
    assert found.candidates.scores[:, :2].tolist() == scores
    assert np.isneginf(found.candidates.scores[:, 2:]).all()
    items = np.maximum(found.candidates.items, 0)
    assert (found.features == items[:, :, None]).all()


def test_each_share_has_one_candidate_at_least() -> None:
    few = PseudoLabelSettings(hits=1e-6, misses=1e-6)
    found = labelled_by_itself(LISTS, LOGITS, few)
    assert found.candidates.items[found.labels].tolist() == [2]
    assert found.candidates.items[found.mask() & ~found.labels].tolist() == [9]


def test_what_is_known_of_the_lists_stays_and_their_labels_are_not_looked_at() -> None:
    popular = np.arange(10, dtype=np.float32)
    own = replace(LISTS, popularity=popular)
    found = labelled_by_itself(own, LOGITS, PseudoLabelSettings())
    assert found.popularity is popular
    assert found.queries is own.queries
    assert found.refused is None
    told = replace(LISTS, labels=LISTS.mask(), n_held_out=LISTS.mask().sum(axis=1))
    again = labelled_by_itself(told, LOGITS, PseudoLabelSettings())
    assert np.array_equal(again.labels, found.labels)
    assert not LISTS.labels.any()


@st.composite
def told_lists(draw: st.DrawFn) -> tuple[Lists, Floats, PseudoLabelSettings]:
    """Return lists of several lengths, not all empty, with logits of which no two are equal."""
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    items = np.stack([rng.permutation(12)[:m] for _ in range(n)]).astype(np.int64)
    lengths = rng.integers(0, m, n, endpoint=True)
    lengths[0] = m
    items[np.arange(m) >= lengths[:, None]] = -1
    logits = rng.permutation(n * m).reshape(n, m).astype(np.float32) - n * m / 2
    hits = draw(st.floats(0.01, 0.6))
    settings = PseudoLabelSettings(hits=hits, misses=draw(st.floats(0.01, 1 - hits)))
    return _unlabelled(items.tolist()), np.where(items < 0, NONE, logits), settings


@given(told_lists())
def test_hits_are_above_misses_and_the_unsure_between_them_are_gone(
    told: tuple[Lists, Floats, PseudoLabelSettings],
) -> None:
    lists, logits, settings = told
    found = labelled_by_itself(lists, logits, settings)
    said = [
        dict(zip(items, values, strict=True))
        for items, values in zip(lists.candidates.items.tolist(), logits.tolist(), strict=True)
    ]
    kept: dict[bool, list[float]] = {True: [], False: []}
    for row, (items, labels) in enumerate(
        zip(found.candidates.items.tolist(), found.labels.tolist(), strict=True)
    ):
        n = sum(item >= 0 for item in items)
        # Padding is behind, and the order is that of before.
        assert all(item >= 0 for item in items[:n])
        before = lists.candidates.items[row].tolist()
        assert items[:n] == [item for item in before if item in set(items[:n])]
        assert not any(labels[n:])
        for item, label in zip(items[:n], labels, strict=False):
            kept[label].append(said[row][item])
    every = sorted(logits[lists.mask()].tolist())
    n_hits = max(1, round(settings.hits * len(every)))
    n_misses = max(1, round(settings.misses * len(every)))
    assert sorted(kept[True]) == every[-n_hits:]
    assert sorted(kept[False]) == every[: min(n_misses, len(every) - n_hits)]
    assert found.n_held_out.tolist() == found.labels.sum(axis=1).tolist()
    # Scores fall, and are none behind the last candidate, as of all candidates.
    assert (np.isneginf(found.candidates.scores) == ~found.mask()).all()
    assert (found.candidates.scores[:, :-1] >= found.candidates.scores[:, 1:]).all()
