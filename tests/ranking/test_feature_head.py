from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.ranking.planted import planted_lists
from twofold.ranking.feature_head import FittedHead, fit_feature_head
from twofold.ranking.lists import Lists
from twofold.ranking.settings import RankerSettings

Signal = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def _lists(signal: Signal, seed: int, n: int = 200, m: int = 20) -> Lists:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, m, 4)).astype(np.float32)
    labels = np.zeros((n, m), dtype=bool)
    labels[np.arange(n), signal(features).argmax(axis=1)] = True
    items = np.stack([rng.permutation(m) for _ in range(n)]).astype(np.int64)
    return planted_lists(items, labels, features)


def _fit(signal: Signal, **settings: object) -> FittedHead:
    train, stop = _lists(signal, 0), _lists(signal, 1)
    return fit_feature_head([train], [stop], RankerSettings(**settings), seed=3)  # type: ignore[arg-type]


def _rising(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return x[..., 2]


def _middle(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return -np.abs(x[..., 2])


@pytest.mark.parametrize("objective", ["bce", "listwise"])
def test_a_planted_feature_is_found(objective: str) -> None:
    found = _fit(_rising, feature_head="linear", objective=objective)
    assert found.ndcg["linear"] > 0.97
    weights = found.head.linear.weight[0].detach().abs()
    assert int(weights.argmax()) == 2
    assert weights[2] > 3 * weights[[0, 1, 3]].max()


def test_the_network_is_chosen_where_no_line_tells_hits_from_misses() -> None:
    found = _fit(_middle)
    assert found.form == "network"
    assert found.ndcg["network"] > found.ndcg["linear"] + 0.2


def test_the_form_that_settings_name_is_fitted_alone() -> None:
    found = _fit(_middle, feature_head="linear")
    assert (found.form, list(found.ndcg), found.head.network) == ("linear", ["linear"], None)


def test_the_same_seed_gives_the_same_head_and_leaves_torch_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    settings = RankerSettings(feature_head="network")
    train, stop = _lists(_middle, 0, 20, 5), _lists(_middle, 1, 20, 5)
    one, other = (
        fit_feature_head([train], [stop], settings, seed=3).head.state_dict() for _ in range(2)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), before)
