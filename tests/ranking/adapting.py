"""A ranker that takes a few steps with an adapter, its lists some of vectors and some of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.ranking.worlds import (
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_tables,
    randomise,
)
from twofold.ranking.adapters import Adapter, adapted
from twofold.ranking.batches import evidence_batch, history_as_text, history_batch
from twofold.ranking.digests import ItemDigests
from twofold.ranking.head import TextQueries
from twofold.ranking.items import ItemTables
from twofold.ranking.model import RankerModel
from twofold.ranking.scoring import logits_of
from twofold.ranking.training_settings import AdapterSettings, TrainingSettings

PAST = ((1, 2, 3), (4,), (), (5, 6))
SPOKEN = np.array([False, True, False, True])
STEPS, RATE = 8, 1e-2


def settings_of(kind: str, layers: str = "joint", **changes: Any) -> TrainingSettings:
    """Return settings with an adapter of a small rank."""
    values: dict[str, Any] = {"kind": kind, "rank": 2, "alpha": 8.0, "tokens": 3, **changes}
    wanted: Any = layers
    return TrainingSettings(layers=wanted, adapter=AdapterSettings(**values))


def model_for(folder: Path, joint: int, settings: TrainingSettings) -> RankerModel:
    """Return a ranker of the shape that the settings need, no part silent."""
    prefix = settings.adapter.tokens if settings.adapter.kind == "prefix" else 0
    return randomise(make_model(folder, joint, prefix=prefix))


def texts_of(
    tables: ItemTables, past: Sequence[Sequence[int]] = PAST, spoken: npt.NDArray[np.bool_] = SPOKEN
) -> list[npt.NDArray[np.int32]]:
    queries = make_queries(past)
    return list(history_as_text(queries, spoken, tables, limit=40, max_history=3).rows)


def batch_logits(model: RankerModel, tables: ItemTables, *, said: bool = True) -> Tensor:
    """Return logits of all items, with their gradient, ``float32 (4, n_items)``."""
    queries, m = make_queries(PAST), N_ITEMS
    items = np.tile(np.arange(m, dtype=np.int64), (len(PAST), 1))
    longest = model.shape.max_history
    told = texts_of(tables) if said else None
    history = history_batch(queries, tables, max_history=longest, as_text=told)
    states, lengths = tables.token_states(items.ravel(), model.backbone)
    soft = tables.soft(items.ravel())
    return model.logits(
        model.blocks(states, lengths, soft),
        model.remember(history),
        torch.from_numpy(make_features((len(PAST), m))),
        evidence_batch(queries, items, tables, max_history=longest),
        TextQueries.none(len(PAST), m),
    )


def take_steps(
    model: RankerModel,
    tables: ItemTables,
    adapter: Adapter,
    optimiser: torch.optim.Optimizer | None = None,
    steps: Sequence[int] = range(1, STEPS + 1),
    *,
    said: bool = True,
) -> None:
    """Train as a training does: backward, optimiser, adapter, and no gradient left."""
    trained = [one for one in model.parameters() if one.requires_grad]
    optimiser = optimiser or torch.optim.AdamW(trained, RATE, weight_decay=0.0)
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand((len(PAST), N_ITEMS), generator=generator) < 0.3).float()
    model.train()
    for step in steps:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)
            found = batch_logits(model, tables, said=said)
            loss = F.binary_cross_entropy_with_logits(found, labels)
        penalty = adapter.penalty()
        if penalty is not None:
            loss = loss + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        adapter.stepped(step)
        optimiser.zero_grad()
    model.eval()


def trained(
    folder: Path, joint: int, settings: TrainingSettings, *, steps: int = STEPS
) -> tuple[RankerModel, ItemTables, Adapter]:
    """Return a ranker that took steps with an adapter, and what it reads of items."""
    model, tables = model_for(folder, joint, settings), make_tables(folder)
    adapter = adapted(model, settings, total_steps=steps)
    take_steps(model, tables, adapter, steps=range(1, steps + 1))
    return model, tables, adapter


def scores(
    model: RankerModel, tables: ItemTables, digests: ItemDigests | None = None
) -> npt.NDArray[np.float32]:
    """Return served logits of all items, ``float32 (4, n_items)``."""
    items = np.tile(np.arange(N_ITEMS, dtype=np.int64), (len(PAST), 1))
    features, texts = make_features(items.shape), texts_of(tables)
    queries = make_queries(PAST)
    return logits_of(model, tables, queries, items, features, as_text=texts, digests=digests)
