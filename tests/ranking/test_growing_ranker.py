"""A ranker over items that came and changed scores as one whose tables were made with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.ranking.worlds import (
    N_ITEMS,
    TEXT_DIM,
    make_features,
    make_model,
    make_queries,
    make_ranker,
    randomise,
)
from twofold.ranking.growing_ranker import GrowingRanker
from twofold.ranking.items import (
    ItemTables,
    StatesOnDemand,
    compute_states,
    tokenise_items,
)
from twofold.ranking.ranker import Ranker
from twofold.ranking.relations import LowRank
from twofold.ranking.runtime import OnDevice, SinglePrecision
from twofold.retrieval.candidates import Candidates

# Texts that came later, at most as long as the longest that was there.
TEXTS = ["space robot", "red nail polish", "opera", "war love comedy", ""]


@dataclass
class _Index:
    vectors: Any


@dataclass
class _StageOne:
    """All that a ranker asks of stage one."""

    index: _Index
    counted: Any

    def relations(self) -> Any:
        return self.counted


def _served(n: int, n_items: int) -> Candidates:
    items = np.tile(np.arange(n_items, dtype=np.int64), (n, 1))
    scores = -np.tile(np.arange(n_items, dtype=np.float32), (n, 1))
    return Candidates(items, scores, make_features(items.shape))


def _ranker(folder: Path, states: str, joint: int, history: str) -> Ranker:
    whole = make_ranker(folder)
    own = replace(whole.settings, item_states=states, joint_layers=joint, history=history)  # type: ignore[arg-type]
    if joint > 1:
        whole = replace(whole, model=randomise(make_model(folder, joint)))
    return replace(whole, settings=own).with_tables(whole.tables)


def _whole(
    base: Ranker, changed: dict[int, str], vectors: npt.NDArray[np.float32], n: int
) -> Ranker:
    """Return the ranker over tables made at once, the changed and the newer items among them."""
    before, tokens = base.tables, base.tables.tokens
    longest = int(tokens.lengths().max())
    parts = []
    for item in range(n):
        if item in changed:
            read = tokenise_items(base.tokenizer, [changed[item]], longest, 64)
            parts.append(read.tokens)
        else:
            parts.append(tokens.tokens[tokens.starts[item] : tokens.ends[item]])
    lengths = np.array([len(one) for one in parts])
    ends = np.cumsum(lengths)
    more, low_rank = n - len(tokens), before.relations.low_rank

    def wider(values: Any) -> Any:
        return np.concatenate([values, np.zeros((more, values.shape[1]), dtype=values.dtype)])

    tables = ItemTables(
        tokens=replace(tokens, tokens=np.concatenate(parts), starts=ends - lengths, ends=ends),
        texts=vectors,
        factors=wider(before.factors),
        relations=replace(
            before.relations,
            counted=_relations(before, n),
            low_rank=LowRank(wider(low_rank.left), wider(low_rank.right), low_rank.ranks),
        ),
    )
    return base.with_tables(tables)


def _relations(tables: ItemTables, n: int) -> Any:
    out = []
    for one in tables.relations.counted:
        wide = one.copy()
        wide.resize((n, n))
        out.append(wide)
    return tuple(out)


@pytest.mark.parametrize("history", ["vectors", "text"])
@pytest.mark.parametrize(
    ("states", "joint"), [("auto", 1), ("int8", 1), ("off", 1), ("auto", 2), ("off", 2)]
)
@pytest.mark.parametrize(
    ("runtime", "read_before"), [("float32", True), ("float32", False), ("near", True)]
)
def test_it_scores_as_one_made_with_all_items(
    tiny_bert: Path, states: str, joint: int, history: str, runtime: str, read_before: bool
) -> None:
    base = _ranker(tiny_bert, states, joint, history)
    if joint > 1 and states == "auto":
        kept = compute_states(base.model.backbone, base.tables.tokens)
        base = replace(base, tables=replace(base.tables, states=kept))
    if runtime == "near":
        # As on a device, whose memory is main memory.
        base = replace(base, runtime=OnDevice("near", "cpu", torch.float32))
    rng = np.random.default_rng(3)
    growing, vectors = GrowingRanker(base), base.tables.texts.copy()
    histories, first = [[1, 2, 3], [4], [2, 5]], _served(3, N_ITEMS)
    before = base.logits(make_queries(histories), first)
    changed: dict[int, str] = {}
    # Two come; then one of those, one of the first and another that comes are changed together.
    for numbers in ([N_ITEMS, N_ITEMS + 1], [2, N_ITEMS, N_ITEMS + 2]):
        texts = [TEXTS[int(rng.integers(len(TEXTS)))] for _ in numbers]
        fresh = rng.normal(size=(len(numbers), TEXT_DIM)).astype(np.float32)
        more = max(0, max(numbers) + 1 - len(vectors))
        vectors = np.concatenate([vectors, np.zeros((more, TEXT_DIM), dtype=np.float32)])
        known = np.array([one if one < len(vectors) - more else -1 for one in numbers])
        vectors[numbers] = fresh
        changed |= dict(zip(numbers, texts, strict=True))
        stage_one: Any = _StageOne(_Index(vectors.copy()), _relations(base.tables, len(vectors)))
        read = growing.read(known, texts, fresh) if read_before else None
        grown = growing.put(np.array(numbers), texts, fresh, stage_one, read)
        whole = _whole(base, changed, vectors, len(vectors))
        asked = make_queries([*histories, [N_ITEMS, 1]], n_items=len(vectors))
        served = _served(4, len(vectors))
        if runtime == "near":
            whole = replace(whole, runtime=SinglePrecision())
        # Twice, for the second time is answered from what was kept.
        for _ in range(2):
            np.testing.assert_allclose(
                grown.logits(asked, served), whole.logits(asked, served), atol=2e-3
            )
    # The first state says what it said.
    np.testing.assert_allclose(base.logits(make_queries(histories), first), before, atol=1e-5)


def test_what_is_kept_of_histories_stays_but_for_those_that_hold_a_changed_item(
    tiny_bert: Path,
) -> None:
    base = _ranker(tiny_bert, "auto", 1, "vectors")
    growing, asked = GrowingRanker(base), make_queries([[1, 2], [3], [4, 5]])
    base.logits(asked, _served(3, N_ITEMS))
    kept = base._memories.size
    vectors = base.tables.texts.copy()
    stage_one: Any = _StageOne(_Index(vectors), base.tables.relations.counted)
    grown = growing.put(np.array([2]), ["opera"], vectors[2:3], stage_one)
    assert grown._served is base._served  # and the model is not prepared again
    grown.logits(asked, _served(3, N_ITEMS))
    grown_by = grown._memories.size - kept
    assert 0 < grown_by < kept
    grown.logits(asked, _served(3, N_ITEMS))
    assert grown._memories.size == kept + grown_by


def test_states_on_demand_are_computed_once_an_edition(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _ranker(tiny_bert, "off", 2, "vectors")
    asked: list[list[int]] = []
    rows = StatesOnDemand._rows

    def noted(self: StatesOnDemand, items: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        asked.append(items.tolist())
        return rows(self, items)

    monkeypatch.setattr(StatesOnDemand, "_rows", noted)
    everyone = np.arange(N_ITEMS)
    base.tables.token_states(everyone, base.model.backbone)
    growing, vectors = GrowingRanker(base), base.tables.texts
    stage_one: Any = _StageOne(_Index(vectors), base.tables.relations.counted)
    grown = growing.put(np.array([2]), ["opera"], vectors[2:3], stage_one)
    for _ in range(2):
        grown.tables.token_states(everyone, base.model.backbone)
        base.tables.token_states(everyone, base.model.backbone)
    assert asked == [everyone.tolist(), [2]]
