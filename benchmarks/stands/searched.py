"""A peer's search on validation, a trial at a time, and what its best trial does at test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.harness.cells import Place, Row
from benchmarks.peers.task import Peer
from benchmarks.stands.held_out import HeldOut
from benchmarks.stands.kept_lists import DEPTH, KS, arrays_of
from benchmarks.stands.told import told
from twofold.evaluation.quality import Ranked, UserValues, measure_users, quality_rows
from twofold.evaluation.surroundings import Surroundings

TRIALS, MINUTES = 8, 20.0  # what a peer's search may take on each data set


@dataclass(frozen=True)
class Trial:
    """One setting of a peer on validation, unless its search has taken all of its time.

    Parameters
    ----------
    held
        Returns the validation part.
    peer, settings
        What is tried.
    before
        Cells of the trials before.
    """

    held: Callable[[], HeldOut]
    peer: Peer
    settings: Mapping[str, Any]
    before: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        """Yield the trial's row."""
        spent = sum(place.rows(name)[0]["cell_seconds"] for name in self.before)
        about = {"kind": "trial", "system": self.peer.name, "trial": dict(self.settings)}
        if self.before and spent >= 60 * MINUTES:
            yield {**about, "skipped": f"{MINUTES:.0f} minutes are spent", "ndcg@10": None}
            return
        values = _measured(self.peer, self.settings, self.held())[1]
        yield {**about, "ndcg@10": float(np.nanmean(values.of(self.peer.name, "ndcg@10")))}


@dataclass(frozen=True)
class Best:
    """A peer under the best of its trials, on the test.

    Parameters
    ----------
    held, split
        Returns the test; its name.
    peer
        The peer.
    trials
        Cells of its trials.
    """

    held: Callable[[], HeldOut]
    split: str
    peer: Peer
    trials: tuple[str, ...]

    def __call__(self, place: Place) -> Iterator[Row]:
        """Yield the peer's rows, the search beside them, and keep its lists."""
        tried = [place.rows(name)[0] for name in self.trials]
        ran = [row for row in tried if row["ndcg@10"] is not None]
        best = max(ran, key=lambda row: row["ndcg@10"])
        held = self.held()
        ranked, values = _measured(self.peer, best["trial"], held)
        place.keep(arrays_of({self.peer.name: ranked}, held.truth, held.task.users))
        search = {
            "trials": len(ran),
            "seconds": sum(row["cell_seconds"] for row in ran),
            "most_trials": TRIALS,
            "most_minutes": MINUTES,
            "best": best["trial"],
            "validation_ndcg@10": best["ndcg@10"],
        }
        for row in quality_rows(values, seed=held.task.seed):
            yield {**told(row, "quality", self.split), "search": search}


def _measured(peer: Peer, settings: Mapping[str, Any], held: HeldOut) -> tuple[Ranked, UserValues]:
    """Return a peer's lists, checked, and every user's values."""
    task = held.task
    ranked = peer.lists(task, settings)
    if ranked.items.shape != (len(task.users), DEPTH):
        raise ValueError(f"{peer.name} answered {ranked.items.shape}, not a list a user")
    rows, columns = np.nonzero(ranked.items >= 0)
    if task.excluded[rows, ranked.items[rows, columns]].any():
        raise ValueError(f"{peer.name} shows users what is excluded for them")
    around = Surroundings.of_known(task.log, task.users, task.excluded, None, DEPTH)
    return ranked, measure_users({peer.name: ranked}, held.truth, around, KS)
