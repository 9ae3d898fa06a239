"""The library calls that a build makes, timed where they are made, and made again bare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from inspect import isclass
from typing import Any
from unittest.mock import patch

import faiss
import torch
from implicit.cpu.als import AlternatingLeastSquares
from sentence_transformers import SentenceTransformer
from threadpoolctl import threadpool_limits

from twofold.ranking import head_fit
from twofold.ranking.backbone import Backbone
from twofold.ranking.head import EvidenceHeads
from twofold.ranking.model import RankerModel

ALS, ENCODER, FAISS = "implicit", "sentence-transformers", "faiss"
TRAINING, READING = "torch, with gradients", "torch, without gradients"


@dataclass
class Calls:
    """The calls of one library.

    Parameters
    ----------
    seconds
        Time inside them.
    times
        How many there were.
    """

    seconds: float = 0.0
    times: int = 0


@dataclass
class Watched:
    """What was called while it was watched.

    Parameters
    ----------
    calls
        Library -> its calls.
    fitted
        Models of `implicit` and the matrices they were fitted to.
    encoder
        The sentence model.
    texts
        All texts that it was given, with the prompt.
    """

    calls: dict[str, Calls] = field(default_factory=dict)
    fitted: list[tuple[Any, Any]] = field(default_factory=list)
    encoder: Any = None
    texts: list[str] = field(default_factory=list)
    prompt: str | None = None
    _busy: bool = False

    def spy(
        self,
        library: str | Callable[[], str],
        original: Callable[..., Any],
        note: Callable[..., None] | None = None,
    ) -> Callable[..., Any]:
        """Return a function that does the same and is timed, unless a timed one called it.

        Parameters
        ----------
        library
            Whose call it is, or what says so at the call.
        original
            The function.
        note
            Told of the arguments.
        """

        @wraps(original)
        def called(*args: Any, **kwargs: Any) -> Any:
            if self._busy:
                return original(*args, **kwargs)
            if note is not None:
                note(*args, **kwargs)
            self._busy, begun = True, time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent = time.perf_counter() - begun
                self._busy = False
                one = self.calls.setdefault(
                    library if isinstance(library, str) else library(), Calls()
                )
                one.seconds, one.times = one.seconds + spent, one.times + 1

        return called

    def note_fit(self, model: Any, matrix: Any, **_: Any) -> None:
        """Remember a fit."""
        self.fitted.append((model, matrix))

    def note_texts(self, encoder: Any, texts: Sequence[str], **how: Any) -> None:
        """Remember texts."""
        self.encoder, self.prompt = encoder, how.get("prompt")
        self.texts += texts


@contextmanager
def watched() -> Iterator[Watched]:
    """Yield what is called inside a ``with`` block, in one thread at a time.

    What torch computes is what the ranker's model computes of tensors that are at hand: products,
    gradients, and the optimiser's steps. What goes before, drawing candidates and filling tensors,
    is not.
    """
    out = Watched()

    def whose() -> str:
        return TRAINING if torch.is_grad_enabled() else READING

    with ExitStack() as patches:

        def watch(where: Any, name: str, library: Any, note: Any = None) -> None:
            spy = out.spy(library, getattr(where, name), note)
            patches.enter_context(patch.object(where, name, spy))

        watch(AlternatingLeastSquares, "fit", ALS, out.note_fit)
        watch(SentenceTransformer, "encode_document", ENCODER, out.note_texts)
        for kind in [one for one in vars(faiss).values() if isclass(one)]:
            for name in ("add", "train"):
                if issubclass(kind, faiss.Index) and name in vars(kind):
                    watch(kind, name, FAISS)
        for name in ("blocks", "remember", "logits", "digest"):
            watch(RankerModel, name, whose)
        watch(Backbone, "read_alone", whose)
        watch(EvidenceHeads, "forward", whose)
        watch(head_fit, "each_told", whose)
        watch(torch.autograd, "backward", TRAINING)
        watch(torch.nn.utils, "clip_grad_norm_", TRAINING)
        watch(torch.optim.AdamW, "step", TRAINING)
        yield out


def bare_als(told: Watched, threads: int) -> float:
    """Return the seconds of the same fits by `implicit` alone."""
    spent = 0.0
    for model, matrix in told.fitted:
        with threadpool_limits(1, "blas"):
            again = AlternatingLeastSquares(
                factors=model.factors,
                regularization=model.regularization,
                alpha=model.alpha,
                iterations=model.iterations,
                random_state=0,
                num_threads=threads,
            )
            begun = time.perf_counter()
            again.fit(matrix, show_progress=False)
            spent += time.perf_counter() - begun
    return spent


def bare_encoding(told: Watched) -> float:
    """Return the seconds of one call of sentence-transformers for all texts, in its own batches."""
    if told.encoder is None:
        return 0.0
    begun = time.perf_counter()
    told.encoder.encode_document(told.texts, prompt=told.prompt, show_progress_bar=False)
    return time.perf_counter() - begun
