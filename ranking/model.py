"""The split cross-encoder classifier: soft tokens, joint layers and the head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from twofold.ranking.backbone import Backbone
from twofold.ranking.blocks import Blocks, Learned, owners
from twofold.ranking.cross import (
    Digest,
    HistoryMemory,
    digest,
    read_candidates,
    read_digests,
    read_history,
)
from twofold.ranking.devices import moved
from twofold.ranking.head import GAPS, Events, Evidence, EvidenceHeads, TextQueries
from twofold.ranking.layers import BackboneShape, Layer
from twofold.ranking.noise import Noise
from twofold.ranking.precision import in_single

# Reads candidates in the joint layers as `read_candidates` does.
Reader = Callable[[list[Layer], Blocks, HistoryMemory], Tensor]


@dataclass(frozen=True)
class ModelShape:
    """Everything that decides the sizes of a ranker's weights.

    Parameters
    ----------
    backbone
        Sizes of the encoder.
    joint_layers
        Upper layers that read history and candidate together.
    n_features
        Stage-one features a candidate.
    text_dim, factor_dim
        Dimensions of the items' text vectors and collaborative factors.
    n_relations
        Strengths of relation between two items.
    n_kinds
        Kinds of history events.
    max_history
        Longest history.
    prefix
        Learned tokens before each history.
    """

    backbone: BackboneShape
    joint_layers: int
    n_features: int
    text_dim: int
    factor_dim: int
    n_relations: int
    n_kinds: int
    max_history: int
    prefix: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the shape as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelShape:
        """Return the shape that :meth:`to_dict` wrote."""
        return cls(**{**values, "backbone": BackboneShape(**values["backbone"])})


@dataclass(frozen=True)
class SoftItems:
    """What a soft token is made of, for any shape ``(...)`` of items.

    Parameters
    ----------
    texts
        Text vectors, ``float32 (..., text_dim)``.
    factors
        Collaborative factors in the ranker's basis, ``float32 (..., factor_dim)``.
    """

    texts: Tensor
    factors: Tensor


@dataclass(frozen=True)
class History:
    """A batch of histories as the model reads them.

    Parameters
    ----------
    items
        Soft items of the events, oldest first, padded, ``(B, H)``, or what :meth:`RankerModel.soft`
        makes of them, ``float32 (B, H, d)``.
    events
        Their times and kinds, ``(B, H)``.
    tokens
        Tokens of histories given as text, ``int64 (B, T)``, or ``None`` where none is.
    token_mask
        True at real tokens, ``bool (B, T)``.
    """

    items: SoftItems | Tensor
    events: Events
    tokens: Tensor | None = None
    token_mask: Tensor | None = None


class RankerModel(nn.Module):
    """logit = w . reader + g(stage-one features, events of the history).

    History items enter as one soft token each: the projected text vector and collaborative factor
    of the item, plus embeddings of its age, of its time to the latest event and of the kind of
    event (collaborative soft tokens, CoLLM, Zhang et al. 2023). A candidate's block is read off one
    token: [CLS], its first, in an encoder and its last in a decoder, where only that has seen the
    others. At the other end it carries a soft token too, a projection of which is added to the
    reader: so what that looks for in the history depends on the candidate's factors even where only
    one layer is joint. Before each history there may stand learned tokens, the same for all
    (prompt tuning's, Lester et al. 2021, in the layers where prefix tuning, Li and Liang 2021, has
    its keys and values): through them few weights say what candidates look for.

    Parameters
    ----------
    shape
        Sizes of all weights.
    dropout
        Dropout while training.
    """

    def __init__(self, shape: ModelShape, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        self.reader: Reader = read_candidates
        width = shape.backbone.hidden
        self.backbone = Backbone(shape.backbone, shape.joint_layers, dropout)
        self.text = nn.Linear(shape.text_dim, width, bias=False)
        self.factors = nn.Linear(shape.factor_dim, width, bias=False)
        self.ages = nn.Embedding(shape.max_history, width)
        self.gaps = nn.Embedding(GAPS, width)
        self.kinds = nn.Embedding(shape.n_kinds, width)
        self.soft_norm = nn.LayerNorm(width)
        self.history_mark = nn.Parameter(torch.zeros(width))
        self.candidate_mark = nn.Parameter(torch.zeros(width))
        self.to_reader = nn.Linear(width, width, bias=False)
        self.g = EvidenceHeads(
            shape.n_features, shape.n_relations, shape.n_kinds, shape.max_history, dropout
        )
        self.head_dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1, bias=False)
        for embedding in (self.ages, self.gaps, self.kinds):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.normal_(self.to_reader.weight, std=0.02)
        # The text model speaks only once it has learned to: training starts from g alone.
        nn.init.zeros_(self.head.weight)
        if shape.prefix:
            # As long as a norm leaves the events among which they stand.
            self.prefix = nn.Parameter(torch.randn(shape.prefix, width))

    @property
    def device(self) -> torch.device:
        """Where the weights are, and what the model reads has to be."""
        return self.history_mark.device

    def soft(self, items: SoftItems) -> Tensor:
        """Return the soft tokens of items before marks and norm, ``(..., d)``."""
        out: Tensor = self.text(items.texts) + self.factors(items.factors)
        return out

    def remember(self, history: History, noise: Noise | None = None) -> HistoryMemory:
        """Return the keys and values that candidates of these histories will see.

        Parameters
        ----------
        history
            The histories.
        noise
            Added to their states in training against small changes.
        """
        when = self.ages(history.events.ages) + self.gaps(history.events.gaps)
        items = history.items
        soft = items if isinstance(items, Tensor) else self.soft(items)
        events = soft + when + self.kinds(history.events.kinds)
        states = self.soft_norm(events) + self.history_mark
        mask, places = history.events.mask, -1 - history.events.ages
        if history.tokens is not None and history.token_mask is not None:
            # Few histories of a training batch are texts: only those pay for the lower layers.
            spoken = history.token_mask.any(dim=1).nonzero().squeeze(1)
            read = self.backbone.read_alone(history.tokens[spoken], history.token_mask[spoken])
            told = read.new_zeros((*history.tokens.shape, read.shape[-1]))
            told = told.index_copy(0, spoken, read)
            states = torch.cat([states, told + self.history_mark], dim=1)
            mask = torch.cat([mask, history.token_mask], dim=1)
            counts = history.token_mask.sum(1, keepdim=True)
            within = torch.arange(history.tokens.shape[1], device=counts.device)
            places = torch.cat([places, within - counts], dim=1)
        if noise is not None:
            states = noise.onto("histories", states)
        if self.shape.prefix:
            states, mask, places = self._behind_prefix(states, mask, places)
        return read_history(self.backbone.joint, states, mask, places)

    def _behind_prefix(
        self, states: Tensor, mask: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return histories as :func:`read_history` takes them, the learned tokens before each."""
        n, count = len(states), self.shape.prefix
        # Right before the first event of each: layers with a window see them from short histories.
        first = places.masked_fill(~mask, 0)
        first = torch.cat([first, first.new_zeros((n, 1))], dim=1).amin(dim=1, keepdim=True)
        before = first - torch.arange(count, 0, -1, device=places.device)
        states = torch.cat([self.prefix.expand(n, -1, -1), states], dim=1)
        mask = torch.cat([mask.new_ones((n, count)), mask], dim=1)
        return states, mask, torch.cat([before, places], dim=1)

    def blocks(self, states: Tensor, lengths: Tensor, items: SoftItems) -> Blocks:
        """Return candidate blocks: the items' token states with a soft token behind or before each.

        Parameters
        ----------
        states
            Lower-layer token states, packed, ``float32 (n_tokens, d)``.
        lengths
            Tokens an item, in main memory, ``int64 (n_blocks,)``.
        items
            Soft items of the candidates, ``(n_blocks,)``.
        """
        longest = int(lengths.max()) + 1
        lengths = moved(lengths, states.device)
        # Each block before has one soft token; its own may stand before it, too.
        shift = owners(lengths, len(states)) + int(self.shape.backbone.traits.causal)
        tokens = torch.arange(len(states), device=states.device) + shift
        out = states.new_empty((len(states) + len(lengths), states.shape[1]))
        out.index_copy_(0, tokens, states)
        return self.joined(Blocks.packed(out, lengths + 1, longest), items)

    def joined(self, blocks: Blocks, items: SoftItems) -> Blocks:
        """Return blocks with a soft token in the place that is left for it.

        Parameters
        ----------
        blocks
            Token states with the last place of each block left, in a causal model the first. What
            they hold is written to.
        items
            As of :meth:`blocks`.
        """
        soft = self.soft_norm(self.soft(items) + self.candidate_mark)
        states, readers, softs = blocks.states, blocks.starts, blocks.ends()
        if self.shape.backbone.traits.causal:
            readers, softs = softs, readers
        # In mixed precision a product is narrower than what it is added to.
        reading = states[readers] + self.to_reader(soft).to(states.dtype)
        learned = None
        if torch.is_grad_enabled() and not states.requires_grad:
            rows = torch.stack([readers, softs], dim=1)
            learned = Learned(rows, torch.stack([reading, soft], dim=1))
            reading, soft = reading.detach(), soft.detach()
        states.index_copy_(0, readers, reading)
        states.index_copy_(0, softs, soft)
        return replace(blocks, learned=learned)

    def digest(self, blocks: Blocks) -> Digest:
        """Return what candidate blocks come down to where one layer is joint."""
        (layer,) = self.backbone.joint
        return digest(layer, blocks)

    def logits(
        self,
        candidates: Blocks | Digest,
        memory: HistoryMemory,
        features: Tensor,
        evidence: Evidence,
        texts: TextQueries,
    ) -> Tensor:
        """Return a logit a candidate, ``float32 (B, m)``.

        Parameters
        ----------
        candidates
            ``B * m`` candidate blocks, or their digests where one layer is joint.
        memory
            Histories of the ``B`` queries.
        features
            Stage-one features, ``float32 (B, m, n_features)``.
        evidence
            What the histories' events say for the candidates.
        texts
            Which of the queries are texts.
        """
        layers = self.backbone.joint
        if isinstance(candidates, Digest):
            read = read_digests(layers[-1], candidates, memory)
        else:
            read = self.reader(layers, candidates, memory)
        read = self.head_dropout(self.backbone.final(read))
        spoken = self.head(read).view(features.shape[:2])
        # g costs next to nothing, and is the most of what orders a list.
        with in_single(features.device):
            told = self.g(features, evidence, texts)
        out: Tensor = spoken + told
        return out
