"""All heads of g in one pass: what serves in the place of their mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twofold.ranking.head import Evidence, EvidenceHead, EvidenceHeads, TextQueries


class FusedHeads(EvidenceHeads):
    """The same logits as the members' mean, from one head with all of their shares and units.

    Text queries, for which each member has its own idea of absent features, ask the members.

    Parameters
    ----------
    heads
        The members; they are shared, and must not change any more.
    """

    def __init__(self, heads: EvidenceHeads) -> None:
        nn.Module.__init__(self)
        self.max_history = heads.max_history
        self.members = heads.members
        self.whole = _fused(heads.heads())

    def forward(self, features: Tensor, evidence: Evidence, texts: TextQueries) -> Tensor:
        """Return mean logits, ``float32 (B, m)``; parameters as of a single head."""
        if texts.spoken:
            return super().forward(features, evidence, texts)
        out: Tensor = self.whole(features, evidence, texts)
        return out


@torch.no_grad()
def _fused(members: list[EvidenceHead]) -> EvidenceHead:
    """Return one head whose shares and hidden units are those of all members side by side."""
    n, first = len(members), members[0]
    n_shares, n_features = first.ages.embedding_dim, first.features.in_features
    n_relations = first.events.in_features // (n_shares + 1)
    # The making of a module draws random weights; serving draws nothing from the process.
    with torch.random.fork_rng(devices=[]):
        out = EvidenceHead(
            n_features,
            n_relations,
            first.kinds.num_embeddings,
            first.max_history,
            0.0,
            shares=n * n_shares,
            hidden=n * first.inner.out_features,
        )
    out.ages.weight.copy_(torch.cat([one.ages.weight for one in members], 1))
    out.gaps.weight.copy_(torch.cat([one.gaps.weight for one in members], 1))
    out.kinds.weight.copy_(torch.cat([one.kinds.weight for one in members], 1))
    out.features.weight.copy_(torch.stack([one.features.weight for one in members]).mean(0))
    out.features.bias.copy_(torch.stack([one.features.bias for one in members]).mean(0))
    out.inner.bias.copy_(torch.cat([one.inner.bias for one in members]))
    out.outer.weight.copy_(torch.cat([one.outer.weight for one in members], 1) / n)
    out.events.weight.zero_()
    out.inner.weight.zero_()
    own, hidden = n_shares * n_relations, first.inner.out_features
    for number, one in enumerate(members):
        averages = slice(number * own, (number + 1) * own)
        out.events.weight[:, averages] = one.events.weight[:, :own] / n
        out.events.weight[:, n * own :] += one.events.weight[:, own:] / n
        units = out.inner.weight[number * hidden : (number + 1) * hidden]
        theirs = one.inner.weight
        units[:, :n_features] = theirs[:, :n_features]
        units[:, n_features:][:, averages] = theirs[:, n_features : n_features + own]
        units[:, n_features + n * own :] = theirs[:, n_features + own :]
    return out.eval().requires_grad_(False)
