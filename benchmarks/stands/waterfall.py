"""Where the time of a request goes: the own time of every part, as an engine tells of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import NamedTuple

REST = "rest"


class Part(NamedTuple):
    """A part of a request, and whose work it is where it is the work of sources.

    Parameters
    ----------
    name
        As :class:`~twofold.indexing.tracing.Tracer` is told it.
    sources
        Places of sources.
    """

    name: str
    sources: tuple[int, ...] = ()


class Waterfall:
    """A tracer of one client: each moment of a request counts for the innermost part open then.

    So the parts of a request add up to the whole of it. It is not for several threads.
    """

    def __init__(self) -> None:
        # What the open parts, the outermost first, have spent in parts of theirs.
        self._inner: list[int] = []
        self._own: dict[Part, int] = {}

    def span(self, part: str, sources: Sequence[int] = ()) -> _Span:
        """Return what times a part."""
        return _Span(self, Part(part, tuple(sources)))

    def followed(self, ask: Callable[[], object]) -> dict[Part, float]:
        """Return the milliseconds of every part of one request; what is in none is the rest.

        Parameters
        ----------
        ask
            Asks the engine that has this tracer.
        """
        self._own = {}
        with self.span(REST):
            ask()
        return {part: spent / 1e6 for part, spent in self._own.items()}

    def begin(self) -> int:
        """Open a part, and return when."""
        self._inner.append(0)
        return perf_counter_ns()

    def end(self, part: Part, begun: int) -> None:
        """Close the innermost part."""
        spent = perf_counter_ns() - begun
        inner = self._inner.pop()
        self._own[part] = self._own.get(part, 0) + spent - inner
        if self._inner:
            self._inner[-1] += spent


class _Span:
    def __init__(self, waterfall: Waterfall, part: Part) -> None:
        self._waterfall, self._part = waterfall, part

    def __enter__(self) -> None:
        self._begun = self._waterfall.begin()

    def __exit__(self, *_: object) -> None:
        self._waterfall.end(self._part, self._begun)
