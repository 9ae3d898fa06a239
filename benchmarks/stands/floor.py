"""The least time that reranking can take: its multiplications at the machine's measured rate."""

from __future__ import annotations

import time

import torch

from twofold.ranking.model import ModelShape

SIZE, REPEATS = 2048, 5


def operations(shape: ModelShape, candidates: int, history: int) -> float:
    """Return the floating-point operations of one list whose items are digested.

    Two a multiplication: the last layer's output projection and feed-forward part for each
    candidate's [CLS], what it looks at, and soft tokens, keys and values of a new history. Norms,
    softmax and g are not counted: they are a few percent.

    Parameters
    ----------
    shape
        Sizes of the ranker, one layer joint.
    candidates, history
        How many there are of each.
    """
    width, inner = shape.backbone.hidden, shape.backbone.intermediate
    each = width * width + 2 * width * inner + 2 * history * width
    event = width * (shape.text_dim + shape.factor_dim) + 2 * width * width
    return 2.0 * (candidates * each + history * event)


def matrix_rate(runtime: str) -> float:
    """Return operations a second of a large square product in a runtime's precision."""
    ones = torch.randn(SIZE, SIZE)
    if runtime == "int8":
        whole = (ones * 20).to(torch.int8)

        def product() -> torch.Tensor:
            return torch._int_mm(whole, whole)

    else:
        cast = ones.to(getattr(torch, runtime))

        def product() -> torch.Tensor:
            return cast @ cast

    with torch.inference_mode():
        product()
        best = float("inf")
        for _ in range(REPEATS):
            begun = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - begun)
    return float(2.0 * SIZE**3 / best)
