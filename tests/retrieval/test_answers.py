"""Answers of several kinds must say the same about the same scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.indexing.item_set import ItemSet
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval import answers
from twofold.retrieval.admission import Admission
from twofold.retrieval.answers import (
    DenseAnswer,
    NearAnswer,
    SparseAnswer,
    VectorAnswer,
    nearest,
)
from twofold.retrieval.relating import Touched
from twofold.retrieval.selection import best_dense

N, N_ITEMS = 6, 90
ALL = np.tile(np.arange(N_ITEMS, dtype=np.int64), (N, 1))


def _admission(rng: np.random.Generator, share: float = 0.2, filtered: float = 0) -> Admission:
    """Some items excluded for each query, and some queries limited to one of two filters."""
    excluded = sp.csr_matrix(rng.random((N, N_ITEMS)) < share)
    if not filtered:
        return Admission(excluded)
    filters = (None, *(ItemSet(rng.random(N_ITEMS) < filtered) for _ in range(2)))
    return Admission(excluded, tuple(filters[number] for number in rng.integers(0, 3, N)))


def _sparse(levels: npt.NDArray[np.float32], admission: Admission) -> SparseAnswer:
    """An answer of what is not zero."""
    rows, items = np.nonzero(levels)
    starts = np.searchsorted(rows, np.arange(len(levels) + 1))
    # The order in which items were met must not matter.
    shuffled = np.random.default_rng(0).permutation(len(rows))
    shuffled = shuffled[np.argsort(rows[shuffled], kind="stable")]
    touched = Touched(starts.astype(np.int64), items[shuffled].astype(np.int32))
    return SparseAnswer(touched, levels[rows, items][shuffled][None], 0, admission)


def _allowed(admission: Admission) -> npt.NDArray[np.bool_]:
    """The slow way to say what may be proposed."""
    out = ~admission.excluded.toarray().astype(bool)
    for row, one in enumerate(admission.eligible or ()):
        if one is not None:
            out[row] &= one.mask
    return np.asarray(out)


def _vectors(rng: np.random.Generator, n: int) -> npt.NDArray[np.float32]:
    vectors = normalised(rng.standard_normal((n, 24)))
    vectors[n // 2 :: 7] = vectors[0]  # ties
    return vectors


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, N_ITEMS + 5),
    share=st.sampled_from([0, 0.3, 1]),
    filtered=st.sampled_from([0, 0.1, 0.5]),
)
def test_a_sparse_answer_equals_the_dense_one(
    seed: int, k: int, share: float, filtered: float
) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 4, (N, N_ITEMS)).astype(np.float32)  # zeros and many ties
    admission = _admission(rng, share, filtered)
    dense = DenseAnswer(levels, admission, 0.0)
    sparse = _sparse(levels, admission)
    for one, other in zip(dense.top(k), sparse.top(k), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(dense.at(ALL), sparse.at(ALL))


def test_a_sparse_answer_may_be_empty() -> None:
    answer = _sparse(np.zeros((N, N_ITEMS), dtype=np.float32), _admission(_rng()))
    items, scores = answer.top(3)
    assert (items == -1).all()
    assert np.isneginf(scores).all()
    assert not answer.at(ALL).any()


def test_a_score_below_zero_is_known_but_not_proposed() -> None:
    scores = np.array([[0.5, -0.5, 0.0]], dtype=np.float32)
    answer = _sparse(scores, Admission(sp.csr_matrix((1, 3), dtype=bool)))
    assert answer.top(3)[0].tolist() == [[0, -1, -1]]
    assert answer.at(np.array([[1, 2, 0]])).tolist() == [[-0.5, 0.0, 0.5]]


@pytest.mark.parametrize("least", [-np.inf, 0.1])
@pytest.mark.parametrize("filtered", [0, 0.05, 0.5])
def test_scanning_and_searching_give_the_same_bits(
    filtered: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = _rng()
    index = VectorIndex.build(_vectors(rng, N_ITEMS), device="cpu")
    vectors = _vectors(rng, N)
    vectors[3] = 0
    admission = _admission(rng, filtered=filtered)
    (scanned,) = nearest([vectors], index, admission, least)
    monkeypatch.setattr(answers, "FEW", N)
    (rounded,) = nearest([vectors], index, admission, least)
    monkeypatch.setattr(VectorIndex, "scanned", False)
    (searched,) = nearest([vectors], index, admission, least)
    assert isinstance(scanned, DenseAnswer)
    assert isinstance(rounded, NearAnswer)
    assert isinstance(searched, VectorAnswer)
    for answer in (rounded, searched):
        for k in (1, 10, N_ITEMS):
            for one, other in zip(scanned.top(k), answer.top(k), strict=True):
                np.testing.assert_array_equal(one, other)
        assert (answer.top(5)[0][3] == -1).all()
        told = answer.top(N_ITEMS)[1]
        assert (told[np.isfinite(told)] > least).all()
        assert np.isfinite(told).any()
        np.testing.assert_array_equal(scanned.at(ALL), answer.at(ALL))


def test_several_directions_of_few_queries_are_answered_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = _rng()
    index = VectorIndex.build(_vectors(rng, N_ITEMS), device="cpu")
    directions = [_vectors(rng, N) for _ in range(3)]
    admission = _admission(rng, filtered=0.5)
    scanned = nearest(directions, index, admission)
    monkeypatch.setattr(answers, "FEW", 3 * N)
    for one, other in zip(nearest(directions, index, admission), scanned, strict=True):
        np.testing.assert_array_equal(one.top(9)[0], other.top(9)[0])
        np.testing.assert_array_equal(one.at(ALL), other.at(ALL))


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), filtered=st.sampled_from([0, 0.1, 0.9]))
def test_an_admission_says_the_same_in_every_form(seed: int, filtered: float) -> None:
    rng = np.random.default_rng(seed)
    admission = _admission(rng, 0.3, filtered)
    allowed = _allowed(admission)
    queries, items = rng.integers(0, N, 400), rng.integers(0, N_ITEMS, 400)
    np.testing.assert_array_equal(admission.bars(queries, items), ~allowed[queries, items])
    scores = rng.standard_normal((N, N_ITEMS)).astype(np.float32)
    wanted = np.where(allowed, scores, -np.inf)
    # Looking for the best strikes out what may not be proposed.
    best_dense(scores, 5, np.full(N, -np.inf, dtype=np.float32), admission.barred)
    np.testing.assert_array_equal(scores, wanted)
    for query in range(N):
        np.testing.assert_array_equal(admission.open(query), np.flatnonzero(allowed[query]))
    assert admission.most_excluded() == admission.excluded.toarray().sum(axis=1).max()
    groups = admission.groups()
    assert sorted(np.concatenate([rows for _, rows in groups])) == list(range(N))
    for one, rows in groups:
        for row in rows:
            assert one is (admission.eligible or (None,) * N)[row]
