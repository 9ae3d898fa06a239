"""A generation at work in an engine, until the last call that began on it has ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from twofold.live import Live
from twofold.opened import Opened

if TYPE_CHECKING:
    from twofold.indexing.generation import Generation
    from twofold.indexing.tracing import Tracer
    from twofold.indexing.vectors import Device
    from twofold.settings import Settings


class Shift:
    """What an engine works with while a generation is at work.

    A call begins by :meth:`enter` and ends by :meth:`leave`; in between it uses nothing but this.
    Once it is relieved nobody enters any more, and the last to leave lets go of the log.

    Parameters
    ----------
    generation
        The generation.
    settings
        What it was built with.
    runtime
        Name of a runtime of the ranker, or ``"auto"``.
    device
        Where vectors are searched.
    tracer
        Told of every part of requests.
    """

    def __init__(
        self,
        generation: Generation,
        settings: Settings,
        runtime: str,
        device: Device,
        tracer: Tracer,
    ) -> None:
        self.generation, self.settings = generation, settings
        opened = Opened.of(generation, settings, runtime, device, tracer)
        self.live = Live(generation, opened, settings)
        self._lock = threading.Lock()
        self._inside, self._relieved = 0, False

    def enter(self) -> bool:
        """Begin a call; false where the shift has been relieved."""
        with self._lock:
            if self._relieved:
                return False
            self._inside += 1
        return True

    def leave(self) -> None:
        """End a call."""
        with self._lock:
            self._inside -= 1
            over = self._relieved and not self._inside
        if over:
            self.live.close()

    def relieve(self) -> None:
        """Let no more calls begin; twice is fine."""
        with self._lock:
            over = not self._relieved and not self._inside
            self._relieved = True
        if over:
            self.live.close()

    def shows(self, generation: Generation) -> bool:
        """Say whether it is this generation that is at work."""
        mine, other = self.generation, generation
        same = mine.manifest["content_hash"] == other.manifest["content_hash"]
        return bool(same and mine.folder == other.folder)
