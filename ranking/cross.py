"""Candidates that look at a history: the joint layers of the split cross-encoder.

History tokens never look at a candidate, so their keys and values are computed once a query and
shared by all of its candidates. Candidate tokens look at the history and at their own block. The
last layer runs for [CLS] alone, the only position that is read (after PreTTR, MacAvaney et al.
2020, and DeFormer, Cao et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from twofold.ranking.backbone import Layer, padding_bias


@dataclass(frozen=True)
class Blocks:
    """Token states of candidates, packed without padding.

    Parameters
    ----------
    states
        States of all tokens of all blocks, block after block, ``float32 (n_tokens, d)``.
    lengths
        Tokens a block, at least 1; the first is [CLS], ``int64 (n_blocks,)``.
    """

    states: Tensor
    lengths: Tensor


class Digest(NamedTuple):
    """What candidate blocks bring to the last layer by themselves, whoever asks.

    Only [CLS] is read there, so all else that a block holds comes down to what its [CLS] gathers
    from it and with which weight. Where one layer is joint this depends on the item alone.

    Parameters
    ----------
    cls
        States of [CLS] before the layer, ``float32 (n_blocks, d)``.
    queries
        What they look for in a history, scaled, ``float32 (n_blocks, d)``.
    gathered
        What they gather from their own block, ``float32 (n_blocks, d)``.
    mass
        Logarithm of the summed exponentials of their scores there, ``float32 (n_blocks, heads)``.
    """

    cls: Tensor
    queries: Tensor
    gathered: Tensor
    mass: Tensor


@dataclass(frozen=True)
class HistoryMemory:
    """What candidates see of a batch of histories.

    Parameters
    ----------
    keys_values
        For each joint layer keys and values, ``float32 (B, heads, H, d / heads)``.
    bias
        0 at events, very negative at padding, ``float32 (B, 1, 1, H)``.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    bias: Tensor


def read_history(layers: list[Layer], states: Tensor, mask: Tensor) -> HistoryMemory:
    """Return the keys and values of histories in every joint layer.

    Parameters
    ----------
    layers
        The joint layers.
    states
        History states at the first joint layer, ``float32 (B, H, d)``.
    mask
        True at real events or tokens, ``bool (B, H)``.
    """
    bias = padding_bias(mask)
    memory = []
    for layer in layers[:-1]:
        states, keys, values = layer.attend_self(states, bias)
        memory.append((keys, values))
    memory.append(layers[-1].split_heads(layers[-1].key_value(states)))
    return HistoryMemory(tuple(memory), bias)


def read_candidates(layers: list[Layer], blocks: Blocks, memory: HistoryMemory) -> Tensor:
    """Return the [CLS] states of candidates after the joint layers, ``float32 (n_blocks, d)``.

    Parameters
    ----------
    layers
        The joint layers.
    blocks
        Candidate blocks, the same number for each query, query after query.
    memory
        Histories of the ``B`` queries; block ``i`` belongs to query ``i // (n_blocks / B)``.
    """
    if len(layers) > 1:
        blocks = _read_whole(layers[:-1], blocks, memory)
    return read_digests(layers[-1], digest(layers[-1], blocks), memory)


def _read_whole(layers: list[Layer], blocks: Blocks, memory: HistoryMemory) -> Blocks:
    """Return the blocks after layers in which all of their tokens look at the history."""
    layout = _Layout.of(blocks)
    packed = layout.mask.flatten().nonzero().squeeze(1)
    bias = _joint_bias(memory.bias, layout.mask)
    states = blocks.states
    for layer, history in zip(layers, memory.keys_values[:-1], strict=True):
        queries = layer.query(states)[layout.rows]
        own = layer.key_value(states)[layout.rows]
        gathered = _look(layer, queries, own, history, bias)
        states = layer.finish(states, gathered.flatten(0, 1)[packed])
    return Blocks(states, blocks.lengths)


class _Layout(NamedTuple):
    """Where packed blocks stand: rows of a padded rectangle, which of them are tokens, [CLS]."""

    rows: Tensor
    mask: Tensor
    first: Tensor

    @classmethod
    def of(cls, blocks: Blocks) -> _Layout:
        first = torch.cumsum(blocks.lengths, 0) - blocks.lengths
        places = torch.arange(int(blocks.lengths.max()), device=blocks.states.device)
        mask = places[None, :] < blocks.lengths[:, None]
        # Padding points at the block's own [CLS]: any valid row will do, the mask hides it.
        return cls(torch.where(mask, first[:, None] + places, first[:, None]), mask, first)


def _joint_bias(history: Tensor, mask: Tensor) -> Tensor:
    """Return the bias over history and own tokens, ``(n_blocks, 1, 1, H + T)``."""
    repeats = mask.shape[0] // history.shape[0]
    return torch.cat([history.repeat_interleave(repeats, 0), padding_bias(mask)], dim=-1)


def _look(
    layer: Layer, queries: Tensor, own: Tensor, history: tuple[Tensor, Tensor], bias: Tensor
) -> Tensor:
    """Return what each query position gathers from history and own block, ``(R, T, d)``."""
    n_blocks, length, width = queries.shape
    keys, values = layer.split_heads(own)
    past_keys, past_values = (
        past[:, None].expand(-1, n_blocks // past.shape[0], -1, -1, -1).flatten(0, 1)
        for past in history
    )
    heads = queries.view(n_blocks, length, layer.heads, width // layer.heads).transpose(1, 2)
    gathered = F.scaled_dot_product_attention(
        heads,
        torch.cat([past_keys, keys], dim=2),
        torch.cat([past_values, values], dim=2),
        attn_mask=bias,
    )
    return gathered.transpose(1, 2).reshape(n_blocks, length, width)


def digest(layer: Layer, blocks: Blocks) -> Digest:
    """Return what blocks bring to the last layer by themselves.

    One query a block makes the keys and values of its tokens too dear: ``q . (W s + b)`` is ``(W'
    q) . s + q . b``, and a sum of values is the value of a sum. So both projections are applied
    once a block instead of once a token, with the same result.

    Parameters
    ----------
    layer
        The last layer.
    blocks
        Candidate blocks with the states before it.
    """
    layout = _Layout.of(blocks)
    cls, own = blocks.states[layout.first], blocks.states[layout.rows]
    n_blocks, width = cls.shape
    heads, size = layer.heads, width // layer.heads
    to_keys, to_values = layer.key_value.weight.view(2, heads, size, width)
    key_bias, value_bias = layer.key_value.bias.view(2, heads, size)
    queries = layer.query(cls).view(n_blocks, heads, size) * size**-0.5
    asked = torch.einsum("nhe,hed->nhd", queries, to_keys)
    scores = asked @ own.transpose(1, 2) + (queries * key_bias).sum(-1, keepdim=True)
    scores = scores + padding_bias(layout.mask)[:, :, 0]
    mass = scores.logsumexp(dim=-1)
    shares = (scores - mass[..., None]).exp()
    found = torch.einsum("nhd,hed->nhe", shares @ own, to_values) + value_bias
    return Digest(cls, queries.flatten(1), found.flatten(1), mass)


def read_digests(layer: Layer, blocks: Digest, memory: HistoryMemory) -> Tensor:
    """Return the [CLS] states of candidates after the last layer, ``float32 (n_blocks, d)``.

    Softmax over history and own block together: the block stands there as one more event, of the
    weight that all of its tokens have.

    Parameters
    ----------
    layer
        The last layer.
    blocks
        Digests of the candidates, the same number for each query, query after query.
    memory
        Histories of the queries.
    """
    keys, values = memory.keys_values[-1]
    n_queries, heads, length, size = keys.shape
    by_head = (n_queries, -1, heads, size)
    past = blocks.queries.view(by_head).transpose(1, 2) @ keys.transpose(2, 3) + memory.bias
    own = blocks.mass.view(n_queries, -1, heads, 1).transpose(1, 2)
    shares = torch.cat([past, own], dim=-1).softmax(dim=-1)
    told = shares[..., :length] @ values
    told = told + shares[..., length:] * blocks.gathered.view(by_head).transpose(1, 2)
    return layer.finish(blocks.cls, told.transpose(1, 2).reshape(blocks.cls.shape))
