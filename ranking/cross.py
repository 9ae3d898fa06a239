"""Candidates that look at a history: the joint layers of the split cross-encoder.

History tokens never look at a candidate, so their keys and values are computed once a query and
shared by all of its candidates. Candidate tokens look at the history and at their own block. The
last layer runs for [CLS] alone, the only position that is read (after PreTTR, MacAvaney et al.
2020, and DeFormer, Cao et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

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
    n_blocks, longest = len(blocks.lengths), int(blocks.lengths.max())
    ends = torch.cumsum(blocks.lengths, 0)
    first = ends - blocks.lengths
    places = torch.arange(longest, device=blocks.states.device)
    mask = places[None, :] < blocks.lengths[:, None]
    # Padding points at the block's own [CLS]: any valid row will do, the mask hides it.
    padded = torch.where(mask, first[:, None] + places, first[:, None])
    packed = mask.flatten().nonzero().squeeze(1)
    bias = _joint_bias(memory.bias, mask)
    states = blocks.states
    for layer, history in zip(layers[:-1], memory.keys_values[:-1], strict=True):
        queries = layer.query(states)[padded]
        gathered = _look(layer, queries, layer.key_value(states)[padded], history, bias)
        states = layer.finish(states, gathered.reshape(n_blocks * longest, -1)[packed])
    last = layers[-1]
    cls = states[first]
    gathered = _look_from_cls(last, cls, states[padded], memory.keys_values[-1], bias)
    return last.finish(cls, gathered)


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


def _look_from_cls(
    layer: Layer, cls: Tensor, own: Tensor, history: tuple[Tensor, Tensor], bias: Tensor
) -> Tensor:
    """Return what [CLS] alone gathers from history and own block, ``(n_blocks, d)``.

    One query a block makes the keys and values of its own tokens too dear: ``q . (W s + b)`` is
    ``(W' q) . s + q . b``, and a sum of values is the value of a sum. So both projections are
    applied once a block instead of once a token, with the same result.
    """
    n_blocks, width = cls.shape
    heads, size = layer.heads, width // layer.heads
    to_keys, to_values = layer.key_value.weight.view(2, heads, size, width)
    key_bias, value_bias = layer.key_value.bias.view(2, heads, size)
    keys, values = history
    n_queries, length = keys.shape[0], keys.shape[2]
    queries = layer.query(cls).view(n_blocks, heads, size) * size**-0.5
    past = queries.view(n_queries, -1, heads, size).transpose(1, 2) @ keys.transpose(2, 3)
    past = past.transpose(1, 2).flatten(0, 1)
    asked = torch.einsum("nhe,hed->nhd", queries, to_keys)
    here = asked @ own.transpose(1, 2) + (queries * key_bias).sum(-1, keepdim=True)
    shares = (torch.cat([past, here], dim=-1) + bias[:, :, 0]).softmax(dim=-1)
    past, here = shares[..., :length], shares[..., length:]
    told = past.reshape(n_queries, -1, heads, length).transpose(1, 2) @ values
    told = told.transpose(1, 2).flatten(0, 1)
    found = torch.einsum("nhd,hed->nhe", here @ own, to_values)
    found = found + here.sum(-1, keepdim=True) * value_bias
    out: Tensor = (told + found).flatten(1)
    return out
