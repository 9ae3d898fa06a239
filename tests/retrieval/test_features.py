"""Features depend on their own row alone, and on nothing but the order and spread of scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from twofold.retrieval.features import feature_names, standardise

Floats = npt.NDArray[np.float32]
Z, RANK, PROPOSED = range(3)


def _one(scores: Floats, length: int | None = None) -> Floats:
    lengths = np.full(len(scores), scores.shape[1] if length is None else length)
    return standardise(scores[None], np.zeros(scores.shape, dtype=np.uint32), lengths)


def _batch(seed: int, n: int = 6, m: int = 12) -> tuple[list[Floats], npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    # Rounded, so that some are tied.
    scores = [random.normal(size=(n, m)).round(1).astype(np.float32) for _ in range(3)]
    return scores, random.integers(0, m + 1, size=n)


SCORES = st.lists(st.sampled_from([-2.0, 0.0, 0.25, 1.0, 7.0]), min_size=2, max_size=9)


@settings(deadline=None)
@given(st.integers(0, 999))
def test_a_row_does_not_depend_on_its_batch_mates_or_its_padding(seed: int) -> None:
    scores, lengths = _batch(seed, m=40)
    bits = np.random.default_rng(seed).integers(0, 8, scores[0].shape).astype(np.uint32)
    together = standardise(np.stack(scores), bits, lengths)
    for row, n in enumerate(lengths):
        cut = slice(row, row + 1), slice(0, n)
        own = np.stack([one[cut] for one in scores])
        alone = standardise(own, bits[cut], lengths[row : row + 1])
        np.testing.assert_array_equal(together[row, :n], alone[0])
        assert not together[row, n:].any()


@settings(deadline=None)
@given(SCORES, st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_scale_and_shift_of_the_scores_do_not_matter(
    row: list[float], scale: float, shift: float
) -> None:
    scores = np.array([row], dtype=np.float32)
    moved = (np.array([row]) + shift) * scale
    np.testing.assert_allclose(_one(moved.astype("f8")), _one(scores), rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(SCORES)
def test_features_equal_their_definition(row: list[float]) -> None:
    found = _one(np.array([row], dtype=np.float32))[0]
    if len(set(row)) == 1:
        assert not found.any()
        return
    z = (np.array(row) - np.mean(row)) / np.std(row)
    place = rankdata(-np.array(row), method="average") - 1
    np.testing.assert_allclose(found[:, Z], z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        found[:, RANK], 0.5 - np.log1p(place) / np.log1p(100), rtol=1e-5, atol=1e-6
    )


def test_ties_share_their_mean_place() -> None:
    found = _one(np.array([[3.0, 1.0, 1.0, 0.0]], dtype=np.float32))[0, :, RANK]
    assert found[0] == 0.5
    assert found[1] == found[2]
    assert found[1] == pytest.approx(0.5 - np.log1p(1.5) / np.log1p(100))
    assert found[3] == pytest.approx(0.5 - np.log1p(3) / np.log1p(100))


@pytest.mark.parametrize("value", [0.0, 0.1, -123.456, 1e6])
def test_rows_of_equal_scores_say_nothing(value: float) -> None:
    assert not _one(np.full((2, 7), value, dtype=np.float32)).any()


def test_padding_counts_nothing_whatever_stands_there() -> None:
    first = _one(np.array([[1.0, 3.0, 99.0]], dtype=np.float32), 2)
    second = _one(np.array([[1.0, 3.0, -99.0]], dtype=np.float32), 2)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[0, :, Z], [-1, 1, 0])


def test_bits_say_which_source_proposed() -> None:
    scores, _ = _batch(0, n=1, m=4)
    bits = np.array([[0b000, 0b001, 0b110, 0b111]], dtype=np.uint32)
    found = standardise(np.stack(scores), bits, np.array([4]))[0, :, PROPOSED::3]
    assert found.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]]


def test_an_outlier_is_clipped() -> None:
    scores = np.zeros((1, 500), dtype=np.float32)
    scores[0, 3] = 1
    assert _one(scores)[0, 3, Z] == 10


def test_names_follow_the_features() -> None:
    names = feature_names(["a", "b"])
    assert names == ("a.z", "a.rank", "a.proposed", "b.z", "b.rank", "b.proposed")
    scores, lengths = _batch(1)
    bits = np.zeros(scores[0].shape, dtype=np.uint32)
    assert standardise(np.stack(scores[:2]), bits, lengths).shape == (*bits.shape, len(names))


def test_no_rows_and_no_candidates_give_no_features() -> None:
    for shape in ((0, 4), (3, 0)):
        assert _one(np.zeros(shape, dtype=np.float32)).shape == (*shape, 3)
