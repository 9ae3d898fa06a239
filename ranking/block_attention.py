"""Candidates that look at a history and at themselves, in one kernel of a GPU.

A candidate has some ten tokens. What is made for long texts pads them to rectangles, puts the
history before each of them and reads a mask: tens of times the bytes that are looked at. Here a
program takes one head of one candidate, reads what is packed where it lies, and keeps all scores in
registers: whatever a token sees fits in there, so that the softmax is taken once, and is never
rescaled as where it goes along a long text (FlashAttention, Dao et al. 2022, algorithm 1).
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from twofold.ranking.blocks import Blocks
from twofold.ranking.cross import HistoryMemory, read_candidates
from twofold.ranking.layers import HIDDEN, Layer

LEAST_ROWS = 16  # of a product in matrix units
MOST_SCORES = 8192  # of a head of a candidate, in the registers of a program
FEW_SCORES = 2048


class _Seen(NamedTuple):
    """What tokens of candidates look at.

    Keys and values of their own ``(n_rows, heads, size)``, and of the histories ``(B, heads, H,
    size)``, beside which stand the bias ``(B, 1, 1, H)`` and the places ``(B, H)``.
    """

    keys: Tensor
    values: Tensor
    past_keys: Tensor
    past_values: Tensor
    bias: Tensor
    places: Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _looks(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    past_keys: tl.tensor,
    past_values: tl.tensor,
    past_bias: tl.tensor,
    past_places: tl.tensor,
    starts: tl.tensor,
    lengths: tl.tensor,
    out: tl.tensor,
    n_past: tl.tensor,
    blocks_a_query: tl.tensor,
    query_stride: tl.tensor,
    key_stride: tl.tensor,
    value_stride: tl.tensor,
    scale: tl.tensor,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    ASKING: tl.constexpr,
    OWN: tl.constexpr,
    PAST: tl.constexpr,
    ONE: tl.constexpr,
    CAUSAL: tl.constexpr,
    WINDOW: tl.constexpr,
    HIDDEN: tl.constexpr,
) -> None:
    """Write what one head of one block gathers; whatever is in capitals is known beforehand."""
    block, head = tl.program_id(0), tl.program_id(1)
    start, length = tl.load(starts + block), tl.load(lengths + block)
    history = block // blocks_a_query
    asking, own, past = tl.arange(0, ASKING), tl.arange(0, OWN), tl.arange(0, PAST)
    columns = head * SIZE + tl.arange(0, SIZE)[None, :]
    # Its reader alone asks, which has a row of its own, or all of its tokens.
    first = block if ONE else start
    n_asking = 1 if ONE else length
    places = asking * 0 + (length - 1 if CAUSAL else 0) if ONE else asking
    rows = (first + asking)[:, None].to(tl.int64)
    asks = asking[:, None] < n_asking
    query = tl.load(queries + rows * query_stride + columns, mask=asks, other=0.0)
    lying, there = (start + own)[:, None].to(tl.int64), own[:, None] < length
    key = tl.load(keys + lying * key_stride + columns, mask=there, other=0.0)
    value = tl.load(values + lying * value_stride + columns, mask=there, other=0.0)
    before = ((history * HEADS + head) * n_past + past)[:, None] * SIZE
    before = before + tl.arange(0, SIZE)[None, :]
    was = past[:, None] < n_past
    past_key = tl.load(past_keys + before, mask=was, other=0.0).to(query.dtype)
    past_value = tl.load(past_values + before, mask=was, other=0.0).to(query.dtype)
    at, known = history * n_past + past, past < n_past
    bias = tl.load(past_bias + at, mask=known, other=HIDDEN)[None, :]
    seen = own[None, :] < length
    if CAUSAL:
        seen = seen & (own[None, :] <= places[:, None])
    if WINDOW > 0:
        seen = seen & (tl.abs(own[None, :] - places[:, None]) <= WINDOW)
        stood = tl.load(past_places + at, mask=known, other=0)
        near = tl.abs(places[:, None] - stood[None, :]) <= WINDOW
        bias = tl.where(near, bias, HIDDEN)
    of_past = tl.dot(query, tl.trans(past_key)) * scale + bias
    of_own = tl.where(seen, tl.dot(query, tl.trans(key)) * scale, HIDDEN)
    most = tl.maximum(tl.max(of_past, 1), tl.max(of_own, 1))[:, None]
    of_past, of_own = tl.exp(of_past - most), tl.exp(of_own - most)
    whole = (tl.sum(of_past, 1) + tl.sum(of_own, 1))[:, None]
    told = tl.dot(of_past.to(query.dtype), past_value) + tl.dot(of_own.to(query.dtype), value)
    tl.store(out + rows * (HEADS * SIZE) + columns, told / whole, mask=asks)


def read_in_one(layers: list[Layer], blocks: Blocks, memory: HistoryMemory) -> Tensor:
    """Return what :func:`~twofold.ranking.cross.read_candidates` does, parameters as there.

    Without gradients, and products of attention in half precision. What is too long for a program
    goes the other way.
    """
    own, past = _rows_for(blocks.longest), _rows_for(memory.places.shape[1])
    if own * max(own, past) > MOST_SCORES:
        return read_candidates(layers, blocks, memory)
    states, places = blocks.states, blocks.places()
    readers = blocks.ends() if layers[0].causal else blocks.starts
    for layer, (past_keys, past_values) in zip(layers, memory.keys_values, strict=True):
        last = layer is layers[-1]
        # Both projections read it: it is made narrow once.
        entered = layer.enter(states).half()
        asking = entered[readers] if last else entered
        queries = layer.queries(asking, places[readers] if last else places).half()
        keys, values = (one.half() for one in layer.keys_values(entered, places))
        seen = _Seen(keys, values, past_keys, past_values, memory.bias, memory.places)
        gathered = _gathered(layer, queries, seen, blocks, last=last)
        states = layer.finish(states[readers] if last else states, gathered)
    return states


def _rows_for(n: int) -> int:
    """Return the rows of a program's matrix that hold `n`."""
    return max(LEAST_ROWS, int(triton.next_power_of_2(n)))


def _gathered(layer: Layer, queries: Tensor, seen: _Seen, blocks: Blocks, *, last: bool) -> Tensor:
    """Return what queries gather, ``(n, heads * size)``: a row a block in the last layer."""
    n_queries, heads, n_past, size = seen.past_keys.shape
    own, past = _rows_for(blocks.longest), _rows_for(n_past)
    asking = LEAST_ROWS if last else own
    # Rows between blocks are not written, but must be finite.
    out = queries.new_zeros((len(queries), heads * size))
    _looks[len(blocks.starts), heads](
        queries,
        seen.keys,
        seen.values,
        seen.past_keys.contiguous(),
        seen.past_values.contiguous(),
        seen.bias.contiguous(),
        seen.places.contiguous(),
        blocks.starts,
        blocks.lengths,
        out,
        n_past,
        len(blocks.starts) // n_queries,
        queries.stride(0),
        seen.keys.stride(0),
        seen.values.stride(0),
        size**-0.5,
        HEADS=heads,
        SIZE=size,
        ASKING=asking,
        OWN=own,
        PAST=past,
        ONE=last,
        CAUSAL=layer.causal,
        WINDOW=layer.window,
        HIDDEN=HIDDEN,
        num_warps=2 if asking * max(own, past) <= FEW_SCORES else 4,
    )
    return out


def supports(layers: list[Layer]) -> bool:
    """Return whether the heads of layers have a width that programs can be made for."""
    size = layers[0].size
    return LEAST_ROWS <= size <= 128 and size & (size - 1) == 0
