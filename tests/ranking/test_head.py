"""Attention over time: its shares, what it starts as, and that it learns which events speak."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from twofold.ranking.fused_head import FusedHeads
from twofold.ranking.head import Events, Evidence, EvidenceHead, EvidenceHeads, TextQueries

H, M, WIDTH, N_FEATURES, N_KINDS = 5, 6, 2, 3, 2


def _head() -> EvidenceHead:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EvidenceHead(N_FEATURES, WIDTH, N_KINDS, H, 0.0)


def _present(n: int) -> TextQueries:
    return TextQueries.none(n, M)


def _evidence(n: int, seed: int = 0) -> Evidence:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, H + 1, (n, 1), generator=generator)
    mask = torch.arange(H)[None] < lengths
    events = Events(
        ages=(lengths - 1 - torch.arange(H)).clamp(min=0),
        gaps=torch.randint(0, 20, (n, H), generator=generator),
        kinds=torch.randint(0, N_KINDS, (n, H), generator=generator),
        mask=mask,
    )
    strengths = torch.rand((n, H, M, WIDTH), generator=generator) * mask[..., None, None]
    return Evidence.of(events, strengths)


def test_shares_are_those_of_a_history_and_none_without_events() -> None:
    events = _evidence(40).events
    gone = replace(events, mask=events.mask & (torch.arange(40) % 4 > 0)[:, None])
    shares = _head().shares(gone)
    assert not shares[~gone.mask].any()
    sums = shares.sum(dim=1)
    there = gone.mask.any(dim=1)
    torch.testing.assert_close(sums[there], torch.ones_like(sums[there]))
    assert not sums[~there].any()


def test_padding_says_nothing_even_where_all_events_speak_against() -> None:
    head = _head()
    for one in head.parameters():
        torch.nn.init.normal_(one, std=0.3)
    whole = _evidence(20)
    against = Evidence.of(whole.events, -whole.strengths)
    features = torch.randn(20, M, N_FEATURES)
    padded = head(features, against, _present(20))
    for row, there in enumerate(against.events.mask):
        events = against.events
        alone = Evidence.of(
            Events(
                *(
                    p[row : row + 1, there]
                    for p in (events.ages, events.gaps, events.kinds, events.mask)
                )
            ),
            against.strengths[row : row + 1, there],
        )
        told = head(features[row : row + 1], alone, _present(1))
        torch.testing.assert_close(told[0], padded[row])


def test_it_starts_silent_and_with_heads_that_forget() -> None:
    head = _head()
    assert not head(torch.randn(8, M, N_FEATURES), _evidence(8), _present(8)).any()
    # Two events: one just now, one an hour before; all heads of time forget the older.
    two = Events(
        ages=torch.tensor([[1, 0]]),
        gaps=torch.tensor([[12, 0]]),
        kinds=torch.zeros(1, 2, dtype=torch.int64),
        mask=torch.ones(1, 2, dtype=torch.bool),
    )
    older = head.shares(two)[0, 0].detach()
    assert older[0] < older[1] < 0.05 < older[3] < older[2]
    assert float(older[3]) == pytest.approx(0.9 / 1.9)


def test_it_learns_which_kind_of_event_speaks() -> None:
    """The hit is what the events of kind 1 relate to; those of kind 0 relate to something else."""

    def planted(seed: int, n: int) -> tuple[Evidence, torch.Tensor]:
        one = _evidence(n, seed)
        events = one.events
        speaks = (events.kinds == 1) & events.mask
        strengths = one.strengths.clone()
        hit = torch.randint(0, M, (n,), generator=torch.Generator().manual_seed(seed))
        strengths[..., 0] = 0.0
        rows, places = torch.nonzero(events.mask, as_tuple=True)
        wanted = torch.where(speaks[rows, places], hit[rows], (hit[rows] + 1) % M)
        strengths[rows, places, wanted, 0] = 1.0
        kept = speaks.any(dim=1)
        parts = (events.ages, events.gaps, events.kinds, events.mask)
        return Evidence.of(Events(*(part[kept] for part in parts)), strengths[kept]), hit[kept]

    head = _head()
    evidence, hit = planted(1, 400)
    features = torch.zeros(len(hit), M, N_FEATURES)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(head(features, evidence, _present(len(hit))), hit)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    unseen, wanted = planted(2, 400)
    with torch.inference_mode():
        n = len(wanted)
        found = head(torch.zeros(n, M, N_FEATURES), unseen, _present(n)).argmax(dim=1)
        shares = head.kinds.weight
    assert float((found == wanted).float().mean()) > 0.95  # .99 seen; .17 by chance
    assert bool((shares[1] > shares[0]).all())


def test_a_text_query_reads_neither_features_nor_events() -> None:
    head = _head()
    with torch.no_grad():
        for one in head.parameters():
            one.copy_(torch.randn(one.shape, generator=torch.Generator().manual_seed(one.numel())))
    texts = TextQueries(torch.tensor([True, False]), torch.zeros(2, M))
    one, other = (
        head(torch.full((2, M, N_FEATURES), value), _evidence(2, seed), texts)
        for seed, value in ((0, 0.5), (1, -0.5))
    )
    torch.testing.assert_close(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


def test_a_text_query_is_told_how_like_it_each_candidate_is() -> None:
    head, features, evidence = _head(), torch.randn(2, M, N_FEATURES), _evidence(2)
    likeness = torch.rand(2, M)
    with torch.inference_mode():
        before = head(features, evidence, _present(2))
        told = head(features, evidence, TextQueries(torch.tensor([True, False]), likeness))
    torch.testing.assert_close(told[1], before[1])
    assert torch.equal(told[0].argsort(), likeness[0].argsort())


def test_heads_say_the_mean_of_their_members() -> None:
    heads = EvidenceHeads(N_FEATURES, WIDTH, N_KINDS, H, 0.0, members=2)
    with torch.no_grad():
        for number, one in enumerate(heads.parameters()):
            one.copy_(torch.randn(one.shape, generator=torch.Generator().manual_seed(number)))
    features, evidence = torch.randn(4, M, N_FEATURES), _evidence(4)
    with torch.inference_mode():
        first, second = (one(features, evidence, _present(4)) for one in heads.members)
        told = heads(features, evidence, _present(4))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(told, (first + second) / 2)


def test_fused_heads_say_what_their_members_mean() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        heads = EvidenceHeads(N_FEATURES, WIDTH, N_KINDS, H, 0.1).eval()
        for one in heads.parameters():
            torch.nn.init.normal_(one, std=0.4)
        features, evidence = torch.randn(30, M, N_FEATURES), _evidence(30)
        before = torch.get_rng_state()
        fused = FusedHeads(heads)
        assert torch.equal(torch.get_rng_state(), before)
    wanted = heads(features, evidence, _present(30))
    torch.testing.assert_close(fused(features, evidence, _present(30)), wanted)
    assert wanted.std() > 0.5
    # Each member has its own idea of absent features, so texts ask them one by one.
    texts = TextQueries(torch.arange(30) % 3 == 0, torch.rand(30, M))
    torch.testing.assert_close(fused(features, evidence, texts), heads(features, evidence, texts))


def test_in_training_units_are_left_out_for_a_whole_list() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = EvidenceHead(N_FEATURES, WIDTH, N_KINDS, H, 0.5)
        for weights in head.parameters():
            torch.nn.init.normal_(weights, std=0.3)
        features = torch.randn(1, 1, N_FEATURES).expand(30, M, N_FEATURES)
        one = _evidence(1)
        strengths = one.strengths[:, :, :1].expand(30, -1, M, -1)
        events = Events(
            *(
                part.expand(30, -1)
                for part in (one.events.ages, one.events.gaps, one.events.kinds, one.events.mask)
            )
        )
        evidence = Evidence.of(events, strengths)
        told = head.train()(features, evidence, _present(30))
        still = head.eval()(features, evidence, _present(30))
    torch.testing.assert_close(told, told[:, :1].expand_as(told))
    assert len(told[:, 0].unique()) > 20
    torch.testing.assert_close(still, still[:1, :1].expand_as(still))
