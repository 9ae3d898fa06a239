"""What an engine takes in while it serves: events, and items that come, change and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twofold.indexing.errors import InputError
from twofold.indexing.live_events import read_live_events
from twofold.indexing.tables import Source
from twofold.moving import Moving


class Updating(Moving):
    """Takes in what comes since a build; may be shared by threads."""

    def add_events(self, events: Source | Sequence[Mapping[str, Any]]) -> int:
        """Take in what users did since the build, and return how many events that is.

        Once this returns they are on the disk and in force: the next request of these users, in
        this process or another that serves the artefact, reads them. What the models learned stays
        as it was until the next build.

        Parameters
        ----------
        events
            A table of any kind that a build takes, or rows as dictionaries, with the columns of the
            build's interactions; without times they are of now.

        Raises
        ------
        DataError
            If a row cannot be used, or names an item that the build lacks; then none is taken in.
        ArtefactError
            If they cannot be written.
        """
        with self._at_work() as shift:
            known = shift.live.now().catalogue.items
            read = read_live_events(events, shift.settings.data, known)
            shift.live.append(read)
        return len(read)

    def add_items(self, items: Source | Sequence[Mapping[str, Any]]) -> int:
        """Take in items that the catalogue lacks, and return how many that is.

        Once this returns they are on the disk and in force: the next request, in this process or
        another that serves the artefact, may find them, by their texts and attributes, and reranks
        them. What users tell of them counts for whoever took them; what the models learned stays
        as it was until the next build. One that was removed before comes back.

        Parameters
        ----------
        items
            A table of any kind that a build takes, or rows as dictionaries, with columns of the
            build's items; what is left out is empty.

        Raises
        ------
        DataError
            If a row cannot be used, or there is a column that the build's items lack.
        InputError
            If an item is in the catalogue already. Nothing is taken in then, nor in any other case.
        ArtefactError
            If they cannot be written, or the artefact's vectors were made by a model that cannot be
            loaded.
        """
        with self._at_work() as shift:
            return shift.live.put(items, "add")

    def update_items(self, items: Source | Sequence[Mapping[str, Any]]) -> int:
        """Change items of the catalogue, durable and in force as :meth:`add_items`.

        They keep their users, relations and factors, and histories keep them.

        Parameters
        ----------
        items
            As of :meth:`add_items`; columns that are left out keep their values.

        Raises
        ------
        UnknownIdError
            If an item is not in the catalogue; nothing is changed then, nor in any other case.
        DataError, ArtefactError
            As :meth:`add_items`.
        """
        with self._at_work() as shift:
            return shift.live.put(items, "update")

    def remove_items(self, ids: Iterable[str]) -> int:
        """Recommend some items no more, durable and in force as :meth:`add_items`.

        They stay in histories, and what users tell by them goes on to count.

        Parameters
        ----------
        ids
            The items.

        Raises
        ------
        UnknownIdError
            If an item is not in the catalogue; none is removed then.
        InputError
            If `ids` is a string.
        ArtefactError
            If it cannot be written.
        """
        if isinstance(ids, str):
            raise InputError(f"ids must be a list of ids, not the text '{ids}'; put it in [ ]")
        with self._at_work() as shift:
            return shift.live.remove(list(dict.fromkeys(ids)))
