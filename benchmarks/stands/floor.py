"""The least time that reranking can take: its multiplications at the machine's measured rate."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from twofold.ranking.model import ModelShape

SIZE, SIZE_ON_DEVICE, SMALL, REPEATS = 2048, 8192, 128, 5
COPIED = 2 << 30  # bytes


def operations(shape: ModelShape, candidates: int, history: int, tokens: float = 0.0) -> float:
    """Return the floating-point operations of one list whose items are stored.

    Two a multiplication. Where one layer is joint, items are digested: that layer's output
    projection and feed-forward part for each candidate's reader, what it looks at, and soft tokens,
    keys and values of a new history. Where several are, the candidates' soft tokens, all of the
    layers before the last for every token and event, and the digesting. Norms, softmax and g are
    not counted: they are a few percent.

    Parameters
    ----------
    shape
        Sizes of the ranker.
    candidates, history
        How many there are of each.
    tokens
        Mean length of a candidate's block, read where several layers are joint.
    """
    width, inner = shape.backbone.hidden, shape.backbone.intermediate
    soft = width * (shape.text_dim + shape.factor_dim)
    each: float = width * width + 2 * width * inner + 2 * history * width
    event: float = soft + 2 * width * width
    if shape.joint_layers > 1:
        layer = 4 * width * width + 2 * width * inner
        looked = 2 * (history + tokens) * width
        each += soft + width * width + (shape.joint_layers - 1) * tokens * (layer + looked)
        each += 3 * width * width + 2 * shape.backbone.heads * tokens * width
        event += (shape.joint_layers - 1) * (layer + 2 * history * width)
    return 2.0 * (candidates * each + history * event)


def device_rate(device: str, low: torch.dtype) -> float:
    """Return operations a second of a large square product on a device that torch waits for."""
    # A processor may have no such product at all, and take minutes for a large one.
    size = SIZE_ON_DEVICE if device == "cuda" else SMALL
    one = torch.randn(size, size, device=device).to(low)
    # Reading a number is what waits for it.
    return _rate(size, lambda: float((one @ one)[0, 0]))


def device_bandwidth() -> float:
    """Return bytes a second that a CUDA device reads and writes, both counted, in a large copy."""
    one = torch.empty(COPIED // 4, dtype=torch.float32, device="cuda").normal_()
    other = torch.empty_like(one)
    return 2 * COPIED / _least_seconds(lambda: float(other.copy_(one)[0]))


def matrix_rate(runtime: str) -> float:
    """Return operations a second of a large square product in a runtime's precision."""
    ones = torch.randn(SIZE, SIZE)
    if runtime == "int8":
        whole = (ones * 20).to(torch.int8)
        return _rate(SIZE, lambda: torch._int_mm(whole, whole))
    cast = ones.to(getattr(torch, runtime))
    return _rate(SIZE, lambda: cast @ cast)


def _rate(size: int, product: Callable[[], object]) -> float:
    """Return operations a second of a product of square matrices."""
    return 2.0 * size**3 / _least_seconds(product)


def _least_seconds(call: Callable[[], object]) -> float:
    """Return the time of the quickest of a few calls, after one that is not timed."""
    with torch.inference_mode():
        call()
        best = float("inf")
        for _ in range(REPEATS):
            begun = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - begun)
    return best
