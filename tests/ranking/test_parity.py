"""The split cross-encoder against one sequence with one mask, run by transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from transformers import BertModel

from tests.ranking.slow_reference import SlowRanker
from tests.ranking.worlds import (
    MAX_HISTORY,
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
from twofold.ranking.scoring import logits_of

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


@pytest.mark.parametrize("joint_layers", [0, 1, 2])
@pytest.mark.parametrize("history", ["text", "vectors"])
def test_logits_equal_the_slow_implementation(
    tiny_bert: Path, joint_layers: int, history: str
) -> None:
    model = randomise(make_model(tiny_bert, joint_layers))
    tables = make_tables(tiny_bert)
    queries, features = make_queries(HISTORIES), make_features(CANDIDATES.shape)
    slow = SlowRanker(
        BertModel.from_pretrained(tiny_bert, attn_implementation="eager"), model, tables
    )
    if history == "vectors":
        found = logits_of(model, tables, queries, CANDIDATES, features)
        _check(found, slow, features, None)
        return
    tokenizer = make_tokenizer(tiny_bert)
    spoken = history_as_text(
        queries,
        np.ones(len(queries), dtype=bool),
        tables,
        limit=64,
        max_history=MAX_HISTORY,
    )
    texts = make_texts()
    rows = []
    for one in HISTORIES:
        spelt = " [SEP] ".join(texts[item] for item in one[-MAX_HISTORY:])
        rows.append(tokenizer(spelt).input_ids if one else [])
    found = logits_of(model, tables, queries, CANDIDATES, features, as_text=spoken.rows)
    _check(found, slow, features, rows)
