"""Stage one merges all proposals once, in the fusion's order, each query by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.indexing.logs import DISLIKE, LIKE, SKIP, Event, log_of
from twofold.indexing.errors import InputError
from twofold.indexing.item_set import ItemSet
from twofold.indexing.neighbours import NeighbourSettings, cosine_neighbours, transitions, trending
from twofold.indexing.vectors import VectorIndex, normalised
from twofold.retrieval import retriever as module
from twofold.retrieval.admission import Admission
from twofold.retrieval.answers import DenseAnswer
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.features import standardise
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.merging import merge
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.retrieval.retriever import Retriever
from twofold.retrieval.sources import Related, TextProfile, TextQuery, Trending, View

N_USERS, N_ITEMS = 10, 40
NOBODY, SPOKEN = 4, 7
TREND_BIT, TEXT_BIT = 1 << 3, 1 << 4


def _rows() -> list[Event]:
    random = np.random.default_rng(8)
    return [
        (
            int(random.integers(N_USERS)),
            int(random.zipf(1.4) % N_ITEMS),
            at,
            str(random.choice([LIKE, SKIP, DISLIKE], p=[0.7, 0.2, 0.1])),
        )
        for at in range(220)
    ]


def _queries() -> Queries:
    log = log_of([row for row in _rows() if row[0] != NOBODY], N_USERS, N_ITEMS)
    queries = queries_of_users(log, np.arange(N_USERS), max_history=20)
    texts = tuple("blue" if user == SPOKEN else " " for user in range(N_USERS))
    return replace(queries, texts=texts)


def _encode(texts: tuple[str, ...]) -> npt.NDArray[np.float32]:
    assert set(texts) == {"blue"}
    return np.eye(5, dtype=np.float32)[np.zeros(len(texts), dtype=np.int64)]


def _retriever(fusion: Fusion | None = None, per_source: int = 8) -> Retriever:
    log = log_of(_rows(), N_USERS, N_ITEMS)
    index = VectorIndex.build(
        normalised(np.random.default_rng(1).normal(size=(N_ITEMS, 5))), device="cpu"
    )
    neighbours = NeighbourSettings()
    trend = Trending(trending(log, neighbours, has_times=True))
    sources = (
        Related("neighbours", cosine_neighbours(log.matrix(), neighbours), View()),
        Related("transitions", transitions(log, neighbours), View(last=1)),
        TextProfile("text", index, View(decay=0.7)),
        trend,
    )
    fusion = fusion or Fusion("zscore", (1.0, 0.5, 0.25, 0.125))
    return Retriever(sources, trend, fusion, per_source, TextQuery(index, _encode))


def _assert_same(first: Candidates, second: Candidates) -> None:
    np.testing.assert_array_equal(first.items, second.items)
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-4, atol=1e-5)
    assert first.features is not None
    assert second.features is not None
    np.testing.assert_allclose(first.features, second.features, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(first.sources, second.sources)


def test_a_row_is_the_union_of_proposals_in_the_order_of_the_fusion() -> None:
    queries, retriever = _queries(), _retriever()
    found = retriever.retrieve(queries, None)
    assert found.features is not None
    assert found.sources is not None
    for query in set(range(N_USERS)) - {NOBODY, SPOKEN}:
        one = queries.take(np.array([query]))
        answers = [source.answer(one) for source in retriever.sources]
        proposals = [answer.top(8)[0][0] for answer in answers]
        union = np.array(sorted({int(i) for row in proposals for i in row if i >= 0}))
        bits = np.array(
            [sum(1 << s for s, row in enumerate(proposals) if item in row) for item in union],
            dtype=np.uint32,
        )[None]
        scores = [answer.at(union[None]) for answer in answers]
        features = standardise(np.stack(scores), bits, np.full(len(bits), bits.shape[1]))
        wanted = retriever.fusion.score(features)[0]
        n = len(union)
        at = found.items[query, :n]
        assert sorted(at) == union.tolist()
        assert (found.items[query, n:] == -1).all()
        place = np.searchsorted(union, at)
        np.testing.assert_allclose(found.scores[query, :n], wanted[place], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found.sources[query, :n], bits[0, place])
        np.testing.assert_allclose(
            found.features[query, :n], features[0, place], rtol=1e-4, atol=1e-4
        )


def test_a_row_does_not_depend_on_other_rows() -> None:
    queries, retriever = _queries(), _retriever()
    together = retriever.retrieve(queries, 12)
    for query in range(N_USERS):
        alone = retriever.retrieve(queries.take(np.array([query])), 12)
        _assert_same(alone, together.take(np.array([query])))
    order = np.random.default_rng(0).permutation(N_USERS)
    _assert_same(retriever.retrieve(queries.take(order), 12), together.take(order))


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, retriever = _queries(), _retriever()
    whole = retriever.retrieve(queries, None)
    monkeypatch.setattr(module, "CHUNK_SCORES", 3 * 4 * N_ITEMS)
    _assert_same(retriever.retrieve(queries, None), whole)


def test_fewer_are_the_first_of_more() -> None:
    queries, retriever = _queries(), _retriever()
    _assert_same(retriever.retrieve(queries, 4), retriever.retrieve(queries, 15).top(4))


def test_excluded_items_never_come_back() -> None:
    queries = _queries()
    found = _retriever(per_source=N_ITEMS).retrieve(queries, N_ITEMS)
    rows, places = np.nonzero(found.items >= 0)
    excluded = queries.excluded.toarray()
    assert not excluded[rows, found.items[rows, places]].any()
    # With all items proposed by text, all that may come does.
    history = (queries.lengths() > 0) & (np.arange(N_USERS) != SPOKEN)
    np.testing.assert_array_equal(found.lengths()[history], (~excluded).sum(axis=1)[history])


def test_k_above_the_catalogue_pads() -> None:
    found = _retriever().retrieve(_queries(), 3 * N_ITEMS)
    assert found.items.shape == (N_USERS, 3 * N_ITEMS)
    assert (found.lengths() <= N_ITEMS).all()


def test_neither_history_nor_text_gets_what_trends() -> None:
    queries, retriever = _queries(), _retriever()
    found = retriever.retrieve(queries, 6).take(np.array([NOBODY]))
    items, scores = retriever.default.answer(queries.take(np.array([NOBODY]))).top(6)
    np.testing.assert_array_equal(found.items, items)
    np.testing.assert_array_equal(found.scores, scores)
    np.testing.assert_array_equal(found.sources, np.full((1, 6), TREND_BIT))
    assert retriever.source_names[3] == "trending"


def test_a_text_is_answered_by_the_text_source() -> None:
    queries, retriever = _queries(), _retriever()
    found = retriever.retrieve(queries, 6).take(np.array([SPOKEN]))
    assert retriever.text_query is not None
    items, scores = retriever.text_query.answer(queries.take(np.array([SPOKEN]))).top(6)
    np.testing.assert_array_equal(found.items, items)
    np.testing.assert_allclose(found.scores, scores)
    np.testing.assert_array_equal(found.sources, np.full((1, 6), TEXT_BIT))
    assert retriever.source_names[4] == "text_query"


def test_a_text_without_an_encoder_is_refused() -> None:
    silent = replace(_retriever(), text_query=None)
    with pytest.raises(InputError, match="no text encoder"):
        silent.retrieve(_queries(), 5)
    assert silent.retrieve(replace(_queries(), texts=None), 5).n_queries == N_USERS


def test_another_fusion_changes_the_order_but_not_the_candidates() -> None:
    queries, retriever = _queries(), _retriever()
    other = retriever.with_fusion(Fusion("zscore", (-1.0, 0.0, 3.0, 0.0)))
    first, second = retriever.retrieve(queries, None), other.retrieve(queries, None)
    np.testing.assert_array_equal(np.sort(first.items), np.sort(second.items))
    assert not np.array_equal(first.items, second.items)


def test_no_queries_get_no_rows() -> None:
    retriever = _retriever()
    found = retriever.retrieve(_queries().take(np.array([], dtype=np.int64)), 5)
    assert found.items.shape == (0, 5)
    assert found.features is not None
    assert found.features.shape == (0, 5, len(retriever.feature_names))


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_1_is_refused(k: int) -> None:
    with pytest.raises(InputError, match="k must be at least 1"):
        _retriever().retrieve(_queries(), k)


class _Shown:
    """Progress that notes what it was told."""

    def __init__(self) -> None:
        self.told: list[float] = []

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[_Shown]:
        self.told.append(total or 0)
        yield self

    def advance(self, amount: float = 1) -> None:
        self.told.append(amount)

    def note(self, text: str) -> None:
        return None


def test_progress_adds_up_to_the_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_SCORES", 4 * N_ITEMS)
    shown = _Shown()
    alone = _retriever().retrieve(_queries(), 3, progress=shown)
    assert shown.told == [N_USERS, 4, 4, 2]
    shared = _retriever().retrieve(_queries(), 3, threads=3, progress=shown)
    assert shown.told[4:] == [N_USERS, 4, 4, 2]
    # Whoever is answered beside whom, each has their own row.
    for row in range(N_USERS):
        lone = _retriever().retrieve(_queries().take(np.array([row])), 3)
        np.testing.assert_array_equal(alone.items[row], lone.items[0])
    plain = _retriever().retrieve(_queries(), 3, features=False)
    assert plain.features is None
    np.testing.assert_array_equal(alone.items, plain.items)
    np.testing.assert_array_equal(alone.items, shared.items)
    np.testing.assert_array_equal(alone.scores, shared.scores)


PROPOSALS = st.lists(
    st.lists(
        st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), min_size=6, max_size=6),
        min_size=3,
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None)
@given(PROPOSALS, st.integers(1, 8))
def test_merging_equals_a_slow_union(scores: list[list[list[float]]], per_source: int) -> None:
    nothing = Admission(sp.csr_matrix((3, 6), dtype=bool))
    answers = [DenseAnswer(np.array(one, dtype=np.float32), nothing, 0.0) for one in scores]
    items, proposed, told = merge(answers, nothing, per_source)
    for answer, found in zip(answers, told, strict=True):
        np.testing.assert_array_equal(found[items >= 0], answer.at(items)[items >= 0])
    width = 0
    for row in range(3):
        tops = [[int(i) for i in answer.top(per_source)[0][row] if i >= 0] for answer in answers]
        union = sorted({item for top in tops for item in top})
        width = max(width, len(union))
        bits = [sum(1 << s for s, top in enumerate(tops) if item in top) for item in union]
        gap = items.shape[1] - len(union)
        assert items[row].tolist() == union + [-1] * gap
        assert proposed[row].tolist() == bits + [0] * gap
    assert items.shape == proposed.shape == (3, width)


@settings(deadline=None, max_examples=40)
@given(
    k=st.sampled_from([1, 5, 12, N_ITEMS]),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    per_source=st.sampled_from([1, 8]),
    seed=st.integers(0, 100),
)
def test_rows_are_as_long_as_there_are_items_to_propose(
    k: int, share: float, per_source: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    filters = (None, ItemSet(rng.random(N_ITEMS) < share), ItemSet(rng.random(N_ITEMS) < 0.5))
    queries = replace(
        _queries(), eligible=tuple(filters[number] for number in rng.integers(0, 3, N_USERS))
    )
    found = _retriever(per_source=per_source).retrieve(queries, k, least=k)
    for query in range(N_USERS):
        admitted = queries.admission.open(query)
        row = found.items[query, : found.lengths()[query]]
        assert len(row) == min(k, len(admitted))
        assert set(row) <= set(admitted)
    alone = [
        _retriever(per_source=per_source).retrieve(queries.take(np.array([q])), k, least=k)
        for q in range(N_USERS)
    ]
    for query, one in enumerate(alone):
        np.testing.assert_array_equal(one.items[0], found.items[query])
        np.testing.assert_array_equal(one.scores[0], found.scores[query])


def test_sources_are_asked_for_as_many_as_a_row_must_hold() -> None:
    queries = _queries()
    deep = _retriever(per_source=12).retrieve(queries, 12)
    found = _retriever(per_source=1).retrieve(queries, 12, least=12)
    full = deep.lengths() == 12
    assert full.sum() > 5
    np.testing.assert_array_equal(found.items[full], deep.items[full])


def test_what_no_source_proposes_comes_last_and_belongs_to_none() -> None:
    queries = _queries()
    plain = _retriever(per_source=1).retrieve(queries, N_ITEMS)
    full = _retriever(per_source=1).retrieve(queries, N_ITEMS, least=N_ITEMS)
    silent = int(np.flatnonzero(queries.users == NOBODY)[0])
    known = plain.lengths()[silent]
    np.testing.assert_array_equal(full.items[silent, :known], plain.items[silent, :known])
    assert full.sources is not None
    assert (full.sources[silent, :known] > 0).all()
    assert not full.sources[silent, known:].any()
    assert known < full.lengths()[silent] == N_ITEMS


def test_items_asked_for_are_merged_as_if_they_had_been_filled_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retriever, queries = _retriever(per_source=3), _queries()
    plain = retriever.retrieve(queries, None)
    whole = retriever.retrieve(queries, None, least=N_ITEMS)
    also = np.tile(np.arange(N_ITEMS), (N_USERS, 1))
    also[0] = -1
    found = retriever.retrieve(queries, None, also=also)
    for row in range(N_USERS):
        wanted = plain if row == 0 else whole
        n = int(wanted.lengths()[row])
        assert set(found.items[row][found.items[row] >= 0]) == set(wanted.items[row, :n])
    # What sources are asked for changes who proposes, not what they say: scores are the same.
    one = np.full((N_USERS, 2), -1)
    for row in range(N_USERS):
        taken = [*plain.items[row], *queries.excluded[row].indices]
        one[row, 0] = np.setdiff1d(np.arange(N_ITEMS), taken)[-1]
    more = retriever.retrieve(queries, None, also=one)
    assert more.lengths().tolist() == (plain.lengths() + 1).tolist()
    assert more.sources is not None
    assert more.sources[more.items == one[:, :1]].tolist() == [0] * N_USERS
    answers = [source.answer(queries) for source in retriever.sources]
    fused = np.flatnonzero((queries.lengths() > 0) & (np.arange(N_USERS) != SPOKEN))
    assert len(fused) > 3
    merged = merge(answers, queries.admission, 3, also=one)
    told = standardise(merged.scores, merged.proposed, (merged.items >= 0).sum(axis=1))
    for row in fused.tolist():
        place = int(np.flatnonzero(merged.items[row] == one[row, 0])[0])
        there = int(np.flatnonzero(more.items[row] == one[row, 0])[0])
        assert more.features is not None
        np.testing.assert_array_equal(more.features[row, there], told[row, place])
    # One by one, in any order, some at a time, they are the same.
    monkeypatch.setattr(module, "CHUNK_SCORES", 4 * N_ITEMS)
    order = np.arange(N_USERS)[::-1]
    again = retriever.retrieve(queries.take(order), None, also=one[order])
    for row in range(N_USERS):
        alone = retriever.retrieve(queries.take(np.array([row])), None, also=one[row : row + 1])
        items = alone.items[0, : int(alone.lengths()[0])].tolist()
        assert items == more.items[row, : len(items)].tolist()
        assert items == again.items[N_USERS - 1 - row, : len(items)].tolist()
