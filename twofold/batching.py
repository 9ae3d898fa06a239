"""Requests of several threads, computed together where they meet."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Job(Generic[Asked, Answer]):
    """One thread's request: woken either by its answer, or to lead a batch."""

    key: Hashable
    asked: Asked
    called: threading.Event = field(default_factory=threading.Event)
    batch: list[_Job[Asked, Answer]] | None = None
    answer: Answer | None = None
    error: Exception | None = None


class Batcher(Generic[Asked, Answer]):
    """Gives each request a place to be computed at, and neighbours that wait for the same.

    A thread that finds a free place computes its request there at once. While all places are taken,
    requests wait; whoever leaves a place hands it to the first of them, which takes along those of
    its kind that came after. So nobody waits for company, and the busier it gets, the more is
    computed together. There is no thread beside those that ask.

    Parameters
    ----------
    run
        Computes the answers to several requests of one kind, in their order.
    places
        How many batches are computed at once.
    most
        Most requests a batch.
    """

    def __init__(
        self, run: Callable[[Sequence[Asked]], Sequence[Answer]], *, places: int, most: int
    ) -> None:
        self._run, self._most = run, most
        self._free = places
        self._lock = threading.Lock()
        self._waiting: deque[_Job[Asked, Answer]] = deque()

    def ask(self, key: Hashable, asked: Asked) -> Answer:
        """Return the answer to a request, computed here or by another thread.

        Parameters
        ----------
        key
            Kind of the request: those of equal keys may be computed together.
        asked
            The request.

        Raises
        ------
        Exception
            What computing it raised. Requests of a batch that failed are computed one by one, so
            that each gets its own answer or its own error.
        """
        job: _Job[Asked, Answer] = _Job(key, asked)
        self._enter(job)
        # A job in its own batch would be let go of, with all that it asks, by a collection alone.
        batch, job.batch = job.batch, None
        if batch is not None:
            self._lead(job, batch)
        if job.error is not None:
            raise job.error
        answer: Answer = job.answer  # type: ignore[assignment]
        return answer

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for the length of a ``with`` block, for work that nobody joins."""
        self._enter(_Job(object(), None))  # type: ignore[arg-type]
        try:
            yield
        finally:
            self._leave()

    def _enter(self, job: _Job[Asked, Answer]) -> None:
        """Wait until the job leads a batch or has been answered."""
        with self._lock:
            if self._free:
                self._free -= 1
                job.batch = [job]
                return
            self._waiting.append(job)
        try:
            job.called.wait()
        except BaseException:
            self._withdraw(job)
            raise

    def _withdraw(self, job: _Job[Asked, Answer]) -> None:
        """Take back a request whose thread was interrupted while it waited."""
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                return
            if job.batch is None:
                return
            self._waiting.extendleft(reversed(job.batch[1:]))
        self._leave()

    def _lead(self, job: _Job[Asked, Answer], batch: list[_Job[Asked, Answer]]) -> None:
        try:
            self._compute(batch)
        except BaseException:
            # Interrupted: the others are still to be computed, by one of themselves.
            with self._lock:
                self._waiting.extendleft(reversed(batch[1:]))
            self._leave()
            raise
        self._leave()
        for other in batch:
            if other is not job:
                other.called.set()

    def _compute(self, batch: list[_Job[Asked, Answer]]) -> None:
        try:
            answers = self._run([job.asked for job in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for job in batch:
                self._compute([job])
            return
        for job, answer in zip(batch, answers, strict=True):
            job.answer = answer

    def _leave(self) -> None:
        """Hand the place to those that wait, or set it free."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            first = self._waiting.popleft()
            batch, others = [first], deque[_Job[Asked, Answer]]()
            while self._waiting:
                job = self._waiting.popleft()
                joins = job.key == first.key and len(batch) < self._most
                (batch if joins else others).append(job)
            self._waiting = others
            first.batch = batch
            first.called.set()
