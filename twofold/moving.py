"""How an engine moves from one generation of its artefact to the next while it serves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, overload

from twofold.indexing.artefact import open_artefact
from twofold.indexing.errors import TwofoldError
from twofold.opened import Opened
from twofold.settings_file import from_values
from twofold.shifts import Shift

if TYPE_CHECKING:
    from twofold.compact import CompactReport
    from twofold.indexing.generation import Generation
    from twofold.indexing.progress import Progress
    from twofold.indexing.tracing import Tracer
    from twofold.indexing.vectors import Device
    from twofold.settings import Settings


class EngineError(TwofoldError):
    """An engine that is closed, or used in another process than it was loaded in."""


class Moving:
    """Has a generation at work, and moves on to another; may be shared by threads.

    Parameters
    ----------
    generation
        The opened generation.
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
        self._how: tuple[str, Device, Tracer] = (runtime, device, tracer)
        self._shift = Shift(generation, settings, *self._how)
        self._turning = threading.Lock()
        self._process, self._closed = os.getpid(), False

    @property
    def settings(self) -> Settings:
        """What the generation at work was built with."""
        return self._shift.settings

    @overload
    def compact(
        self, *, background: Literal[False] = False, progress: Progress | None = None
    ) -> CompactReport: ...

    @overload
    def compact(
        self, *, background: Literal[True], progress: Progress | None = None
    ) -> Future[CompactReport]: ...

    def compact(
        self, *, background: bool = False, progress: Progress | None = None
    ) -> CompactReport | Future[CompactReport]:
        """Make what came since the build part of the next generation, and move to it.

        Requests go on meanwhile. It computes in this process and takes cores and memory from them;
        where that matters, run ``twofold compact`` in a process of its own, and then
        :meth:`refresh`. Other engines move when their `refresh` is called.

        Parameters
        ----------
        background
            Whether to return at once, with a future of the report.
        progress
            Told of every step.

        Raises
        ------
        ArtefactBusyError
            If a build or another compaction is writing to the artefact.
        ArtefactError
            If the artefact cannot be read or written.
        """
        self._check()
        if not background:
            return self._compacted(progress)
        pool = ThreadPoolExecutor(1, thread_name_prefix="twofold-compact")
        future = pool.submit(self._compacted, progress)
        pool.shutdown(wait=False)  # its one thread ends with its work
        return future

    def refresh(self) -> bool:
        """Move to the current generation of the artefact, and say whether that is another one.

        Requests that are under way end on the generation they began with, whose files are let go
        of after the last of them; none fails, and none sees both. Until the new one is open, the
        old one answers.

        Raises
        ------
        ArtefactError
            If the current generation cannot be opened; the old one goes on.
        """
        from twofold.settings import Settings

        with self._turning:
            self._check()
            old = self._shift
            generation = open_artefact(old.generation.root)
            if old.shows(generation):
                return False
            settings = from_values(Settings, generation.manifest["settings"])
            self._shift = Shift(generation, settings, *self._how)
        old.relieve()
        return True

    def _compacted(self, progress: Progress | None) -> CompactReport:
        from twofold.compact import compact

        report = compact(self._shift.generation.root, alone=False, progress=progress)
        if not self._closed:
            self.refresh()
        return report

    def _now(self) -> Opened:
        """Return what a request that begins now is answered with, unless the engine is closed."""
        with self._at_work() as shift:
            return shift.live.now()

    @contextmanager
    def _at_work(self) -> Iterator[Shift]:
        """Yield the shift at work, which keeps the log open meanwhile."""
        self._check()
        while not (shift := self._shift).enter():
            self._check()  # relieved since it was looked up: another one is there, or none
        try:
            yield shift
        finally:
            shift.leave()

    def _check(self) -> None:
        if self._process != os.getpid():
            raise EngineError(
                f"this engine was loaded in process {self._process} and is used in {os.getpid()} "
                "after a fork; call Engine.load in each worker"
            )
        if self._closed:
            raise EngineError("this engine is closed; load it again with Engine.load")
