"""What people rerank with today: sentence-transformers' cross-encoder on the same backbone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_SIZES = (16, 32, 64, 100)


@dataclass(frozen=True)
class Peer:
    """A cross-encoder and the batch size that suits it best here.

    Parameters
    ----------
    model
        ``sentence_transformers.CrossEncoder``.
    batch_size
        Pairs a batch.
    """

    model: Any
    batch_size: int

    def score(self, history: str, texts: Sequence[str]) -> float:
        """Score one list, and return the seconds it took."""
        begun = time.perf_counter()
        self.model.predict(
            [(history, text) for text in texts],
            batch_size=self.batch_size,
            show_progress_bar=False,
        )
        return time.perf_counter() - begun


def make_peer(folder: Path, dtype: str, history: str, texts: Sequence[str]) -> Peer:
    """Return a peer in one precision, its batch size the fastest of some on one list.

    Parameters
    ----------
    folder
        Folder of the backbone; the head on top is new, which takes as long as a trained one.
    dtype
        ``"float32"`` or ``"bfloat16"``.
    history, texts
        A list to try batch sizes on.
    """
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(
        str(folder),
        num_labels=1,
        device="cpu",
        model_kwargs={"dtype": getattr(torch, dtype)},
        local_files_only=True,
    )
    peers = [Peer(model, size) for size in BATCH_SIZES if size <= max(16, len(texts))]
    peers[0].score(history, texts[:16])
    return min(peers, key=lambda peer: peer.score(history, texts))
