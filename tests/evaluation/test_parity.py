"""Ranking metrics agree with trec_eval, which the field has measured with for thirty years."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval

from twofold.evaluation.metrics import Truth, judge, metric_values

N_QUERIES, N_ITEMS, LENGTH = 200, 60, 30
KS = (1, 5, 10, 20)


def test_agrees_with_trec_eval() -> None:
    rng = np.random.default_rng(4)
    items = np.stack([rng.permutation(N_ITEMS)[:LENGTH] for _ in range(N_QUERIES)])
    held_out = rng.random((N_QUERIES, N_ITEMS)) < rng.choice([0.02, 0.1, 0.4], (N_QUERIES, 1))
    held_out[np.arange(N_QUERIES), rng.integers(0, N_ITEMS, N_QUERIES)] = True
    rows, columns = np.nonzero(held_out)
    grades = rng.integers(1, 4, len(rows))
    n_unknown = rng.integers(0, 3, N_QUERIES)
    lost = np.repeat(np.arange(N_QUERIES), n_unknown)
    truth = Truth.from_pairs(
        np.concatenate([rows, lost]),
        np.concatenate([columns, np.full(len(lost), -1)]),
        N_QUERIES,
        np.concatenate([grades, np.full(len(lost), 2)]).astype(np.float64),
    )

    relevant: dict[str, dict[str, int]] = {str(query): {} for query in range(N_QUERIES)}
    for query, item, grade in zip(rows, columns, grades, strict=True):
        relevant[str(query)][str(item)] = int(grade)
    for row, count in enumerate(n_unknown):
        relevant[str(row)] |= {f"unknown {one}": 2 for one in range(count)}
    run = {
        str(query): {str(item): float(LENGTH - rank) for rank, item in enumerate(ranked)}
        for query, ranked in enumerate(items)
    }
    cuts = ",".join(map(str, KS))
    names = {f"{name}.{cuts}" for name in ("ndcg_cut", "map_cut", "recall", "success")}
    found = pytrec_eval.RelevanceEvaluator(relevant, {*names, "recip_rank"}).evaluate(run)

    def theirs(name: str) -> np.ndarray:
        return np.array([found[str(query)][name] for query in range(N_QUERIES)])

    ours = metric_values(judge(items, truth), (*KS, LENGTH))
    n_held_out = truth.n_held_out()
    for k in KS:
        assert ours[f"ndcg@{k}"] == pytest.approx(theirs(f"ndcg_cut_{k}"))
        assert ours[f"recall@{k}"] == pytest.approx(theirs(f"recall_{k}"))
        assert ours[f"hit_rate@{k}"] == pytest.approx(theirs(f"success_{k}"))
        # trec_eval divides by all that is relevant, so that no list reaches 1 where that is over k.
        cut = ours[f"map@{k}"] * np.minimum(k, n_held_out) / n_held_out
        assert cut == pytest.approx(theirs(f"map_cut_{k}"))
    assert ours[f"mrr@{LENGTH}"] == pytest.approx(theirs("recip_rank"))
