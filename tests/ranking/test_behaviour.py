"""Attention over time: its shares, what it starts as, and that it learns which events speak."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from twofold.ranking.behaviour import Behaviour, Evidence

H, M, WIDTH, N_FEATURES, N_KINDS = 5, 6, 2, 3, 2


def _behaviour(dropout: float = 0.0) -> Behaviour:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Behaviour(WIDTH, N_FEATURES, N_KINDS, H, dropout)


def _evidence(n: int, seed: int = 0) -> Evidence:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, H + 1, (n, 1), generator=generator)
    mask = torch.arange(H)[None] < lengths
    return Evidence(
        ages=(lengths - 1 - torch.arange(H)).clamp(min=0),
        gaps=torch.randint(0, 20, (n, H), generator=generator),
        kinds=torch.randint(0, N_KINDS, (n, H), generator=generator),
        mask=mask,
        strengths=torch.rand((n, H, M, WIDTH), generator=generator) * mask[..., None, None],
    )


def test_shares_are_those_of_a_history_and_none_without_events() -> None:
    evidence = _evidence(40)
    gone = replace(evidence, mask=evidence.mask & (torch.arange(40) % 4 > 0)[:, None])
    shares = _behaviour().shares(gone)
    assert not shares[~gone.mask].any()
    sums = shares.sum(dim=1)
    there = gone.mask.any(dim=1)
    torch.testing.assert_close(sums[there], torch.ones_like(sums[there]))
    assert not sums[~there].any()


def test_it_starts_silent_and_with_heads_that_forget() -> None:
    behaviour, evidence = _behaviour(), _evidence(8)
    features = torch.randn(8, M, N_FEATURES)
    assert not behaviour(evidence, features).any()
    # Two events: one just now, one an hour before; all heads of time forget the older.
    two = Evidence(
        ages=torch.tensor([[1, 0]]),
        gaps=torch.tensor([[12, 0]]),
        kinds=torch.zeros(1, 2, dtype=torch.int64),
        mask=torch.ones(1, 2, dtype=torch.bool),
        strengths=torch.zeros(1, 2, M, WIDTH),
    )
    older = behaviour.shares(two)[0, 0].detach()
    assert older[0] < older[1] < 0.05 < older[3] < older[2]
    assert float(older[3]) == pytest.approx(0.9 / 1.9)


def test_it_learns_which_kind_of_event_speaks() -> None:
    """The hit is what the events of kind 1 relate to; those of kind 0 relate to something else."""

    def planted(seed: int, n: int) -> tuple[Evidence, torch.Tensor]:
        one = _evidence(n, seed)
        speaks = (one.kinds == 1) & one.mask
        strengths = one.strengths.clone()
        hit = torch.randint(0, M, (n,), generator=torch.Generator().manual_seed(seed))
        strengths[..., 0] = 0.0
        rows, places = torch.nonzero(one.mask, as_tuple=True)
        wanted = torch.where(speaks[rows, places], hit[rows], (hit[rows] + 1) % M)
        strengths[rows, places, wanted, 0] = 1.0
        kept = speaks.any(dim=1)
        parts = (one.ages, one.gaps, one.kinds, one.mask, strengths)
        return Evidence(*(part[kept] for part in parts)), hit[kept]

    behaviour = _behaviour()
    evidence, hit = planted(1, 400)
    features = torch.zeros(len(hit), M, N_FEATURES)
    optimiser = torch.optim.Adam(behaviour.parameters(), lr=0.02)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(behaviour(evidence, features), hit)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    unseen, wanted = planted(2, 400)
    with torch.inference_mode():
        found = behaviour(unseen, torch.zeros(len(wanted), M, N_FEATURES)).argmax(dim=1)
        shares = behaviour.kinds.weight
    assert float((found == wanted).float().mean()) > 0.95  # .99 seen; .17 by chance
    assert bool((shares[1] > shares[0]).all())
