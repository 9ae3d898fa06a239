"""From users, events and texts to the queries that the stages answer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import InputError
from twofold.indexing.event_values import read_values
from twofold.indexing.vocabulary import Vocabulary
from twofold.live_users import LiveUsers
from twofold.retrieval.queries import (
    Queries,
    joined,
    queries_of_users,
    query_of_events,
    widened,
)
from twofold.settings import Settings


class Asking:
    """Makes queries of what callers know; may be shared by threads.

    Parameters
    ----------
    dataset
        Users, items and what they did.
    settings
        What the artefact was built with.
    items
        The items as they are now, those of the build before all others.
    """

    def __init__(self, dataset: Dataset, settings: Settings, items: Vocabulary) -> None:
        self._dataset, self._settings, self._items = dataset, settings, items
        self.everyone = queries_of_users(
            dataset.interactions,
            np.arange(len(dataset.users)),
            max_history=settings.stage_one.max_history,
            repeat=settings.stage_one.repeat,
        )
        self._live = LiveUsers(dataset, settings)

    @property
    def live(self) -> LiveUsers:
        """What users did since the build; it is shared by all that come of this by :meth:`over`."""
        return self._live

    def over(self, items: Vocabulary) -> Asking:
        """Return the same over more items."""
        other = copy(self)
        other._items, other.everyone = items, widened(self.everyone, len(items))
        return other

    def user(self, user: str) -> Queries:
        """Return the query of a user, without a history where nothing of them is known."""
        newer = self._live.query(user, self._items)
        if newer is not None:
            return newer
        if user in self._dataset.users:
            return self.everyone.take(np.array([self._dataset.users.number(user)]))
        return self.events([])

    def users(self, users: Sequence[str] | None) -> tuple[list[str], Queries]:
        """Return users and their queries.

        Parameters
        ----------
        users
            Ids; ``None`` takes all of the build, and who came since.

        Raises
        ------
        UnknownIdError
            If nothing is known of a user.
        """
        known, newer = self._dataset.users, dict.fromkeys(self._live.users())
        if users is None:
            users = [*known.ids, *(user for user in newer if user not in known)]
        plain = [place for place, user in enumerate(users) if user not in newer]
        parts = [self.everyone.take(known.encode([users[place] for place in plain]))]
        live = [place for place, user in enumerate(users) if user in newer]
        parts += [self.user(users[place]) for place in live]
        order = np.argsort(np.array([*plain, *live], dtype=np.int64), kind="stable")
        return list(users), joined(parts).take(order) if live else parts[0]

    def events(self, events: Sequence[tuple[str, float]]) -> Queries:
        """Return the query of events given at the call, read as the build's rows were.

        Parameters
        ----------
        events
            ``(item_id, rating or weight)``, oldest first.

        Raises
        ------
        UnknownIdError
            If an item is unknown.
        InputError
            If a weight is not a finite number.
        """
        items = self._items.encode([item for item, _ in events])
        values = np.array([weight for _, weight in events], dtype=np.float32)
        if not np.isfinite(values).all():
            raise InputError("weights of events must be finite numbers")
        rules = self._settings.data.events
        kinds, weights, signs = read_values(values, self._dataset.kinds, rules)
        return query_of_events(
            items,
            kinds,
            weights,
            signs,
            n_items=len(self._items),
            max_history=self._settings.stage_one.max_history,
            repeat=self._settings.stage_one.repeat,
        )

    def text(self, text: str) -> Queries:
        """Return the query of a free text.

        Raises
        ------
        InputError
            If it is empty.
        """
        if not text.strip():
            raise InputError("search needs a text; this one is empty")
        return replace(self.events([]), texts=(text,))
