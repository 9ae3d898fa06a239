"""The text model of an engine, loaded when the first text comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from twofold.indexing.generation import Generation
from twofold.indexing.text import TextEncoder, TextSettings, check_identity

TURN = 32  # texts


class QueryEncoder:
    """Encodes texts of queries, and of items that come later; the model is loaded at the first.

    Apart from the engine, which would otherwise refer to itself: an engine that nobody holds any
    more lets go of its files at once, not when garbage is collected.

    Parameters
    ----------
    generation
        Whose vectors the queries are compared to.
    settings
        The text model that made them.
    """

    def __init__(self, generation: Generation, settings: TextSettings) -> None:
        self._generation, self._settings = generation, settings
        self._encoder: TextEncoder | None = None
        self._lock = threading.Lock()

    def __call__(self, texts: tuple[str, ...]) -> npt.NDArray[np.float32]:
        """Return unit vectors of queries' texts, ``float32 (n, d)``.

        Raises
        ------
        TwofoldError
            If the model cannot be loaded, or is another one than made the items' vectors.
        """
        return self._loaded().encode_queries(texts)

    def documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors of items' texts, ``float32 (n, d)``; raises as for queries.

        A few at a time, between which queries get their turn at the model.
        """
        encoder = self._loaded()
        out = np.empty((len(texts), encoder.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(order), TURN):
            places = order[start : start + TURN]
            out[places] = encoder.encode_documents([texts[place] for place in places])
            time.sleep(0)  # or whoever waits for the model would not get it
        return out

    def _loaded(self) -> TextEncoder:
        with self._lock:
            if self._encoder is None:
                encoder = TextEncoder.load(self._settings)
                check_identity(self._generation.json("encoder"), encoder)
                self._encoder = encoder
            return self._encoder
