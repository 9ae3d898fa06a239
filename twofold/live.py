"""What came since the build: read from the log, and in force at the next request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from twofold.catalogue import Catalogue
from twofold.growth import Growth
from twofold.indexing.generation import Generation
from twofold.indexing.live_items import Given, ItemForm
from twofold.indexing.live_log import ItemChange, LiveEvent, LiveLog, Position
from twofold.item_changes import Kind, changes_of, check, removals_of, write
from twofold.opened import Opened
from twofold.ranking.growing_ranker import ReadItems
from twofold.settings import Settings

logger = logging.getLogger("twofold.live")


class Live:
    """A generation with what came since; may be shared by threads.

    What other processes append to the artefact's log is found at the next request.

    Parameters
    ----------
    generation
        The generation.
    opened
        The generation, opened.
    settings
        What it was built with.
    """

    def __init__(self, generation: Generation, opened: Opened, settings: Settings) -> None:
        self._log, self._settings = LiveLog(generation.root), settings
        self._users, self._growth = opened.asking.live, Growth(opened)
        self._form: ItemForm | None = None
        self._built = opened.dataset
        # One thread reads what is new, while others go on with what they have.
        self._lock = threading.Lock()
        self._position, self._version = Position.of(generation.manifest), -1
        self._now = opened
        with self._lock:
            self._read()

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def now(self) -> Opened:
        """Return what to answer a request with that begins now: all that was acknowledged counts.

        Raises
        ------
        ArtefactError
            If the log cannot be read.
        """
        if self._log.version() != self._version:
            with self._lock:
                self._catch_up()
        return self._now

    def append(self, events: Sequence[LiveEvent]) -> None:
        """Take events in: durable and in force once this returns.

        Raises
        ------
        ArtefactError
            If the log cannot be written.
        """
        self._log.append(events)
        self.now()

    def put(self, items: Given, kind: Kind) -> int:
        """Take items in, durable and in force once this returns, and return how many.

        Parameters
        ----------
        items
            Their table, or rows as dictionaries.
        kind
            ``"add"``, ``"update"``, or ``"put"`` for either.

        Raises
        ------
        InputError
            If the table cannot be used, or it does not fit the items there are.
        ArtefactError
            If the changes cannot be written.
        """
        now = self.now()
        if self._form is None:
            self._form = ItemForm.of(self._built.table, self._settings.data)
        dimension = now.stage_one.index.dimension
        changes = changes_of(items, kind, self._form, now.catalogue, now.vectors, dimension)
        self._change(changes, kind)
        return len(changes)

    def remove(self, ids: Sequence[str]) -> int:
        """Take items away likewise, and return how many.

        Raises
        ------
        UnknownIdError
            If there is no such item.
        ArtefactError
            If the changes cannot be written.
        """
        check("remove", ids, self.now().catalogue)
        self._change(removals_of(ids), "remove")
        return len(ids)

    def _change(self, changes: Sequence[ItemChange], kind: Kind) -> None:
        if not changes:
            return
        # All that takes time is done by now, so that others do not wait for it.
        read = self._growth.read(changes)
        with self._lock:
            write(self._log, changes, kind, self._current)
            self._catch_up(changes, read)

    def _current(self) -> tuple[Catalogue, int]:
        self._catch_up()
        return self._now.catalogue, self._position.items

    def _catch_up(self, own: Sequence[ItemChange] = (), read: ReadItems | None = None) -> None:
        if self._log.version() != self._version:
            self._read(own, read)

    def _read(self, own: Sequence[ItemChange] = (), read: ReadItems | None = None) -> None:
        """Take in what is new in the log.

        `own` are changes just written, and `read` what was made of them already.
        """
        # Asked for first: what is written in between is read now, and found to be new once more.
        version = self._log.version()
        # And events first, so that the items that they are of are there.
        events, last_event = self._log.after(self._position.events)
        changes, last_change = self._log.item_changes_after(self._position.items)
        now = self._now
        if changes:
            alone = [one.item for one in changes] == [one.item for one in own]
            now = self._growth.after(changes, read if alone else None)
        known = [event for event in events if event.item in now.catalogue.items]
        if len(known) < len(events):
            logger.warning(
                "%s of %s events since the build are of items that it lacks, and passed over",
                f"{len(events) - len(known):,}",
                f"{len(events):,}",
            )
        self._users.take_in(known)
        self._now = now
        self._position, self._version = Position(last_event, last_change), version
