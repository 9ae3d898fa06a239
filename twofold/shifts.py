"""A generation at work in an engine, until the last request that began on it has ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from twofold.batching import Batcher
from twofold.opened import Opened
from twofold.serving import Answers, Asked

if TYPE_CHECKING:
    from twofold.indexing.generation import Generation
    from twofold.indexing.vectors import Device
    from twofold.recommendation import Recommendations
    from twofold.settings import Settings

# Beyond some dozen, computing requests together gains nothing more, and the first would wait long.
MOST_TOGETHER = 16


class Shift:
    """What an engine answers with while a generation is at work.

    A request begins by :meth:`enter` and ends by :meth:`leave`; in between it reads nothing but
    this. Once it is relieved nobody enters any more, and the last to leave closes it.

    Parameters
    ----------
    generation
        The generation.
    settings
        What it was built with.
    places
        How many batches of requests are computed at once.
    runtime
        Name of a runtime of the ranker, or ``"auto"``.
    device
        Where vectors are searched.
    """

    def __init__(
        self,
        generation: Generation,
        settings: Settings,
        places: int,
        runtime: str,
        device: Device,
    ) -> None:
        self.generation, self.settings = generation, settings
        self.opened = Opened.of(generation, settings, runtime, device)
        self.batcher: Batcher[Asked, Recommendations] = Batcher(
            Answers(self.opened.stages, self.opened.names).find, places=places, most=MOST_TOGETHER
        )
        self._lock = threading.Lock()
        self._inside, self._relieved = 0, False

    def enter(self) -> bool:
        """Begin a request; false where the shift has been relieved."""
        with self._lock:
            if self._relieved:
                return False
            self._inside += 1
        return True

    def leave(self) -> None:
        """End a request."""
        with self._lock:
            self._inside -= 1
            over = self._relieved and not self._inside
        if over:
            self.opened.live.close()

    def relieve(self) -> None:
        """Let no more requests begin; twice is fine."""
        with self._lock:
            over = not self._relieved and not self._inside
            self._relieved = True
        if over:
            self.opened.live.close()

    def shows(self, generation: Generation) -> bool:
        """Say whether it is this generation that is at work."""
        mine, other = self.generation, generation
        same = mine.manifest["content_hash"] == other.manifest["content_hash"]
        return same and mine.folder == other.folder
