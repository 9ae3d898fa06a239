"""What is measured of logits, beside known answers and other libraries."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from tests.ranking.planted import planted_lists
from tests.ranking.worlds import N_FEATURES, make_queries
from twofold.evaluation.judgements import Judgements
from twofold.evaluation.reliability import ece
from twofold.indexing.errors import InputError
from twofold.ranking.lists import Lists, mean_ndcg
from twofold.ranking.measuring import gap, measured, sample

Logits = npt.NDArray[np.float32]


def _lists(labels: npt.NDArray[np.bool_], padded: int = 0) -> Lists:
    """Return lists with these labels, the last columns of the first row being padding."""
    n, m = labels.shape
    items = np.tile(np.arange(m, dtype=np.int64), (n, 1))
    labels = labels.copy()
    if padded:
        items[0, -padded:], labels[0, -padded:] = -1, False
    features = np.zeros((n, m, N_FEATURES), np.float32)
    return planted_lists(items, labels, features, make_queries([[0]] * n, m))


def _drawn(seed: int, n: int, m: int, rate: float = 0.2) -> tuple[Lists, Logits]:
    rng = np.random.default_rng(seed)
    lists = _lists(rng.random((n, m)) < rate, padded=m // 2)
    # Rounded, so that some are tied.
    logits = np.round(rng.normal(size=(n, m)) + lists.labels - 1.5, 1).astype(np.float32)
    return lists, np.where(lists.mask(), logits, np.float32(-np.inf))


def test_four_candidates_by_hand() -> None:
    lists = _lists(np.array([[True, False, False, True]]))
    found = measured([lists], [np.array([[2.0, 1.0, 0.0, 0.0]], np.float32)])
    # Of four pairs two are in order, one is not, and one is tied.
    assert found["auc"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    # The two highest are told: one is a hit, so one hit and one miss of four are told wrongly.
    assert found["accuracy"] == pytest.approx(0.5)
    p = 1 / (1 + np.exp(-np.array([2.0, 1.0, 0.0, 0.0])))
    assert found["log_loss"] == pytest.approx(-np.log([p[0], 1 - p[1], 0.5, 0.5]).mean())
    # Ranks 4, 3, 1.5, 1.5 fall into bins 13, 9, 3 and 3.
    assert found["ece"] == pytest.approx(((1 - p[0]) + p[1] + abs(1 - 2 * 0.5)) / 4)
    # Hits at rank 1 and, tied, at 3 or 4.
    wanted = (1 + (1 / np.log2(4) + 1 / np.log2(5)) / 2) / (1 + 1 / np.log2(3))
    assert found["ndcg10"] == pytest.approx(wanted)


def test_hits_tied_at_the_border_are_told_in_part() -> None:
    lists = _lists(np.array([[True, False, False, False]]))
    found = measured([lists], [np.zeros((1, 4), np.float32)])
    assert found["accuracy"] == pytest.approx(1 - 2 * 0.75 / 4)
    assert found["auc"] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_other_libraries_say(seed: int) -> None:
    parts = [_drawn(seed, 20, 7), _drawn(seed + 10, 12, 9)]
    lists, logits = [one for one, _ in parts], [one for _, one in parts]
    found = measured(lists, logits)
    masks = [one.mask() for one in lists]
    labels = np.concatenate([one.labels[mask] for one, mask in zip(lists, masks, strict=True)])
    pool = np.concatenate([one[mask] for one, mask in zip(logits, masks, strict=True)])
    told = 1 / (1 + np.exp(-pool.astype(np.float64)))
    assert found["auc"] == pytest.approx(roc_auc_score(labels, pool), abs=1e-12)
    assert found["log_loss"] == pytest.approx(log_loss(labels, told), abs=1e-12)
    judged = Judgements(told, labels, np.arange(len(labels)))
    assert found["ece"] == pytest.approx(ece(judged, 0, n=2).mean, abs=1e-12)
    assert found["ndcg10"] == mean_ndcg(lists, logits, 10)
    assert found["accuracy"] > 0.5


def test_many_negative_logits_are_finite() -> None:
    lists = _lists(np.array([[True, False]]))
    found = measured([lists], [np.array([[-800.0, 900.0]], np.float32)])
    assert found["log_loss"] == pytest.approx(850)


@pytest.mark.parametrize("label", [False, True])
@pytest.mark.filterwarnings("error")
def test_one_label_has_no_order(label: bool) -> None:
    lists = _lists(np.full((2, 3), label))
    held_out = replace(lists, n_held_out=np.full(2, 4))
    found = measured([held_out], [np.arange(6, dtype=np.float32).reshape(2, 3)])
    assert np.isnan(found["auc"])
    assert found["accuracy"] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    lists = _lists(np.array([[True, False]]))
    with pytest.raises(InputError, match="one is not: lower the learning rates"):
        measured([lists], [np.array([[0, value]], np.float32)])
    with pytest.raises(InputError, match="there is no candidate"):
        measured([], [])


def test_it_takes_no_time() -> None:
    lists, logits = _drawn(0, 500, 100, rate=0.03)
    measured([lists], [logits])
    begun = time.perf_counter()
    measured([lists], [logits])
    # A fifth of this on a machine at rest.
    assert time.perf_counter() - begun < 1


def test_the_gap_is_training_less_stopping() -> None:
    train, stop = {"log_loss": 0.1, "ndcg10": 0.5, "auc": 1.0}, {"log_loss": 0.3, "ndcg10": 0.4}
    assert gap(train, stop) == pytest.approx({"gap_log_loss": -0.2, "gap_ndcg10": 0.1})


@given(st.integers(0, 40), st.integers(0, 5))
def test_a_sample_is_of_lists_with_a_hit(n: int, seed: int) -> None:
    parts = [_drawn(one, 12, 4)[0] for one in range(3)]
    drawn = sample(parts, n, seed)
    hits = [part.hits() for part in parts]
    assert sum(len(one) for one in drawn) == min(n, sum(len(one) for one in hits))
    for one, some in zip(drawn, hits, strict=True):
        assert set(one) <= set(some)
        assert (np.diff(one) > 0).all()
    again = sample(parts, n, seed)
    assert all((one == other).all() for one, other in zip(drawn, again, strict=True))


def test_every_list_can_be_drawn_and_seeds_differ() -> None:
    parts = [_drawn(one, 12, 4)[0] for one in range(3)]
    seen = [
        np.concatenate([one[part] for one in (sample(parts, 3, s) for s in range(60))])
        for part in range(3)
    ]
    assert [set(one) for one in seen] == [set(part.hits()) for part in parts]
