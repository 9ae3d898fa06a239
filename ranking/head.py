"""g: what stage one's features and the history's events say for a candidate, without its text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAPS = 32
# Each head begins as one way to forget: after so many seconds, or with each later event.
FORGETS_AFTER = (60.0, 600.0, 604_800.0)
FADES_BY = 0.9
HIDDEN = 32
# Relations have a long tail; ten root mean squares of a relation are a strong one.
STEEPNESS = 10.0
# Cosines of texts lie within some tenths of each other.
LIKENESS_SCALE = 10.0
MEMBERS = 3


@dataclass(frozen=True)
class Events:
    """When and how the events of a batch of histories came about.

    Parameters
    ----------
    ages
        How many of the query's events are later, ``int64 (B, H)``.
    gaps
        Buckets of the time to the query's latest event, below ``GAPS``, ``int64 (B, H)``.
    kinds
        Kinds of the events, ``int64 (B, H)``.
    mask
        True at events, ``bool (B, H)``.
    """

    ages: Tensor
    gaps: Tensor
    kinds: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Evidence:
    """The events of a batch of histories beside what each says for each candidate.

    Parameters
    ----------
    events
        Of ``B`` queries, ``(B, H)``.
    strengths
        How strongly the events' items are related to the candidates, ``float32 (B, H, m, width)``,
        H at least 1.
    strongest
        The strongest of each candidate's, at least 0, ``float32 (B, m, width)``.
    """

    events: Events
    strengths: Tensor
    strongest: Tensor

    @classmethod
    def of(cls, events: Events, strengths: Tensor) -> Evidence:
        """Return events beside their strengths, parameters as of the class."""
        # Padding is 0, so the strongest is at least that, whether a history is padded or not.
        return cls(events, strengths, strengths.amax(dim=1).clamp(min=0.0))

    def half(self) -> Evidence:
        """Return the same in half precision, to be kept."""
        return replace(self, strengths=self.strengths.half(), strongest=self.strongest.half())

    def single(self) -> Evidence:
        """Return the same in single precision, to be read."""
        return replace(self, strengths=self.strengths.float(), strongest=self.strongest.float())

    def averaged(self, shares: Tensor) -> Tensor:
        """Return strengths averaged over the events, ``float32 (B, m, k, width)``.

        Parameters
        ----------
        shares
            Of each event, in ``k`` ways, ``float32 (B, H, k)``.
        """
        return torch.einsum("bhk,bhmr->bmkr", shares, self.strengths)


@dataclass(frozen=True)
class TextQueries:
    """Which queries of a batch are a text, and how like that text the candidates are.

    Parameters
    ----------
    which
        True where the query is a text, without stage-one features and events, ``bool (B,)``.
    likeness
        Cosine of the query's and the candidate's text vectors, ``float32 (B, m)``; read where
        `which` is true.
    spoken
        Whether any is a text: so that nobody has to wait for a device to tell.
    """

    which: Tensor
    likeness: Tensor
    spoken: bool = True

    @classmethod
    def none(cls, n: int, m: int) -> TextQueries:
        """Return that none of `n` queries with `m` candidates each is a text."""
        return cls(torch.zeros(n, dtype=torch.bool), torch.zeros(n, m), spoken=False)


class EvidenceHead(nn.Module):
    """g: the part of the logit that reads stage one's features and the history's events.

    Every head gives each event a share by its age, its time to the latest event and its kind (a
    softmax over the history); the relations between events and candidate are averaged with those
    shares, and of each relation the strongest is read too. A linear part reads features, averages
    and strongest, and a network with one hidden layer reads all of them once more. Target attention
    (Zhou et al. 2018) whose shares follow time alone, so that they are the same for all candidates
    of a query. Of a query that is a text it says how like the text a candidate is.

    Parameters
    ----------
    n_features
        Stage-one features a candidate.
    n_relations
        Relations of a pair.
    n_kinds, max_history
        Kinds of events, and the longest history.
    dropout
        Dropout of the hidden layer while training.
    shares
        How many ways to share attention among the events; the first of them begin as ways to
        forget.
    hidden
        Units of the hidden layer.
    """

    def __init__(
        self,
        n_features: int,
        n_relations: int,
        n_kinds: int,
        max_history: int,
        dropout: float,
        *,
        shares: int = len(FORGETS_AFTER) + 1,
        hidden: int = HIDDEN,
    ) -> None:
        super().__init__()
        self.max_history = max_history
        self.ages = nn.Embedding(max_history, shares)
        self.gaps = nn.Embedding(GAPS, shares)
        self.kinds = nn.Embedding(n_kinds, shares)
        self.absent = nn.Parameter(torch.zeros(n_features))
        self.likeness = nn.Parameter(torch.ones(()))
        n_told = n_relations * (shares + 1)
        self.features = nn.Linear(n_features, 1)
        self.events = nn.Linear(n_told, 1, bias=False)
        self.inner = nn.Linear(n_features + n_told, hidden)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(hidden, 1, bias=False)
        for one in (
            self.ages,
            self.gaps,
            self.kinds,
            self.features,
            self.events,
            self.outer,
        ):
            nn.init.zeros_(one.weight)
        nn.init.zeros_(self.features.bias)
        with torch.no_grad():
            seconds = torch.exp2(torch.arange(GAPS) - 0.5)
            for head, after in enumerate(FORGETS_AFTER):
                self.gaps.weight[:, head] = (-seconds / after).clamp(min=-12.0)
            self.ages.weight[:, -1] = torch.arange(max_history) * math.log(FADES_BY)

    def shares(self, events: Events) -> Tensor:
        """Return each event's share, ``float32 (B, H, heads)``; those of no events are 0."""
        scores = self.ages(events.ages) + self.gaps(events.gaps) + self.kinds(events.kinds)
        scores = scores.masked_fill(~events.mask[..., None], -1e9)
        out: Tensor = scores.softmax(dim=1) * events.mask[..., None]
        return out

    def forward(self, features: Tensor, evidence: Evidence, texts: TextQueries) -> Tensor:
        """Return logits, ``float32 (B, m)``.

        Parameters
        ----------
        features
            Stage-one features, ``float32 (B, m, n_features)``.
        evidence
            Events of ``B`` queries beside ``m`` candidates each.
        texts
            Which of the queries are texts.
        """
        mean = evidence.averaged(self.shares(evidence.events))
        return self.told(features, mean, evidence.strongest, texts)

    def _dropped(self, inner: Tensor) -> Tensor:
        """Return units ``(B, m, hidden)``, in training some left out: for all of a list the same.

        So a list is ordered by what is left of the network, and few random numbers are drawn.
        """
        if not self.training:
            return inner
        kept: Tensor = self.dropout(inner.new_ones(len(inner), 1, inner.shape[2]))
        return inner * kept

    def told(self, features: Tensor, mean: Tensor, strongest: Tensor, texts: TextQueries) -> Tensor:
        """Return logits, ``float32 (B, m)``, of strengths that are averaged already.

        Parameters
        ----------
        features, texts
            As above.
        mean
            Strengths averaged with this head's shares, ``float32 (B, m, heads, n_relations)``.
        strongest
            The strongest of each relation, ``float32 (B, m, n_relations)``.
        """
        is_text = texts.which[:, None, None]
        told = torch.cat([mean.flatten(2), strongest], dim=-1)
        if texts.spoken:
            told = torch.where(is_text, 0.0, told)
            features = torch.where(is_text, self.absent, features)
        told = torch.log1p(STEEPNESS * told.abs()).copysign(told)
        out: Tensor = self.features(features) + self.events(told)
        of_features, of_told = self.inner.weight.tensor_split([features.shape[-1]], dim=1)
        inner = F.gelu(F.linear(features, of_features, self.inner.bias) + F.linear(told, of_told))
        out = (out + self.outer(self._dropped(inner))).squeeze(-1)
        if texts.spoken:
            likeness = LIKENESS_SCALE * self.likeness * texts.likeness
            out = out + torch.where(texts.which[:, None], likeness, 0.0)
        return out


class EvidenceHeads(nn.Module):
    """The mean of several heads, fitted from different seeds: each errs in its own way.

    Parameters
    ----------
    n_features, n_relations, n_kinds, max_history, dropout
        As of :class:`EvidenceHead`.
    members
        How many heads.
    """

    def __init__(
        self,
        n_features: int,
        n_relations: int,
        n_kinds: int,
        max_history: int,
        dropout: float,
        members: int = MEMBERS,
    ) -> None:
        super().__init__()
        self.max_history = max_history
        self.members = nn.ModuleList(
            EvidenceHead(n_features, n_relations, n_kinds, max_history, dropout)
            for _ in range(members)
        )

    def heads(self) -> list[EvidenceHead]:
        """Return the members."""
        return [one for one in self.members if isinstance(one, EvidenceHead)]

    def forward(self, features: Tensor, evidence: Evidence, texts: TextQueries) -> Tensor:
        """Return mean logits, ``float32 (B, m)``; parameters as of a single head."""
        return each_told(self.heads(), features, evidence, texts).mean(dim=0)


def each_told(
    heads: Sequence[EvidenceHead], features: Tensor, evidence: Evidence, texts: TextQueries
) -> Tensor:
    """Return the logits of each of several heads, ``float32 (heads, B, m)``.

    Strengths are by far the largest thing that is read: all heads average them in one reading.

    Parameters
    ----------
    heads
        At least one, all with as many ways to share.
    features, evidence, texts
        As of a single head.
    """
    shares = [head.shares(evidence.events) for head in heads]
    means = evidence.averaged(torch.cat(shares, dim=-1))
    parts = means.view(*means.shape[:2], len(heads), -1, means.shape[3]).unbind(2)
    told = [
        head.told(features, mean, evidence.strongest, texts)
        for head, mean in zip(heads, parts, strict=True)
    ]
    return torch.stack(told)
