"""All peers of a task."""

from __future__ import annotations

from benchmarks.peers.buy_again import BuyAgain
from benchmarks.peers.ease import MOST_ITEMS, Ease
from benchmarks.peers.implicit_models import ImplicitAls, ImplicitBpr, ImplicitNeighbours
from benchmarks.peers.lenskit_models import lenskit_factors, lenskit_neighbours
from benchmarks.peers.popularity import Popularity
from benchmarks.peers.sasrec import sasrec
from benchmarks.peers.task import Peer


def peers_of(repeat: bool, n_items: int, *, has_times: bool = True) -> tuple[Peer, ...]:
    """Return what people would use instead, where it can be used.

    Parameters
    ----------
    repeat
        Whether what a user has had may come back: only then there is buying again.
    n_items
        Size of the catalogue; EASE is for small ones.
    has_times
        Whether the log has times; without, nothing decays.
    """
    return (
        Popularity(has_times),
        *((BuyAgain(has_times),) if repeat else ()),
        ImplicitAls(),
        ImplicitBpr(),
        ImplicitNeighbours(),
        *((Ease(),) if n_items <= MOST_ITEMS else ()),
        lenskit_neighbours(),
        lenskit_factors(),
        sasrec(n_items),
    )
