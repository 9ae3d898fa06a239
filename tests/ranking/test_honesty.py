"""Planted leaks are found, and honest lists pass."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from tests.indexing.logs import Event, events, log_of
from tests.ranking.planted import planted_lists
from tests.ranking.worlds import make_features, make_queries
from tests.twofold.small_world import small_tables
from twofold.embedding import embedded
from twofold.indexing.dataset import load_dataset
from twofold.indexing.errors import InputError, LeakError
from twofold.indexing.holding_out import hold_out_last
from twofold.indexing.progress import Silent
from twofold.lessons import lessons_of
from twofold.ranking.honesty import check_honest, honesty_report, near_duplicates
from twofold.ranking.lists import NEVER, Border, Lists, label_lists
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import queries_of_users
from twofold.settings import Settings

N_ITEMS = 9
DAY = 86_400_000


def _lists(steps: list[int] | None = None, times: list[int] | None = None) -> Lists:
    """Return lists 4, 5 with hit 4 and 6, 7 with hit 7, over histories 0, 1 and 2, 3.

    Histories have steps 0 to 3 and times of 0, 1, 0 and 1 days.
    """
    items = np.array([[4, 5], [6, 7]])
    labels = np.array([[True, False], [False, True]])
    queries = make_queries([[0, 1], [2, 3]], N_ITEMS, times=np.array([0, DAY, 0, DAY]))
    lists = planted_lists(items, labels, make_features(items.shape), queries)
    border = Border(
        np.array([DAY, DAY] if times is None else times),
        np.array([2, 4] if steps is None else steps),
    )
    return replace(lists, border=border)


def test_honest_lists_pass() -> None:
    for repeat in (False, True):
        check_honest(_lists(), repeat=repeat)
        # Events of the first label's own step or time have no order to it.
        check_honest(_lists(steps=[1, 3]), repeat=repeat)
        check_honest(_lists(steps=[-1, -1]), repeat=repeat)
        # Without a label nothing is too late.
        check_honest(_lists(steps=[NEVER, NEVER], times=[NEVER, NEVER]), repeat=repeat)


@pytest.mark.parametrize("repeat", [True, False])
def test_a_history_that_goes_on_after_its_labels_is_refused(repeat: bool) -> None:
    with pytest.raises(LeakError, match=r"1 training lists know events.*number 1"):
        check_honest(_lists(steps=[2, 2]), repeat=repeat)
    with pytest.raises(LeakError, match=r"1 training lists know events.*number 0"):
        check_honest(_lists(steps=[-1, -1], times=[DAY - 1, DAY]), repeat=repeat)


def test_a_hit_in_its_own_history_is_refused_unless_things_are_taken_again() -> None:
    lists = _lists()
    queries = make_queries([[0, 4], [2, 4]], N_ITEMS, times=np.array([0, DAY, 0, DAY]))
    leaking = replace(lists, queries=queries)
    with pytest.raises(LeakError, match=r"1 training lists have a hit.*number 0"):
        check_honest(leaking, repeat=False)
    check_honest(leaking, repeat=True)


def test_what_is_taken_again_but_in_no_list_is_counted() -> None:
    """Looked at and bought later: no list can hold it, so nothing learns from it."""
    held = np.zeros((2, N_ITEMS), dtype=bool)
    held[0, 4] = held[1, [7, 3]] = True
    lists = replace(_lists(), held_out=sp.csr_matrix(held))
    (told,) = honesty_report([lists], [""] * N_ITEMS, repeat=False)
    assert (told["known"], told["tied"]) == (1, 0)


def test_hits_known_at_the_very_step_of_the_label_are_counted() -> None:
    queries = make_queries([[0, 4], [7, 2]], N_ITEMS, times=np.array([0, DAY, 0, DAY]))
    lists = replace(_lists(steps=[1, 3]), queries=queries)
    texts = [""] * N_ITEMS
    (told,) = honesty_report([lists], texts, repeat=True)
    assert told["tied"] == 1
    with pytest.raises(LeakError):
        honesty_report([_lists(), lists], texts, repeat=False)


def test_lists_without_a_border_cannot_be_judged() -> None:
    with pytest.raises(InputError, match="where their labels begin"):
        check_honest(replace(_lists(), border=None), repeat=False)


FILLER = "one two three four five six seven eight nine"
TEXTS = [
    "Alien (1979), Horror!",  # history of list 0
    f"{FILLER} ten",
    "",  # history of list 1
    f"{FILLER} ten eleven",
    "alien  1979 HORROR",  # hit of list 0
    "nothing alike",
    "nothing else",
    f"eleven {FILLER} ten twelve",  # hit of list 1
    f"{FILLER} ten eleven",
]


def test_hits_that_read_like_the_history_are_counted() -> None:
    told = near_duplicates(TEXTS, _lists())
    assert told == {
        "hits": 2,
        "equal": 1,
        "alike": 1,
        "lists": 2,
        "examples": [
            {"hit": TEXTS[4], "history": TEXTS[0]},
            {"hit": TEXTS[7], "history": TEXTS[3]},
        ],
    }
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("hit", "equal", "alike"),
    [
        ("", 0, 0),
        ("alien 1979", 0, 0),
        ("horror alien 1979", 0, 1),  # the same words in another order
        ("\uff21lien 1979 horror", 1, 0),
        (f"{FILLER}", 0, 1),  # 9 of 10 words
        ("one two three four five six seven eight", 0, 0),
        (f"{FILLER} other", 0, 0),
    ],
)
def test_what_is_alike(hit: str, equal: int, alike: int) -> None:
    told = near_duplicates([*TEXTS[:4], hit, *TEXTS[5:7], "nothing", TEXTS[8]], _lists())
    assert (told["equal"], told["alike"]) == (equal, alike)
    assert told["lists"] == equal + alike


def test_a_hit_is_counted_once_and_empty_texts_are_like_nothing() -> None:
    # Equal to the one, and like the other.
    texts = [f"{FILLER} ten", f"{FILLER} ten eleven", *TEXTS[2:4], f"{FILLER} ten", *TEXTS[5:]]
    told = near_duplicates([*texts[:7], "", texts[8]], _lists())
    assert (told["equal"], told["alike"], told["lists"]) == (1, 0, 1)


def test_an_item_taken_again_is_no_duplicate_of_itself() -> None:
    lists = replace(_lists(), queries=make_queries([[4], []], N_ITEMS))
    assert near_duplicates(TEXTS, lists)["equal"] == 0
    # Item 3 is a hit that the list does not hold, and reads like item 8.
    held = np.zeros((2, N_ITEMS), dtype=bool)
    held[1, 3] = True
    lists = replace(lists, queries=make_queries([[], [8]], N_ITEMS), held_out=sp.csr_matrix(held))
    told = near_duplicates(TEXTS, lists)
    assert (told["hits"], told["equal"]) == (1, 1)


def test_pairs_are_compared_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from twofold.ranking import honesty

    whole = near_duplicates(TEXTS, _lists())
    monkeypatch.setattr(honesty, "CHUNK", 1)
    assert near_duplicates(TEXTS, _lists()) == whole


@given(events(), st.booleans(), st.integers(1, 2), st.integers(0, 2))
def test_what_is_held_out_last_is_honest(
    rows: list[Event], repeat: bool, n: int, skip: int
) -> None:
    log = log_of(rows, 4, 7)
    held = hold_out_last(log, n, skip=skip)
    known, labels = log.take(held.fit), log.take(held.labels)
    users = np.unique(labels.users)
    queries = queries_of_users(known, users, max_history=5, repeat=True)
    empty = np.zeros((len(users), 0))
    served = Candidates(empty.astype(np.int64), empty.astype(np.float32))
    lists = label_lists(queries, served, labels)
    check_honest(lists, repeat=True)
    # Had the labels begun at the first step, every later event would be a leak.
    assert lists.border is not None
    shifted = replace(lists, border=Border(lists.border.times, np.zeros_like(lists.border.steps)))
    if queries.steps.any():
        with pytest.raises(LeakError):
            check_honest(shifted, repeat=True)


def test_the_windows_of_a_build_are_honest(small_settings: Settings) -> None:
    dataset = load_dataset(*small_tables(), small_settings.data)
    index, _ = embedded(dataset, small_settings, None, Silent())
    settings = replace(small_settings, window_labels=2, windows=2)
    lessons = lessons_of(dataset, dataset.interactions, index, settings, Silent())
    told = honesty_report(lessons.lists, dataset.texts, repeat=False)
    assert len(told) == 2
    assert all(one["hits"] == 160 and one["tied"] == 0 for one in told)
    assert json.loads(json.dumps(told)) == told
