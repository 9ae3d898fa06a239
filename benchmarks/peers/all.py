"""All peers of a task."""

from __future__ import annotations

import inspect
from pathlib import Path

from benchmarks.peers import best, task
from benchmarks.peers.buy_again import BuyAgain
from benchmarks.peers.ease import MOST_ITEMS, Ease
from benchmarks.peers.environment import requirements_of
from benchmarks.peers.implicit_models import ImplicitAls, ImplicitBpr, ImplicitNeighbours
from benchmarks.peers.lenskit_models import lenskit_factors, lenskit_neighbours
from benchmarks.peers.outside import OutsidePeer
from benchmarks.peers.popularity import Popularity
from benchmarks.peers.sasrec import sasrec
from benchmarks.peers.task import Peer


def peers_of(repeat: bool, n_items: int, *, has_times: bool) -> tuple[Peer, ...]:
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


def sources_of(peer: Peer) -> tuple[str, ...]:
    """Return the files that a peer's lists depend on, relative to the repository."""
    files = {Path(str(module.__file__)) for module in (best, task)}
    files.add(Path(inspect.getfile(type(peer))))
    if isinstance(peer, OutsidePeer):
        files |= {peer.script, requirements_of(peer.environment)}
    root = Path(__file__).resolve().parents[2]
    return tuple(sorted(file.resolve().relative_to(root).as_posix() for file in files))
