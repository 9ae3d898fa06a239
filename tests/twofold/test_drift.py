"""Drift is small where new events go on as before, and rises where tastes turn."""

from __future__ import annotations

import numpy as np
import pytest

from tests.indexing.logs import log_of
from twofold.drift import Moved, drift_of, told
from twofold.indexing.collaborative import CollaborativeSettings, Factors, fit_factors

N_USERS, N_ITEMS = 120, 60
SETTINGS = CollaborativeSettings(factors=8, iterations=15)
Event = tuple[int, int, int, str]


def _taken(rng: np.random.Generator, share: float, turned: int, step: int) -> list[Event]:
    """Return likes of three tastes; from user `turned` on they cross the tastes of before."""
    users, items = np.indices((N_USERS, N_ITEMS))
    own = np.where(users < turned, users % 3 == items % 3, users // 3 % 4 == items // 3 % 4)
    likely = np.where(own, share, 0.01)
    pairs = np.argwhere(rng.random((N_USERS, N_ITEMS)) < likely)
    return [(int(user), int(item), step, "like") for user, item in pairs]


def _drift(turned: int, seed: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    old = _taken(rng, 0.3, N_USERS, 0)
    # New events are of the first 90 users.
    new = [one for one in _taken(rng, 0.6, turned, 1) if one[0] < 90]
    before = fit_factors(log_of(old, N_USERS, N_ITEMS).matrix(), SETTINGS)
    both = log_of(old + new, N_USERS, N_ITEMS)
    after = fit_factors(both.matrix(), SETTINGS, seed=1)
    users = np.unique([one[0] for one in new])
    items = np.unique([one[1] for one in new])
    found = drift_of(before, after, both, users, items, seed=0)
    assert found.overlap is not None
    assert found.usual_overlap is not None
    assert found.n_lists == len(users)
    return {"users": found.users.mean, "items": found.items.mean, "overlap": found.overlap}


@pytest.mark.parametrize("seed", range(3))
def test_drift_rises_with_what_was_planted(seed: int) -> None:
    same, half, crossed = _drift(N_USERS, seed), _drift(45, seed), _drift(0, seed)
    assert same["users"] > 0.95
    assert same["users"] > half["users"] + 0.02 > crossed["users"] + 0.02
    assert same["overlap"] > half["overlap"] + 0.05 > crossed["overlap"] + 0.05
    assert same["items"] > crossed["items"]


def test_a_rotation_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    log = log_of(_taken(rng, 0.3, N_USERS, 0), N_USERS, N_ITEMS)
    before = fit_factors(log.matrix(), SETTINGS)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    after = Factors(before.items @ turn, SETTINGS)
    found = drift_of(before, after, log, np.arange(10), np.zeros(0, np.int64), seed=0)
    assert found.users.mean == pytest.approx(1, abs=1e-3)
    assert found.overlap == pytest.approx(1, abs=0.02)
    assert found.items == Moved(0, 0.0, (0.0, 0.0, 0.0))


def test_where_nobody_did_anything_there_is_nothing_to_tell() -> None:
    log = log_of([(user, user % 5, 0, "like") for user in range(20)], 20, 5)
    factors = fit_factors(log.matrix(), CollaborativeSettings(factors=2))
    none = np.zeros(0, dtype=np.int64)
    found = drift_of(factors, factors, log, none, none, seed=0)
    assert found.overlap is None
    assert found.usual_overlap == 1.0
    assert told(found.to_dict()) == []


def test_a_person_reads_all_of_it() -> None:
    log = log_of([(user, user % 5, 0, "like") for user in range(20)], 20, 5)
    factors = fit_factors(log.matrix(), CollaborativeSettings(factors=2))
    found = drift_of(factors, factors, log, np.arange(4), np.array([1, 2]), seed=0)
    users, items, lists = told(found.to_dict())
    assert users.startswith("drift of 4 users: mean cosine 1.000")
    assert items.startswith("drift of 2 items: mean cosine")
    assert lists == "the ten best of 4 of these users: 100.0% the same; of users without new " + (
        "events 100.0%"
    )
