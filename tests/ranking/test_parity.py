"""The split cross-encoder against one sequence with one mask, run by transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from tests.ranking.slow_reference import Bert, ModernBert, Qwen3, SlowRanker
from tests.ranking.worlds import (
    MAX_HISTORY,
    MOST_TOKENS,
    N_KINDS,
    make_features,
    make_model,
    make_queries,
    make_tables,
    make_texts,
    make_tokenizer,
    randomise,
)
from twofold.ranking.batches import history_as_text
from twofold.ranking.digests import digest_items
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.ranking.scoring import logits_of

SLOW = {"bert": Bert, "modernbert": ModernBert, "qwen3": Qwen3}

HISTORIES = [[3, 7, 1], [5], [], [2, 4, 6, 8, 10, 12], [0, 9]]
CANDIDATES = np.array(
    [[1, 0, 13, 4], [2, 3, 11, 9], [7, 0, 5, -1], [13, 12, -1, -1], [-1, -1, -1, -1]],
    dtype=np.int64,
)


def _check(
    found: npt.NDArray[np.float32],
    slow: SlowRanker,
    features: npt.NDArray[np.float32],
    as_text: list[list[int]] | None,
) -> None:
    assert np.isneginf(found[CANDIDATES < 0]).all()
    seen = []
    for row, column in np.argwhere(CANDIDATES >= 0):
        history = HISTORIES[row]
        spoken = as_text[row] if as_text is not None and as_text[row] else None
        wanted = slow.logit(
            history,
            [item % N_KINDS for item in history],
            [1000 * 4**place for place in range(len(history))],
            int(CANDIDATES[row, column]),
            features[row, column],
            as_text=spoken,
        )
        seen.append(wanted)
        assert found[row, column] == pytest.approx(wanted, abs=1e-4)
    assert np.std(seen) > 0.1, "logits that hardly differ would hide a fault"


def _slow(folder: Path, model: RankerModel, tables: ItemTables) -> SlowRanker:
    theirs = AutoModel.from_pretrained(folder, attn_implementation="eager")
    return SlowRanker(SLOW[model.shape.backbone.family](theirs), model, tables)


@pytest.fixture(scope="module")
def folders(tiny_bert: Path, tiny_modernbert: Path, tiny_qwen3: Path) -> dict[str, Path]:
    return {"bert": tiny_bert, "modernbert": tiny_modernbert, "qwen3": tiny_qwen3}


@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen3"])
@pytest.mark.parametrize("joint_layers", [0, 1, 2])
@pytest.mark.parametrize("history", ["text", "vectors"])
def test_logits_equal_the_slow_implementation(
    folders: dict[str, Path], family: str, joint_layers: int, history: str
) -> None:
    folder = folders[family]
    model, tables = randomise(make_model(folder, joint_layers)), make_tables(folder)
    queries, features = make_queries(HISTORIES), make_features(CANDIDATES.shape)
    slow = _slow(folder, model, tables)
    digests = digest_items(model, tables, form="single") if joint_layers == 1 else None
    if history == "vectors":
        for stored in {id(None): None, id(digests): digests}.values():
            found = logits_of(model, tables, queries, CANDIDATES, features, digests=stored)
            _check(found, slow, features, None)
        return
    everyone = np.ones(len(queries), dtype=bool)
    spoken = history_as_text(queries, everyone, tables, limit=64, max_history=MAX_HISTORY)
    rows = [_spelt(folder, one[-MAX_HISTORY:]) if one else [] for one in HISTORIES]
    found = logits_of(
        model, tables, queries, CANDIDATES, features, as_text=spoken.rows, digests=digests
    )
    _check(found, slow, features, rows)


def _spelt(folder: Path, history: list[int]) -> list[int]:
    """Return the tokens of a history as text, each item's followed by the mark that ends a text."""
    tokenizer, texts = make_tokenizer(folder), make_texts()
    marks = 2 if tokenizer.cls_token else 1
    out: list[int] = []
    for item in history:
        out += tokenizer(texts[item], add_special_tokens=False).input_ids[: MOST_TOKENS - marks]
        out.append(tokenizer.sep_token_id if tokenizer.cls_token else tokenizer.eos_token_id)
    return [tokenizer.cls_token_id, *out] if tokenizer.cls_token else out


ODD = [
    "",
    "opera",
    "\U0001f680 \U0001f469\u200d\U0001f467 space",
    "宇宙戦争 愛",
    "a" * 300,
]


@pytest.fixture(scope="module")
def many_items(tiny_bert: Path) -> ItemTables:
    return make_tables(tiny_bert, [*ODD, *make_texts(2000 - len(ODD), 1)])


@settings(max_examples=12, deadline=None)
@given(
    joint_layers=st.integers(1, 2),
    length=st.integers(0, 200),
    width=st.one_of(st.integers(1, 30), st.integers(1, 2000)),
    seed=st.integers(0, 10_000),
)
@example(joint_layers=1, length=200, width=2000, seed=0)
@example(joint_layers=2, length=200, width=300, seed=1)
@example(joint_layers=1, length=0, width=1, seed=2)
def test_any_history_and_any_candidates_equal_the_slow_implementation(
    tiny_bert: Path,
    many_items: ItemTables,
    joint_layers: int,
    length: int,
    width: int,
    seed: int,
) -> None:
    rng, n_items = np.random.default_rng(seed), len(many_items.tokens)
    model = randomise(make_model(tiny_bert, joint_layers, max_history=200))
    # Odd texts are the first items: among the candidates that are compared, and half of a history.
    order = rng.permutation(len(ODD)), len(ODD) + rng.permutation(n_items - len(ODD))
    items = np.concatenate([order[0][: width // 2], order[1]])[None, :width]
    odd, whichever = (rng.integers(0, n, length) for n in (len(ODD), n_items))
    history = np.where(rng.random(length) < 0.5, odd, whichever).tolist()
    times = np.sort(rng.integers(0, 10**9, length)) * 1000
    queries, features = make_queries([history], n_items, times=times), make_features(items.shape)
    stored = None
    if joint_layers == 1:
        stored = digest_items(model, many_items, form="single")
    found = logits_of(model, many_items, queries, items, features, digests=stored)
    slow = _slow(tiny_bert, model, many_items)
    kinds = [item % N_KINDS for item in history]
    for place in range(min(width, len(ODD) + 2)):
        item, told = int(items[0, place]), features[0, place]
        wanted = slow.logit(history, kinds, times.tolist(), item, told)
        assert found[0, place] == pytest.approx(wanted, abs=1e-4)
