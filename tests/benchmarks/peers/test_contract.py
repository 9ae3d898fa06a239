"""What every peer in this process must keep to, and what all learn from a checkerboard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.all import peers_of, sources_of
from benchmarks.peers.best import sound
from benchmarks.peers.buy_again import BuyAgain
from benchmarks.peers.ease import Ease
from benchmarks.peers.implicit_models import ImplicitAls, ImplicitBpr, ImplicitNeighbours
from benchmarks.peers.popularity import Popularity
from benchmarks.peers.task import Peer, Task
from tests.benchmarks.peers.tasks import checkerboard, missing_of, task_of
from twofold.evaluation.quality import Ranked
from twofold.indexing.errors import InputError

PEERS: tuple[Peer, ...] = (
    Popularity(),
    BuyAgain(),
    ImplicitAls(),
    ImplicitBpr(),
    ImplicitNeighbours(),
    Ease(),
)
LEARNERS = PEERS[2:]
N_USERS, N_ITEMS = 24, 12
every_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)


def quick(peer: Peer, number: int = 0) -> dict[str, object]:
    """Return a setting of the peer's grid, small where it is large."""
    settings = dict(peer.grid[number])
    if "factors" in settings:
        settings |= {"factors": 2, "iterations": 30}
    if "learning_rate" in settings:
        settings |= {"factors": 4, "iterations": 300, "learning_rate": 0.05}
    if "l2" in settings:
        settings["l2"] = 1.0
    return settings


@pytest.fixture(scope="module", params=[False, True], ids=["new items", "repeats"])
def task(request: pytest.FixtureRequest) -> Task:
    """Return the users in mixed order, with a few pairs excluded that nobody has taken."""
    users = np.random.default_rng(3).permutation(N_USERS).tolist()
    hidden = [(user, (missing_of(user) + 1) % N_ITEMS) for user in range(0, N_USERS, 3)]
    return task_of(checkerboard(), users, k=5, repeat=request.param, hidden=hidden)


@every_peer
def test_lists_are_sound_for_every_setting(peer: Peer, task: Task) -> None:
    assert 1 <= len(peer.grid) <= 8
    for number in range(len(peer.grid)):
        ranked = peer.lists(task, quick(peer, number))
        sound(ranked, task.excluded, task.k, peer.name)
        assert ranked.items.dtype == np.int64
        assert ranked.scores is not None
        assert ranked.scores.shape == ranked.items.shape
        told = np.where(ranked.items >= 0, ranked.scores, -np.inf)
        assert (told[:, :-1] >= told[:, 1:]).all()


@every_peer
def test_lists_longer_than_the_catalogue_are_padded(peer: Peer, task: Task) -> None:
    long = replace(task, k=N_ITEMS + 3)
    ranked = sound(peer.lists(long, quick(peer)), long.excluded, long.k, peer.name)
    room = N_ITEMS - np.diff(task.excluded.indptr)
    n_shown = (ranked.items >= 0).sum(axis=1)
    assert (n_shown <= room).all()
    if not isinstance(peer, ImplicitNeighbours):
        np.testing.assert_array_equal(n_shown, room)


@every_peer
def test_rows_follow_the_users(peer: Peer, task: Task) -> None:
    order = np.random.default_rng(5).permutation(len(task.users))
    assert task.asked_at is not None
    other = replace(
        task,
        users=task.users[order],
        excluded=task.excluded[order],
        asked_at=task.asked_at[order],
    )
    first = peer.lists(task, quick(peer)).items
    np.testing.assert_array_equal(peer.lists(other, quick(peer)).items, first[order])


@every_peer
def test_a_seed_gives_the_same_lists_on_one_thread(peer: Peer, task: Task) -> None:
    first, again = (peer.lists(task, quick(peer)) for _ in range(2))
    np.testing.assert_array_equal(first.items, again.items)
    np.testing.assert_array_equal(np.asarray(first.scores), np.asarray(again.scores))


@pytest.mark.parametrize("peer", [ImplicitAls(), ImplicitBpr()], ids=lambda peer: peer.name)
def test_another_seed_draws_another_model(peer: Peer, task: Task) -> None:
    first, other = (peer.lists(replace(task, seed=seed), quick(peer)).scores for seed in (0, 1))
    assert not np.array_equal(np.asarray(first), np.asarray(other))


@every_peer
def test_nobody_and_who_took_nothing_are_answered(peer: Peer, task: Task) -> None:
    nobody = replace(
        task, users=task.users[:0], excluded=task.excluded[:0], asked_at=np.empty(0, np.int64)
    )
    assert peer.lists(nobody, quick(peer)).items.shape == (0, task.k)
    row = int(np.flatnonzero(task.users == N_USERS - 1)[0])
    items = peer.lists(task, quick(peer)).items[row]
    assert items.shape == (task.k,)
    if isinstance(peer, Popularity | BuyAgain):
        assert (items >= 0).all()


@pytest.mark.parametrize("peer", LEARNERS, ids=lambda peer: peer.name)
def test_what_is_missing_of_the_own_colour_comes_first(peer: Peer) -> None:
    users = list(range(N_USERS - 1))
    task = task_of(checkerboard(), users, k=3)
    first = peer.lists(task, quick(peer)).items[:, 0]
    np.testing.assert_array_equal(first, [missing_of(user) for user in users])


def test_soundness_is_looked_at() -> None:
    excluded = task_of(checkerboard(), [0]).excluded
    good = [missing_of(0), 1, -1]
    wrong = {
        "shape": [good[:2]],
        "numbers below": [[0, N_ITEMS, 1]],
        "padding stands before": [[-1, 0, 1]],
        "twice": [[0, 1, 1]],
        "excluded": [[0, 1, 2]],
    }
    sound(Ranked(np.array([good])), excluded, 3, "peer")
    for message, items in wrong.items():
        with pytest.raises(InputError, match=message):
            sound(Ranked(np.array(items)), excluded, 3, "peer")


def test_peers_of_a_task() -> None:
    def names(repeat: bool, n_items: int) -> set[str]:
        return {peer.name for peer in peers_of(repeat=repeat, n_items=n_items, has_times=True)}

    assert "EASE" in names(False, 20_000)
    assert "EASE" not in names(False, 20_001)
    assert names(True, 10) - names(False, 10) == {"buy again"}
    timeless = {peer.name: peer for peer in peers_of(repeat=True, n_items=10, has_times=False)}
    for name in ("popularity", "buy again"):
        assert timeless[name].grid == ({"half_life_days": None},)


def test_the_files_that_peers_depend_on() -> None:
    root = Path(__file__).resolve().parents[3]
    found = {
        peer.name: sources_of(peer) for peer in peers_of(repeat=True, n_items=10, has_times=True)
    }
    assert all((root / file).is_file() for files in found.values() for file in files)
    assert "benchmarks/peers/ease.py" in found["EASE"]
    elsewhere = {"outside.py", "outside_rectools.py", "rectools.txt", "best.py", "task.py"}
    assert {Path(file).name for file in found["SASRec (RecTools)"]} == elsewhere
