"""The engine over a small artefact: answers, refusals, threads and processes."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.twofold.small_world import N_ITEMS, N_USERS, seen_by_user
from twofold.engine import Engine, EngineError
from twofold.indexing.errors import InputError, UnknownIdError
from twofold.opened import Opened
from twofold.recommendation import Recommendation, Recommendations
from twofold.rules import Rules
from twofold.serving import Asked

# On tensors this small, several threads only wait for each other.
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def engine(small_artefact: Path) -> Iterator[Engine]:
    # In single precision, so that answers computed together are the same but for their last bits.
    with Engine.load(small_artefact, runtime="float32") as loaded:
        yield loaded


def ids(found: Sequence[Recommendation]) -> list[str]:
    return [one.item_id for one in found]


def test_every_user_gets_k_ranked_items_that_are_new_to_them(engine: Engine) -> None:
    for user, known in list(seen_by_user().items())[:20]:
        found = engine.recommend(user, 5)
        assert [one.rank for one in found] == [1, 2, 3, 4, 5]
        assert not known & set(ids(found))
        assert len(set(ids(found))) == 5
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True)
        assert all(one.probability is not None and 0 <= one.probability <= 1 for one in found)
        assert all(one.sources for one in found)
        assert all(set(one.reasons) <= known for one in found)


def test_recommendations_follow_the_taste(engine: Engine) -> None:
    pairs = engine.recommend_batch(None, 5).select("user_id", "item_id").rows()
    right = [(int(item[1:]) >= N_ITEMS // 2) == bool(int(user[1:]) % 2) for user, item in pairs]
    assert np.mean(right) > 0.7


def test_an_unknown_user_gets_what_trends_without_a_probability(engine: Engine) -> None:
    found = engine.recommend("nobody", 5)
    assert len(found) == 5
    assert all(one.probability is None and one.reasons == () for one in found)
    assert [one.rank for one in found] == [1, 2, 3, 4, 5]


def test_a_few_events_are_enough(engine: Engine) -> None:
    events = [("i1", 1.0), ("i2", 1.0), ("i3", 1.0)]
    found = engine.recommend_for(events, 5)
    assert len(found) == 5
    assert not {"i1", "i2", "i3"} & set(ids(found))
    assert sum(int(one.item_id[1:]) < N_ITEMS // 2 for one in found) >= 3


def test_no_events_at_all_are_an_unknown_user(engine: Engine) -> None:
    assert engine.recommend_for([], 5) == engine.recommend("nobody", 5)


def test_a_batch_equals_single_calls(engine: Engine) -> None:
    frame = engine.recommend_batch(None, 4)
    assert frame.columns == ["user_id", "item_id", "score", "probability", "rank"]
    assert frame.height == 4 * N_USERS
    for (user,), rows in frame.group_by("user_id", maintain_order=True):
        single = engine.recommend(str(user), 4)
        # Sums of other batch shapes differ in the last bits, and near ties may then swap.
        np.testing.assert_allclose(rows["score"], [one.score for one in single], atol=1e-4)
        np.testing.assert_allclose(
            rows["probability"], [one.probability or 0.0 for one in single], atol=1e-4
        )
        if len(set(np.round([one.score for one in single], 3))) == 4:
            assert rows["item_id"].to_list() == ids(single)


def test_a_batch_of_some_and_of_none(engine: Engine) -> None:
    some = engine.recommend_batch(["u3", "u1"], 2)
    assert some["user_id"].to_list() == ["u3", "u3", "u1", "u1"]
    assert engine.recommend_batch([], 2).height == 0


def test_candidates_of_many_are_those_of_each(engine: Engine) -> None:
    rules = Rules(deny=["i3"])
    frame = engine.retrieve_batch(["u3", "u1"], 7, **rules)
    assert frame.columns == ["user_id", "item_id", "score", "rank"]
    for user in ("u3", "u1"):
        alone = engine.retrieve(user, 7, **rules)
        rows = frame.filter(pl.col("user_id") == user)
        assert rows["item_id"].to_list() == [one.item_id for one in alone]
        assert rows["score"].to_list() == pytest.approx([one.score for one in alone])
        assert rows["rank"].to_list() == [one.rank for one in alone]
    everyone = engine.retrieve_batch(None, 3)["user_id"].unique().to_list()
    assert sorted(everyone) == sorted(engine.user_ids)


def test_search_finds_items_by_text(engine: Engine) -> None:
    found = engine.search("space robot", 5)
    assert len(set(ids(found))) == 5
    assert found == engine.search("space robot", 5)


def test_similar_items_are_others(engine: Engine) -> None:
    found = engine.similar_items("i0", 5)
    assert len(found) == 5
    assert "i0" not in ids(found)
    assert sum(int(one.item_id[1:]) < N_ITEMS // 2 for one in found) >= 3


def test_retrieve_shows_stage_one(engine: Engine) -> None:
    found = engine.retrieve("u0", 7)
    assert len(found) == 7
    assert all(one.probability is None for one in found)


def test_k_beyond_the_catalogue_gives_what_there_is(engine: Engine) -> None:
    known = seen_by_user()["u0"]
    found = engine.recommend("u0", 10_000)
    assert set(ids(found)) <= set(engine.items["item_id"]) - known
    assert len(found) >= 20


def test_arecommend_gives_the_same(engine: Engine) -> None:
    async def several() -> list[list[Recommendation]]:
        return list(await asyncio.gather(*(engine.arecommend(f"u{n}", 3) for n in range(6))))

    for found, n in zip(asyncio.run(several()), range(6), strict=True):
        _assert_same(found, engine.recommend(f"u{n}", 3))


def test_what_is_unknown_or_empty_is_refused(engine: Engine) -> None:
    with pytest.raises(UnknownIdError):
        engine.similar_items("nothing")
    with pytest.raises(UnknownIdError):
        engine.recommend_for([("nothing", 1.0)])
    with pytest.raises(UnknownIdError):
        engine.recommend_batch(["nobody"])
    with pytest.raises(InputError, match="finite"):
        engine.recommend_for([("i1", float("nan"))])
    with pytest.raises(InputError, match="empty"):
        engine.search("  ")
    with pytest.raises(InputError, match="threads"):
        Engine.load("anywhere", threads=0)


def test_k_below_one_is_refused(engine: Engine) -> None:
    for call in (
        lambda: engine.recommend("u0", 0),
        lambda: engine.recommend_for([], 0),
        lambda: engine.search("space", 0),
        lambda: engine.similar_items("i0", 0),
        lambda: engine.retrieve("u0", 0),
        lambda: engine.recommend_batch(None, 0),
    ):
        with pytest.raises(InputError, match="k must be at least 1"):
            call()


def test_32_threads_get_the_answers_of_one(engine: Engine) -> None:
    users = list(engine.user_ids)
    alone = [engine.recommend(user, 5) for user in users]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda user: engine.recommend(user, 5), users))
    for found, wanted in zip(together, alone, strict=True):
        _assert_same(found, wanted)


def _assert_same(found: Sequence[Recommendation], wanted: Sequence[Recommendation]) -> None:
    """Check that two answers agree; requests that meet are added up in another order."""
    assert ids(found) == ids(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert one.probability == pytest.approx(other.probability, abs=1e-5)
        told = (one.rank, one.sources, one.reasons)
        assert told == (other.rank, other.sources, other.reasons)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_answer_says_how_much_was_reranked(engine: Engine) -> None:
    whole = engine.recommend("u3", 5)
    assert whole.reranked == whole.candidates > 5
    assert engine.recommend("nobody", 5).reranked == 0
    assert engine.search("space robot", 5).reranked > 0
    in_time = engine.recommend("u3", 5, budget_ms=60_000)
    assert in_time.reranked == in_time.candidates
    assert ids(in_time) == ids(whole)


def test_out_of_time_is_stage_one(engine: Engine) -> None:
    late = engine.recommend("u3", 5, budget_ms=1e-3)
    first = engine.retrieve("u3", 5)
    assert (late.reranked, late.candidates) == (0, engine.recommend("u3", 5).candidates)
    assert ids(late) == ids(first)
    assert [one.rank for one in late] == [1, 2, 3, 4, 5]
    assert all(one.probability is None for one in late)
    events = [("i1", 5.0), ("i2", 4.0)]
    assert engine.recommend_for(events, 5, budget_ms=1e-3).reranked == 0
    assert engine.search("space robot", 5, budget_ms=1e-3).reranked == 0
    assert asyncio.run(engine.arecommend("u3", 5, budget_ms=1e-3)).reranked == 0


def test_reasons_are_the_events_that_speak_most(engine: Engine) -> None:
    stage_one, names = engine._now().stage_one, engine._now().catalogue.items
    for user in ("u3", "u10"):
        query = engine.histories.take(np.array([engine.user_ids.index(user)]))
        history = query.items.tolist()
        for one in engine.recommend(user, 5):
            item = names.number(one.item_id)
            spoken = []
            for age, past in enumerate(reversed(history)):
                cosine = float(stage_one.index.vectors[past] @ stage_one.index.vectors[item])
                related = sum(float(each[past, item]) for each in stage_one.relations())
                spoken.append(stage_one.settings.decay**age * (related + max(cosine, 0.0)))
            best = sorted(range(len(history)), key=lambda place: -spoken[::-1][place])[:3]
            assert one.reasons == tuple(names.ids[history[place]] for place in best)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_that_is_none_is_refused(engine: Engine, budget: float) -> None:
    with pytest.raises(InputError, match="budget_ms must be a positive number"):
        engine.recommend("u3", budget_ms=budget)


def test_requests_that_meet_are_computed_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    find = engine._batcher._run

    def noted(asked: Sequence[tuple[Opened, Asked]]) -> Sequence[Recommendations]:
        sizes.append(len(asked))
        return find(asked)

    monkeypatch.setattr(engine._batcher, "_run", noted)
    users = [f"u{n % N_USERS}" for n in range(64)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda user: ids(engine.recommend(user, 5)), users))
    assert answers == [ids(engine.recommend(user, 5)) for user in users]
    assert max(sizes) > 1


def test_a_forked_child_is_told_to_load_its_own(engine: Engine) -> None:
    asyncio.run(engine.arecommend("u0", 2))  # so that the pool has a thread that a fork loses
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        said = []
        try:
            for call in (
                lambda: engine.recommend("u0"),
                lambda: engine.similar_items("i0"),
                lambda: engine.recommend_batch(),
                lambda: asyncio.run(asyncio.wait_for(engine.arecommend("u0"), 5)),
            ):
                try:
                    call()
                    said.append("answered")
                except EngineError as error:
                    said.append("EngineError" if "fork" in str(error) else str(error))
                except BaseException as error:
                    said.append(type(error).__name__)
            os.write(writing, ",".join(said).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == ",".join(["EngineError"] * 4)
    assert os.waitpid(child, 0)[1] == 0


def test_a_second_load_gives_identical_answers(engine: Engine, small_artefact: Path) -> None:
    with Engine.load(small_artefact) as second:
        for user in ("u0", "u1", "nobody"):
            assert second.recommend(user) == engine.recommend(user)
        assert second.recommend_batch(None, 3).equals(engine.recommend_batch(None, 3))
