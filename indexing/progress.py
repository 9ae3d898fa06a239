"""How long steps report where they are, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One running step."""

    def advance(self, amount: float = 1) -> None:
        """Say that `amount` more of the step's total is done."""
        ...

    def note(self, text: str) -> None:
        """Show a short remark beside the step, such as the last loss."""
        ...


class Progress(Protocol):
    """Somebody who shows, or ignores, the steps of a long job."""

    def step(self, name: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Open a step of `total` units (``None`` where that is not known)."""
        ...


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        return None

    def note(self, text: str) -> None:
        return None


class Silent:
    """Progress that shows nothing."""

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Open a step that nobody sees."""
        yield _SilentTask()
