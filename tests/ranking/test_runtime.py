"""Runtimes: nearly the same scores in less precision, whatever stands beside a candidate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from tests.ranking.worlds import (
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_tables,
    randomise,
)
from twofold.indexing.errors import InputError
from twofold.ranking.batches import history_as_text
from twofold.ranking.digests import digest_items
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.ranking.runtime import RUNTIMES, ByteProduct, HalfProduct, runtime_of
from twofold.ranking.scoring import logits_of

PAST = [[1, 2, 3], [4], [], [5, 6]]
LOW = [name for name in RUNTIMES if name != "float32"]


KINDS = [("bert", 1), ("bert", 2), ("bert", 3), ("modernbert", 2), ("qwen3", 2)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def world(
    request: pytest.FixtureRequest, tiny_bert: Path, tiny_modernbert: Path, tiny_qwen3: Path
) -> tuple[RankerModel, ItemTables]:
    folders = {"bert": tiny_bert, "modernbert": tiny_modernbert, "qwen3": tiny_qwen3}
    family, joint_layers = request.param
    folder = folders[family]
    return randomise(make_model(folder, joint_layers)), make_tables(folder)


@pytest.fixture(scope="module")
def model(world: tuple[RankerModel, ItemTables]) -> RankerModel:
    return world[0]


@pytest.fixture(scope="module")
def tables(world: tuple[RankerModel, ItemTables]) -> ItemTables:
    return world[1]


def scores(
    model: RankerModel, tables: ItemTables, past: list[list[int]], items: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return logits, every other history read as text."""
    queries = make_queries(past)
    said = history_as_text(
        queries, np.arange(len(past)) % 2 == 1, tables, limit=40, max_history=3
    ).rows
    texts = said if any(len(row) for row in said) else None
    return logits_of(model, tables, queries, items, make_features(items.shape), as_text=texts)


def all_items(n: int) -> npt.NDArray[np.int64]:
    return np.tile(np.arange(N_ITEMS, dtype=np.int64), (n, 1))


@pytest.mark.parametrize("name", LOW)
def test_low_precision_says_nearly_the_same(
    model: RankerModel, tables: ItemTables, name: str
) -> None:
    items = all_items(len(PAST))
    exact = scores(model, tables, PAST, items)
    low = scores(RUNTIMES[name].prepare(model), tables, PAST, items)
    # Seen: 0.05 for bfloat16 and 0.06 for int8, of scores that spread by 1.
    assert 0 < np.abs(low - exact).max() < 0.15
    assert np.corrcoef(low.ravel(), exact.ravel())[0, 1] > 0.998


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_score_does_not_depend_on_what_stands_beside_it(
    model: RankerModel, tables: ItemTables, name: str
) -> None:
    served = RUNTIMES[name].prepare(model)
    items = all_items(len(PAST))
    together = scores(served, tables, PAST, items)
    for row, column in ((0, 3), (1, 0), (3, 13)):
        queries = make_queries([PAST[row]])
        told = history_as_text(
            queries, np.array([row % 2 == 1]), tables, limit=40, max_history=3
        ).rows
        features = make_features(items.shape)[row : row + 1, column : column + 1]
        alone = logits_of(
            served,
            tables,
            queries,
            items[row : row + 1, column : column + 1],
            features,
            as_text=told if len(told[0]) else None,
        )
        # Sums in another order differ in their last bits, which rounding makes steps of its own.
        close = 1e-5 if name == "float32" else 2e-2
        assert alone[0, 0] == pytest.approx(together[row, column], abs=close)


@pytest.mark.parametrize("name", LOW)
def test_the_model_keeps_its_weights_and_lends_what_stays(
    model: RankerModel, tables: ItemTables, name: str
) -> None:
    before = {key: one.clone() for key, one in model.state_dict().items()}
    exact = scores(model, tables, PAST, all_items(len(PAST)))
    served = RUNTIMES[name].prepare(model)
    assert served.g is not model.g
    assert served.soft_norm.weight is model.soft_norm.weight
    assert served.backbone.embeddings.words.weight is model.backbone.embeddings.words.weight
    # Digests are made of keys and values in single precision.
    last, own = served.backbone.joint[-1], model.backbone.joint[-1]
    assert isinstance(last.key_value, HalfProduct | ByteProduct)
    assert last.key_value.weight is own.key_value.weight
    assert all(torch.equal(before[key], one) for key, one in model.state_dict().items())
    np.testing.assert_array_equal(scores(model, tables, PAST, all_items(len(PAST))), exact)


@pytest.mark.parametrize("name", LOW)
def test_digests_are_read_in_low_precision_too(tiny_bert: Path, name: str) -> None:
    model, tables = randomise(make_model(tiny_bert, 1)), make_tables(tiny_bert)
    queries, items = make_queries(PAST), all_items(len(PAST))
    features, digests = make_features(items.shape), digest_items(model, tables)
    exact = logits_of(model, tables, queries, items, features, digests=digests)
    served = RUNTIMES[name].prepare(model)
    low = logits_of(served, tables, queries, items, features, digests=digests)
    assert 0 < np.abs(low - exact).max() < 0.15


def test_products_are_computed_in_their_own_type() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 20)
    half, byte = HalfProduct(linear), ByteProduct(linear)
    assert half.low.dtype == torch.bfloat16
    assert byte.low.dtype == torch.int8
    states = torch.randn(7, 48)
    states[3] = 0.0
    states[5] *= 1e4
    exact = linear(states).detach()
    for product, close in ((half, 0.02), (byte, 0.02)):
        told = product(states).detach()
        assert told.dtype == torch.float32
        error = (told - exact).abs().amax(dim=1) / states.abs().amax(dim=1).clamp(min=1.0)
        # A row of large numbers costs only itself its precision.
        assert float(error.max()) < close
    torch.testing.assert_close(byte(states)[3], linear.bias.detach())
    assert byte(states[None, :, None]).shape == (1, 7, 1, 20)


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(InputError, match="one of float32, bfloat16, int8, cuda, not 'float8'"):
        runtime_of("float8")
