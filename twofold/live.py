"""What users did since the build, on top of what it holds."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.indexing.dataset import Dataset
from twofold.indexing.event_values import kinds_of
from twofold.indexing.interactions import COLUMNS, Interactions
from twofold.indexing.live_log import LiveEvent, LiveLog, Position
from twofold.indexing.ordering import steps_of
from twofold.retrieval.queries import Queries, queries_of_users
from twofold.settings import Settings

logger = logging.getLogger("twofold.live")

MANY_STEPS = 1 << 40  # before all times
KEPT = 4096  # queries of users with new events, those asked for last


class Live:
    """Users' events since the build; may be shared by threads.

    Events that other processes append to the artefact's log are found at the next request.

    Parameters
    ----------
    root
        Folder of the artefact.
    dataset
        What the build holds.
    settings
        What it was built with.
    since
        Up to where the data set holds the log.
    """

    def __init__(self, root: Path, dataset: Dataset, settings: Settings, since: Position) -> None:
        self._log, self._dataset, self._settings = LiveLog(root), dataset, settings
        self._lock = threading.Lock()
        self._events: defaultdict[str, list[LiveEvent]] = defaultdict(list)
        self._queries: OrderedDict[str, Queries] = OrderedDict()
        self._last = since.events
        self._read()

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def append(self, events: Sequence[LiveEvent]) -> None:
        """Take events in: durable and in force once this returns.

        Raises
        ------
        ArtefactError
            If the log cannot be written.
        """
        self._log.append(events)
        self._read()

    def users(self) -> list[str]:
        """Return the users who have new events."""
        self._catch_up()
        with self._lock:
            return list(self._events)

    def query(self, user: str) -> Queries | None:
        """Return the query of a user with new events, ``None`` of one without."""
        self._catch_up()
        with self._lock:
            known = self._queries.get(user)
            if known is not None:
                self._queries.move_to_end(user)
                return known
            events = list(self._events.get(user, ()))
        if not events:
            return None
        made = self._made(user, events)
        with self._lock:
            # Others may have come meanwhile; what is made of fewer must not stay.
            if len(self._events[user]) == len(events):
                self._queries[user] = made
                if len(self._queries) > KEPT:
                    self._queries.popitem(last=False)
        return made

    def _catch_up(self) -> None:
        if self._log.changed():
            self._read()

    def _read(self) -> None:
        with self._lock:
            events, self._last = self._log.after(self._last)
            unknown = 0
            for event in events:
                if event.item not in self._dataset.items:
                    unknown += 1
                    continue
                self._events[event.user].append(event)
                self._queries.pop(event.user, None)
        if unknown:
            logger.warning(
                "%s of %s events since the build are of items that it lacks, and passed over",
                f"{unknown:,}",
                f"{len(events):,}",
            )

    def _made(self, user: str, events: Sequence[LiveEvent]) -> Queries:
        number = self._dataset.users.number(user) if user in self._dataset.users else -1
        settings = self._settings.stage_one
        query = queries_of_users(
            self._history(number, events),
            np.zeros(1, dtype=np.int64),
            max_history=settings.max_history,
            repeat=settings.repeat,
        )
        return replace(query, users=np.array([number]))

    def _history(self, number: int, events: Sequence[LiveEvent]) -> Interactions:
        """Return all events of one user, the build's and the new ones, as a log of one user."""
        base = self._dataset.interactions
        rows = slice(0, 0)
        if number >= 0:
            rows = slice(int(base.indptr[number]), int(base.indptr[number + 1]))
        old = {name: np.asarray(getattr(base, name)[rows]) for name in COLUMNS}
        old["users"] = np.zeros_like(old["users"])
        new = self._columns(events)
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
        return Interactions(**both, n_users=1, n_items=base.n_items)

    def _columns(self, events: Sequence[LiveEvent]) -> dict[str, npt.NDArray[Any]]:
        signs = np.array([event.sign for event in events], dtype=np.int8)
        return {
            "users": np.zeros(len(events), dtype=np.int64),
            "items": self._dataset.items.encode([event.item for event in events]),
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
