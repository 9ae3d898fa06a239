"""How the parts of a request say when they begin and end, without knowing who listens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["UNTRACED", "Tracer", "Untraced"]


class Tracer(Protocol):
    """Somebody who follows requests part by part; told by several threads at once.

    What a span returns is entered when the part begins and left when it ends, in the same thread;
    parts may be nested. It must raise nothing, and hold nothing up.
    """

    def span(self, part: str, sources: Sequence[int] = ()) -> AbstractContextManager[object]:
        """Return what is held for the length of a part of a request.

        Parameters
        ----------
        part
            Its name.
        sources
            Which sources of stage one it is the work of, by their places in
            ``Retriever.source_names``; several where they work together.
        """
        ...


class Untraced:
    """Nobody: a span is entered and left in a tenth of a microsecond."""

    # Holds no state, so that all spans of all threads can be this one.
    _nothing: AbstractContextManager[object] = nullcontext()

    def span(self, part: str, sources: Sequence[int] = ()) -> AbstractContextManager[object]:
        """Return what does nothing."""
        return self._nothing


UNTRACED = Untraced()
