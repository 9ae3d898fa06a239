"""The logit of one candidate, slowly: one sequence, one 4-D mask, the layers of transformers.

History tokens then the candidate's block; history sees history, the block sees both. Nothing here
uses the ranker's own forward code, only its weights.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.ranking.worlds import parts_of
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel

HIDDEN = torch.finfo(torch.float32).min


class Bert:
    """A model of the BERT kind: absolute places, read off its first token."""

    reads_last = False

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.layers = list(model.encoder.layer)

    def embed(self, tokens: list[int]) -> Tensor:
        places = torch.arange(len(tokens))[None]
        return _states(self.model.embeddings(input_ids=torch.tensor([tokens]), position_ids=places))

    def run(self, number: int, states: Tensor, bias: Tensor) -> Tensor:
        return _states(self.layers[number](states[None], attention_mask=bias[None, None]))

    def end(self, state: Tensor) -> Tensor:
        return state


class ModernBert(Bert):
    """Rotary places, and layers of which some see only as far as their window."""

    def __init__(self, model: Any) -> None:
        self.model, self.layers = model.eval(), list(model.layers)

    def embed(self, tokens: list[int]) -> Tensor:
        return _states(self.model.embeddings(input_ids=torch.tensor([tokens])))

    def run(self, number: int, states: Tensor, bias: Tensor) -> Tensor:
        places = torch.arange(len(states))
        kind = self.model.config.layer_types[number]
        if kind == "sliding_attention":
            far = (places[:, None] - places[None, :]).abs() > self.model.config.sliding_window
            bias = bias.masked_fill(far, HIDDEN)
        turned = self.model.rotary_emb(states[None], places[None], kind)
        layer = self.layers[number]
        out = layer(states[None], attention_mask=bias[None, None], position_embeddings=turned)
        return _states(out)

    def end(self, state: Tensor) -> Tensor:
        out: Tensor = self.model.final_norm(state)
        return out


class Qwen3(ModernBert):
    """A decoder: tokens see only what stands before, and the last of a block is read."""

    reads_last = True

    def embed(self, tokens: list[int]) -> Tensor:
        out: Tensor = self.model.embed_tokens(torch.tensor(tokens))
        return out

    def run(self, number: int, states: Tensor, bias: Tensor) -> Tensor:
        ahead = torch.ones(bias.shape, dtype=torch.bool).triu(1)
        turned = self.model.rotary_emb(states[None], torch.arange(len(states))[None])
        out = self.layers[number](
            states[None],
            attention_mask=bias.masked_fill(ahead, HIDDEN)[None, None],
            position_embeddings=turned,
        )
        return _states(out)

    def end(self, state: Tensor) -> Tensor:
        out: Tensor = self.model.norm(state)
        return out


def _states(out: Any) -> Tensor:
    states: Tensor = out[0] if isinstance(out, tuple) else out
    return states[0]


class SlowRanker:
    def __init__(self, encoder: Bert, model: RankerModel, tables: ItemTables) -> None:
        self.encoder = encoder
        self.model = model
        self.tables = tables
        self.n_lower = len(encoder.layers) - model.shape.joint_layers

    @torch.no_grad()
    def logit(
        self,
        history: list[int],
        kinds: list[int],
        times: list[int],
        item: int,
        features: npt.NDArray[np.float32],
        *,
        as_text: list[int] | None = None,
    ) -> float:
        model = self.model
        if as_text is None:
            past = self._events(history, kinds, times)
        else:
            past = self._alone(as_text) + model.history_mark
        text = self._alone(self._tokens(item))
        soft = self._norm(self._soft(item) + model.candidate_mark)
        reader = -1 if self.encoder.reads_last else 0
        text[reader] = text[reader] + model.to_reader.weight @ soft
        block = [soft[None], text] if self.encoder.reads_last else [text, soft[None]]
        states = torch.cat([past, *block])
        n_past = len(past)
        bias = torch.zeros(len(states), len(states))
        bias[:n_past, n_past:] = HIDDEN
        states = self._layers(states, bias, range(self.n_lower, len(self.encoder.layers)))
        read = self.encoder.end(states[-1 if self.encoder.reads_last else n_past])
        told = self._evidence(history, kinds, times, item, torch.from_numpy(features))
        return float(model.head.weight[0] @ read + told)

    def _evidence(
        self, history: list[int], kinds: list[int], times: list[int], item: int, features: Tensor
    ) -> Tensor:
        """Return what features and events say, head by head and relation by relation."""
        members = self.model.g.members
        told = [self._member(one, history, kinds, times, item, features) for one in members]
        return torch.stack(told).mean(dim=0)

    def _member(
        self,
        part: Any,
        history: list[int],
        kinds: list[int],
        times: list[int],
        item: int,
        features: Tensor,
    ) -> Tensor:
        n, relations = self.model.shape.max_history, self.tables.relations
        events = list(zip(history, kinds, _gaps(times), strict=True))[-n:]
        heads = part.ages.weight.shape[1]
        told = torch.zeros(heads, relations.width)
        scores = torch.zeros(len(events), heads)
        strengths = torch.zeros(len(events), relations.width)
        for place, (past, kind, gap) in enumerate(events):
            age = len(events) - 1 - place
            scores[place] = part.ages.weight[age] + part.gaps.weight[gap] + part.kinds.weight[kind]
            for number, matrix in enumerate(relations.counted):
                counted = matrix[past, item] / relations.scales[number]
                smooth = parts_of(relations.low_rank)[number]
                smoothed = float(smooth.left[past].astype(float) @ smooth.right[item].astype(float))
                strengths[place, 2 * number : 2 * number + 2] = torch.tensor([counted, smoothed])
            regressed = parts_of(relations.low_rank)[-1]
            sides = regressed.left[past], regressed.right[item]
            strengths[place, -1] = float(sides[0].astype(float) @ sides[1].astype(float))
        for head in range(heads if events else 0):
            shares = scores[:, head].exp() / scores[:, head].exp().sum()
            told[head] = sum(shares[e] * strengths[e] for e in range(len(events)))
        strongest = torch.zeros(relations.width)
        for event in strengths:
            strongest = torch.maximum(strongest, event)
        flat = torch.cat([told.flatten(), strongest])
        flat = flat.sign() * (1 + 10 * flat.abs()).log()
        first, last = part.inner, part.outer
        hidden = F.gelu(first.weight @ torch.cat([features, flat]) + first.bias)
        linear = part.features.weight[0] @ features + part.features.bias[0]
        out: Tensor = linear + part.events.weight[0] @ flat + last.weight[0] @ hidden
        return out

    def _tokens(self, item: int) -> list[int]:
        tokens = self.tables.tokens
        return [int(one) for one in tokens.tokens[tokens.starts[item] : tokens.ends[item]]]

    def _alone(self, tokens: list[int]) -> Tensor:
        """Return lower-layer states of tokens that see only each other, places from 0."""
        none = torch.zeros(len(tokens), len(tokens))
        return self._layers(self.encoder.embed(tokens), none, range(self.n_lower))

    def _layers(self, states: Tensor, bias: Tensor, numbers: range) -> Tensor:
        for number in numbers:
            states = self.encoder.run(number, states, bias)
        return states.clone()

    def _soft(self, item: int) -> Tensor:
        texts = torch.from_numpy(self.tables.texts[item])
        factors = torch.from_numpy(self.tables.factors[item])
        return self.model.text.weight @ texts + self.model.factors.weight @ factors

    def _events(self, history: list[int], kinds: list[int], times: list[int]) -> Tensor:
        model = self.model
        events = list(zip(history, kinds, _gaps(times), strict=True))[-model.shape.max_history :]
        out = [torch.zeros(0, self.model.shape.backbone.hidden)]
        for place, (item, kind, gap) in enumerate(events):
            age = len(events) - 1 - place
            summed = self._soft(item) + model.ages.weight[age] + model.kinds.weight[kind]
            summed = summed + model.gaps.weight[gap]
            out.append((self._norm(summed) + model.history_mark)[None])
        return torch.cat(out)

    def _norm(self, states: Tensor) -> Tensor:
        norm = self.model.soft_norm
        centred = states - states.mean()
        return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def _gaps(times: list[int]) -> list[int]:
    """Return buckets of the time to the latest: how often 1 s must double to span it."""
    return [
        (max(times) - one) // 1000 and math.ceil(math.log2((max(times) - one) // 1000 + 1))
        for one in times
    ]
