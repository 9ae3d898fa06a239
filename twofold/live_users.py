"""What users did since the build, on top of what it holds."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.dataset import Dataset
from twofold.indexing.event_values import kinds_of
from twofold.indexing.interactions import COLUMNS, Interactions
from twofold.indexing.live_log import LiveEvent
from twofold.indexing.ordering import steps_of
from twofold.indexing.vocabulary import Vocabulary
from twofold.retrieval.queries import Queries, queries_of_users, widened
from twofold.settings import Settings

MANY_STEPS = 1 << 40  # before all times
KEPT = 4096  # queries of users with new events, those asked for last


class LiveUsers:
    """Users' events since the build; may be shared by threads.

    Parameters
    ----------
    dataset
        What the build holds.
    settings
        What it was built with.
    """

    def __init__(self, dataset: Dataset, settings: Settings) -> None:
        self._dataset, self._settings = dataset, settings
        self._lock = threading.Lock()
        self._events: defaultdict[str, list[LiveEvent]] = defaultdict(list)
        self._queries: OrderedDict[str, Queries] = OrderedDict()

    def take_in(self, events: Iterable[LiveEvent]) -> None:
        """Take in events, in order; of those made together nobody sees a part."""
        with self._lock:
            for event in events:
                self._events[event.user].append(event)
                self._queries.pop(event.user, None)

    def users(self) -> list[str]:
        """Return the users who have new events."""
        with self._lock:
            return list(self._events)

    def query(self, user: str, items: Vocabulary) -> Queries | None:
        """Return the query of a user with new events, ``None`` of one without.

        Parameters
        ----------
        user
            Id of the user.
        items
            The items that the query is over; events of others came later and are passed over.
        """
        with self._lock:
            known = self._queries.get(user)
            if known is not None and known.n_items <= len(items):
                self._queries.move_to_end(user)
                return widened(known, len(items))
            events = list(self._events.get(user, ()))
        there = [event for event in events if event.item in items]
        if not there:
            return None
        made = self._made(user, there, items)
        with self._lock:
            # Others may have come meanwhile; what is made of fewer must not stay.
            if len(self._events[user]) == len(there):
                self._queries[user] = made
                if len(self._queries) > KEPT:
                    self._queries.popitem(last=False)
        return made

    def _made(self, user: str, events: Sequence[LiveEvent], items: Vocabulary) -> Queries:
        number = self._dataset.users.number(user) if user in self._dataset.users else -1
        settings = self._settings.stage_one
        query = queries_of_users(
            self._history(number, events, items),
            np.zeros(1, dtype=np.int64),
            max_history=settings.max_history,
            repeat=settings.repeat,
        )
        return replace(query, users=np.array([number]))

    def _history(self, number: int, events: Sequence[LiveEvent], known: Vocabulary) -> Interactions:
        """Return all events of one user, the build's and the new ones, as a log of one user."""
        base = self._dataset.interactions
        rows = slice(0, 0)
        if number >= 0:
            rows = slice(int(base.indptr[number]), int(base.indptr[number + 1]))
        old = {name: np.asarray(getattr(base, name)[rows]) for name in COLUMNS}
        old["users"] = np.zeros_like(old["users"])
        new = self._columns(events, known)
        if self._dataset.has_times:
            # A build after the events were logged may hold them already.
            held = set(_keys(old))
            fresh = np.array([one not in held for one in _keys(new)], dtype=bool)
            new = {name: values[fresh] for name, values in new.items()}
            late = np.concatenate([old["times"], new["times"]])
        else:
            # The build's own order stays, and what is new is later than all of it.
            late = np.concatenate([old["steps"].astype(np.int64) - MANY_STEPS, new["times"]])
        order = np.argsort(late, kind="stable")
        both = {name: np.concatenate([old[name], new[name]])[order] for name in COLUMNS}
        both["steps"] = steps_of(both["users"], late[order])
        return Interactions(**both, n_users=1, n_items=len(known))

    def _columns(
        self, events: Sequence[LiveEvent], known: Vocabulary
    ) -> dict[str, npt.NDArray[Any]]:
        signs = np.array([event.sign for event in events], dtype=np.int8)
        return {
            "users": np.zeros(len(events), dtype=np.int64),
            "items": known.encode([event.item for event in events]),
            "steps": np.zeros(len(events), dtype=np.int32),
            "times": np.array([event.time for event in events], dtype=np.int64),
            "weights": np.array([event.weight for event in events], dtype=np.float32),
            "signs": signs,
            "seen": np.array([event.seen for event in events], dtype=bool),
            "labels": np.array([event.label for event in events], dtype=bool),
            "kinds": kinds_of([event.kind for event in events], signs, self._dataset.kinds),
        }


def held_by(dataset: Dataset, event: LiveEvent) -> bool:
    """Say whether a data set holds an event: one of its user with that item, time and kind."""
    if event.user not in dataset.users or event.item not in dataset.items:
        return False
    log, user = dataset.interactions, dataset.users.number(event.user)
    rows = slice(int(log.indptr[user]), int(log.indptr[user + 1]))
    (kind,) = kinds_of([event.kind], np.array([event.sign], dtype=np.int8), dataset.kinds)
    return bool(
        np.any(
            (log.items[rows] == dataset.items.number(event.item))
            & (log.times[rows] == event.time)
            & (log.kinds[rows] == kind)
        )
    )


def _keys(columns: dict[str, npt.NDArray[Any]]) -> list[tuple[int, int, int]]:
    """Return what tells the events of one user apart."""
    parts = (columns[name].tolist() for name in ("items", "times", "kinds"))
    return list(zip(*parts, strict=True))
