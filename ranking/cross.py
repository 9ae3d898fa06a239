"""Candidates that look at a history: the joint layers of the split cross-encoder.

History tokens never look at a candidate, so their keys and values are computed once a query and
shared by all of its candidates. Candidate tokens look at the history and at their own block. The
last layer runs for one token alone, the block's reader: the only position that is read, [CLS] in
an encoder and the last token in a decoder (after PreTTR, MacAvaney et al. 2020, and DeFormer, Cao
et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from twofold.ranking.backbone import padding_bias
from twofold.ranking.blocks import Blocks
from twofold.ranking.layers import HIDDEN, Layer


class Digest(NamedTuple):
    """What candidate blocks bring to the last layer by themselves, whoever asks.

    Only a block's reader is read there, so all else that the block holds comes down to what its
    reader gathers from it and with which weight. Where one layer is joint this depends on the item
    alone.

    Parameters
    ----------
    readers
        States of the readers before the layer, ``float32 (n_blocks, d)``.
    queries
        What they look for in a history, scaled, ``float32 (n_blocks, heads * size)``.
    gathered
        What they gather from their own block, ``float32 (n_blocks, heads * size)``.
    mass
        Logarithm of the summed exponentials of their scores there, ``float32 (n_blocks, heads)``.
    """

    readers: Tensor
    queries: Tensor
    gathered: Tensor
    mass: Tensor

    @classmethod
    def parted(cls, vectors: Tensor, masses: Tensor, hidden: int) -> Digest:
        """Return digests of what is stored: the first three beside each other, and the masses."""
        looked = (vectors.shape[1] - hidden) // 2
        readers, queries, gathered = torch.split(vectors, [hidden, looked, looked], dim=1)
        return cls(readers, queries, gathered, masses)


@dataclass(frozen=True)
class HistoryMemory:
    """What candidates see of a batch of histories.

    Parameters
    ----------
    keys_values
        For each joint layer keys and values, ``float32 (B, heads, H, size)``.
    bias
        0 at events, very negative at padding, ``float32 (B, 1, 1, H)``.
    places
        Where the events stand before the candidates, which begin at 0, ``int64 (B, H)``.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    bias: Tensor
    places: Tensor

    def n_bytes(self) -> int:
        """Return how much memory the tensors take."""
        tensors = [self.bias, self.places, *(one for pair in self.keys_values for one in pair)]
        return sum(one.numel() * one.element_size() for one in tensors)

    def row(self, number: int) -> HistoryMemory:
        """Return one history's, its padding left out, in memory of its own."""
        there = (self.bias[number, 0, 0] == 0).nonzero().squeeze(1)
        return HistoryMemory(
            tuple(
                (keys[number : number + 1, :, there], values[number : number + 1, :, there])
                for keys, values in self.keys_values
            ),
            self.bias[number : number + 1, :, :, there],
            self.places[number : number + 1, there],
        )

    @classmethod
    def joined(cls, rows: Sequence[HistoryMemory]) -> HistoryMemory:
        """Return several histories', padded to the longest."""
        if len(rows) == 1:
            return rows[0]
        longest = max(one.places.shape[1] for one in rows)
        gaps = [longest - one.places.shape[1] for one in rows]

        def together(parts: Sequence[Tensor], shared: int, value: float = 0.0) -> Tensor:
            """Return tensors side by side, their events `shared` dimensions from the last."""
            before = (0, 0) * shared
            each = zip(parts, gaps, strict=True)
            return torch.cat([F.pad(one, (*before, 0, gap), value=value) for one, gap in each])

        keys_values = tuple(
            (together([keys for keys, _ in each], 1), together([values for _, values in each], 1))
            for each in zip(*(one.keys_values for one in rows), strict=True)
        )
        bias = together([one.bias for one in rows], 0, HIDDEN)
        return cls(keys_values, bias, together([one.places for one in rows], 0))


def read_history(
    layers: list[Layer], states: Tensor, mask: Tensor, places: Tensor
) -> HistoryMemory:
    """Return the keys and values of histories in every joint layer.

    Parameters
    ----------
    layers
        The joint layers.
    states
        History states at the first joint layer, ``float32 (B, H, d)``.
    mask
        True at real events or tokens, ``bool (B, H)``.
    places
        Where they stand before the candidates, below 0, ``int64 (B, H)``.
    """
    bias = padding_bias(mask)
    memory = []
    for layer in layers[:-1]:
        states, keys, values = layer.attend_self(states, bias, places)
        memory.append((keys, values))
    last = layers[-1]
    keys, values = last.keys_values(last.enter(states), places)
    memory.append((keys.transpose(1, 2), values.transpose(1, 2)))
    return HistoryMemory(tuple(memory), bias, places)


def read_candidates(layers: list[Layer], blocks: Blocks, memory: HistoryMemory) -> Tensor:
    """Return the readers' states after the joint layers, ``float32 (n_blocks, d)``.

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
        blocks = _read_whole(layers[:-1], blocks.whole(), memory)
    return read_digests(layers[-1], digest(layers[-1], blocks), memory)


def _read_whole(layers: list[Layer], blocks: Blocks, memory: HistoryMemory) -> Blocks:
    """Return the blocks after layers in which all of their tokens look at the history."""
    layout = _Layout.of(blocks, layers[0].causal)
    bias = _joint_bias(memory.bias, layout.mask)
    states, packed = blocks.states, blocks.owners * blocks.longest + layout.places
    for layer, history in zip(layers, memory.keys_values[:-1], strict=True):
        entered = layer.enter(states)
        queries = layer.queries(entered, layout.places)[layout.rows]
        own = tuple(one[layout.rows] for one in layer.keys_values(entered, layout.places))
        hidden = _hidden(layer, bias, layout, memory.places)
        gathered = _look(queries, own, history, hidden)
        states = layer.finish(states, gathered.flatten(0, 1)[packed])
    return replace(blocks, states=states)


class _Layout(NamedTuple):
    """Where the tokens of blocks stand.

    Rows of a padded rectangle and which of them are tokens ``(n_blocks, T)``, each row's place in
    its block ``(n_rows,)``, and the token that a block is read off ``(n_blocks,)``.
    """

    rows: Tensor
    mask: Tensor
    places: Tensor
    readers: Tensor

    @classmethod
    def of(cls, blocks: Blocks, causal: bool) -> _Layout:
        first = blocks.starts[:, None]
        within = torch.arange(blocks.longest, device=first.device)
        mask = within[None, :] < blocks.lengths[:, None]
        # Padding points at the block's own first token: any valid row will do, the mask hides it.
        rows = torch.where(mask, first + within, first)
        readers = blocks.ends() if causal else blocks.starts
        return cls(rows, mask, blocks.places(), readers)


def _joint_bias(history: Tensor, mask: Tensor) -> Tensor:
    """Return the bias over history and own tokens, ``(n_blocks, 1, 1, H + T)``."""
    repeats = mask.shape[0] // history.shape[0]
    return torch.cat([history.repeat_interleave(repeats, 0), padding_bias(mask)], dim=-1)


def _hidden(layer: Layer, bias: Tensor, layout: _Layout, past: Tensor) -> Tensor:
    """Return the bias with what else a layer hides from tokens, ``(n_blocks, 1, T, H + T)``."""
    if not layer.causal and not layer.window:
        return bias
    n_blocks, length = layout.mask.shape
    places = torch.arange(length, device=past.device)[None]
    bias = bias + F.pad(layer.hidden_from(length, places), (past.shape[1], 0))
    if layer.window:
        seen = layer.out_of_sight(places.expand(len(past), -1), past)
        bias = bias + F.pad(seen.repeat_interleave(n_blocks // len(past), 0), (0, length))
    return bias


def _look(
    queries: Tensor, own: tuple[Tensor, ...], history: tuple[Tensor, Tensor], bias: Tensor
) -> Tensor:
    """Return what each query position gathers from history and own block, ``(n_blocks, T, d)``.

    A history lies there once for all tokens of its candidates: in front of every block it would be
    many times what the blocks themselves take. Only scores stand side by side, for one softmax.
    """
    narrow = own[1].dtype
    past_keys, past_values = (one.to(narrow) for one in history)
    n_queries, heads, n_past, size = past_keys.shape
    n_blocks, length = queries.shape[:2]

    def by_query(part: Tensor) -> Tensor:
        """Return ``(B, heads, blocks a query, T, size)``."""
        return part.to(narrow).view(n_queries, -1, length, heads, size).permute(0, 3, 1, 2, 4)

    asking, keys, values = by_query(queries * size**-0.5).contiguous(), *map(by_query, own)
    past = (asking.flatten(2, 3) @ past_keys.transpose(2, 3)).view(*asking.shape[:4], n_past)
    hidden = bias.view(n_queries, -1, *bias.shape[1:]).transpose(1, 2)
    scores = torch.cat([past, asking @ keys.transpose(3, 4)], dim=-1) + hidden
    of_past, of_own = scores.softmax(dim=-1).to(narrow).tensor_split([n_past], dim=-1)
    told: Tensor = (of_past.flatten(2, 3) @ past_values).view(asking.shape) + of_own @ values
    return told.permute(0, 2, 3, 1, 4).reshape(n_blocks, length, -1)


def digest(layer: Layer, blocks: Blocks) -> Digest:
    """Return what blocks bring to the last layer by themselves.

    Parameters
    ----------
    layer
        The last layer.
    blocks
        Candidate blocks with the states before it.
    """
    if not layer.plain or layer.pre_norm:
        blocks = blocks.whole()
    layout, learned = _Layout.of(blocks, layer.causal), blocks.learned
    readers = blocks.states[layout.readers] if learned is None else learned.states[:, 0]
    entered, read = layer.enter(blocks.states), layout.places[layout.readers]
    queries = layer.queries(layer.enter(readers), read).float() * layer.size**-0.5
    bias = padding_bias(layout.mask)[:, :, 0]
    if layer.window:
        places = torch.arange(layout.mask.shape[1], device=read.device)[None]
        bias = bias + layer.out_of_sight(read[:, None], places)[:, :, 0]
    if layer.plain:
        seen = _seen(layer, entered, layout, bias, blocks)
        found, mass = _own_collapsed(layer, queries, seen)
    else:
        found, mass = _own(layer, queries, entered, layout, bias)
    return Digest(readers, queries.flatten(1), found.flatten(1), mass)


def _own(
    layer: Layer, queries: Tensor, entered: Tensor, layout: _Layout, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what readers gather from their blocks ``(n, heads, size)`` and its mass."""
    keys, values = (one[layout.rows].float() for one in layer.keys_values(entered, layout.places))
    scores = torch.einsum("nhe,nthe->nht", queries, keys) + bias
    mass = scores.logsumexp(dim=-1)
    return torch.einsum("nht,nthe->nhe", (scores - mass[..., None]).exp(), values), mass


class _Seen(NamedTuple):
    """Some tokens of each block.

    The weights of the products that give their keys and values, each with the states that it reads
    ``(n_blocks, T, d)``, and the bias of their scores ``(n_blocks, 1, T)``.
    """

    products: list[tuple[Tensor, Tensor]]
    bias: Tensor


def _seen(
    layer: Layer, entered: Tensor, layout: _Layout, bias: Tensor, blocks: Blocks
) -> list[_Seen]:
    """Return the tokens of blocks, apart from the others those that gradients reach.

    So no gradient is computed for states that are stored, by far the most.
    """
    told = [(weight, one[layout.rows]) for weight, one in layer.key_value_products(entered)]
    if blocks.learned is None:
        return [_Seen(told, bias)]
    places = (blocks.learned.rows - blocks.starts[:, None])[:, None]
    learned = layer.key_value_products(blocks.learned.states)
    return [
        _Seen(told, bias.scatter(2, places, HIDDEN)),
        _Seen(learned, bias.gather(2, places)),
    ]


def _own_collapsed(layer: Layer, queries: Tensor, seen: Sequence[_Seen]) -> tuple[Tensor, Tensor]:
    """Return what :func:`_own` does, for plain layers.

    One query a block makes the keys and values of its tokens too dear: ``q . (W s + b)`` is ``(W'
    q) . s + q . b``, and a sum of values is the value of a sum. So both projections are applied
    once a block instead of once a token, with the same result.
    """
    key_bias, value_bias = layer.key_value.bias.view(2, layer.heads, layer.size)
    weights = [one.view(2, layer.heads, layer.size, -1) for one, _ in seen[0].products]
    asked = [torch.einsum("nhe,hed->nhd", queries, to_keys) for to_keys, _ in weights]
    scores, alike = [], (queries * key_bias).sum(-1, keepdim=True)
    for part in seen:
        found = alike + part.bias
        for query, (_, own) in zip(asked, part.products, strict=True):
            found = found + query @ own.transpose(1, 2)
        scores.append(found)
    mass = torch.cat(scores, dim=-1).logsumexp(dim=-1)
    shares = [(one - mass[..., None]).exp() for one in scores]
    gathered = value_bias
    for number, (_, to_values) in enumerate(weights):
        states = [part.products[number][1] for part in seen]
        read = sum(share @ one for share, one in zip(shares, states, strict=True))
        gathered = gathered + torch.einsum("nhd,hed->nhe", read, to_values)
    return gathered, mass


def read_digests(layer: Layer, blocks: Digest, memory: HistoryMemory) -> Tensor:
    """Return the readers' states after the last layer, ``float32 (n_blocks, d)``.

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
    keys, values = (one.float() for one in memory.keys_values[-1])
    n_queries, heads, length, size = keys.shape
    by_head = (n_queries, -1, heads, size)
    bias = memory.bias
    if layer.window:
        # Layers with windows are not causal: their readers stand at 0.
        reader = memory.places.new_zeros((n_queries, 1))
        bias = bias + layer.out_of_sight(reader, memory.places)
    past = blocks.queries.view(by_head).transpose(1, 2) @ keys.transpose(2, 3) + bias
    own = blocks.mass.view(n_queries, -1, heads, 1).transpose(1, 2)
    shares = torch.cat([past, own], dim=-1).softmax(dim=-1)
    told = shares[..., :length] @ values
    told = told + shares[..., length:] * blocks.gathered.view(by_head).transpose(1, 2)
    return layer.finish(blocks.readers, told.transpose(1, 2).reshape(len(blocks.readers), -1))
