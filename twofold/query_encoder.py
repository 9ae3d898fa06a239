"""The text model of an engine, loaded when the first query is a text."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from twofold.indexing.generation import Generation
from twofold.indexing.text import TextEncoder, TextSettings, check_identity


class QueryEncoder:
    """Encodes texts of queries; the model is loaded at the first one.

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
        """Return unit vectors of texts, ``float32 (n, d)``.

        Raises
        ------
        TwofoldError
            If the model cannot be loaded, or is another one than made the items' vectors.
        """
        with self._lock:
            if self._encoder is None:
                encoder = TextEncoder.load(self._settings)
                check_identity(self._generation.json("encoder"), encoder)
                self._encoder = encoder
        return self._encoder.encode_queries(texts)
