from __future__ import annotations

import itertools

import numpy as np
import pytest

from twofold.evaluation.metrics import Truth, judge, recall
from twofold.evaluation.serendipity import serendipity
from twofold.retrieval.candidates import Candidates, rank

N_QUERIES, N_ITEMS = 40, 9


def truth_of(*rows: list[int]) -> Truth:
    pairs = [(row, item) for row, items in enumerate(rows) for item in items]
    flat = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Truth.from_pairs(flat[:, 0], flat[:, 1], len(rows))


def plain(items: list[int], scores: list[float]) -> Candidates:
    return Candidates(np.array([items]), np.array([scores], dtype=np.float32))


def test_known_answer() -> None:
    items, truth = np.array([[4, 7, 2, 8]]), truth_of([7, 2, 8, -1])
    popular = plain([7, 1, 2], [3, 2, 1])
    # Of the first three 7 and 2 are held out; 7 is expected at every k, 2 from k = 3 on.
    assert serendipity(items, truth, popular, 1) == pytest.approx([0])
    assert serendipity(items, truth, popular, 2) == pytest.approx([0])
    assert serendipity(items[:, [2, 0, 1, 3]], truth, popular, 2) == pytest.approx([1 / 4])
    assert serendipity(items, truth, popular, 4) == pytest.approx([1 / 4])


def test_what_ties_with_the_last_expected_item_is_expected() -> None:
    items, truth = np.array([[5, 6]]), truth_of([5, 6])
    assert serendipity(items, truth, plain([1, 5, 6], [2, 1, 1]), 2) == pytest.approx([0])
    assert serendipity(items, truth, plain([1, 5, 6], [2, 1, 0]), 2) == pytest.approx([1 / 2])


def worlds(seed: int) -> tuple[Candidates, Candidates, list[list[int]]]:
    rng = np.random.default_rng(seed)
    every = np.broadcast_to(np.arange(N_ITEMS), (N_QUERIES, N_ITEMS)).copy()
    ours = rank(every, rng.integers(0, 4, every.shape).astype(np.float32), 6)
    popular = rank(every, rng.integers(0, 4, every.shape).astype(np.float32), N_ITEMS)
    held = [rng.permutation(N_ITEMS)[: rng.integers(0, 4)].tolist() for _ in range(N_QUERIES)]
    return ours, popular, held


def textbook(ours: Candidates, popular: Candidates, held: list[list[int]], k: int) -> list[float]:
    """The mean over every order of the tied items of each list."""
    out = []
    for row, wanted in enumerate(held):
        border = popular.scores[row, k - 1]
        obvious = set(popular.items[row][popular.scores[row] >= border].tolist())
        groups = [
            [item for item, _ in group]
            for _, group in itertools.groupby(
                zip(ours.items[row].tolist(), ours.scores[row].tolist(), strict=True),
                key=lambda one: one[1],
            )
        ]
        found = [
            len((set([*itertools.chain(*order)][:k]) & set(wanted)) - obvious)
            for order in itertools.product(*(itertools.permutations(group) for group in groups))
        ]
        out.append(float(np.mean(found)) / len(wanted) if wanted else np.nan)
    return out


@pytest.mark.parametrize("k", [1, 3, 6])
def test_agrees_with_the_textbook_ties_included(k: int) -> None:
    ours, popular, held = worlds(1)
    found = serendipity(ours.items, truth_of(*held), popular, k, ours.scores)
    assert found == pytest.approx(textbook(ours, popular, held, k), nan_ok=True)
    assert np.nanmax(found) > 0


@pytest.mark.parametrize("k", [1, 3, 6])
def test_stands_between_nothing_and_recall(k: int) -> None:
    ours, popular, held = worlds(2)
    truth = truth_of(*held)
    whole = recall(judge(ours.items, truth, ours.scores), k)
    found = serendipity(ours.items, truth, popular, k, ours.scores)
    told = ~np.isnan(whole)
    assert np.array_equal(told, ~np.isnan(found))
    assert bool(np.all(found[told] >= 0))
    assert bool(np.all(found[told] <= whole[told] + 1e-12))
    # The primitive list has nothing of its own; beside empty ones all that is found surprises.
    itself = serendipity(popular.items, truth, popular, k, popular.scores)
    assert np.nanmax(itself) == 0
    for empty in (popular.padded(9), Candidates(ours.items[:, :0], ours.scores[:, :0])):
        nothing = Candidates(np.full_like(empty.items, -1), np.full_like(empty.scores, -np.inf))
        alone = serendipity(ours.items, truth, nothing, k, ours.scores)
        assert alone == pytest.approx(whole, nan_ok=True)


def test_other_numbers_of_queries_are_refused() -> None:
    ours, popular, held = worlds(3)
    with pytest.raises(ValueError, match="40 primitive ones came with the truth of 39"):
        serendipity(ours.items, truth_of(*held[1:]), popular, 3)
