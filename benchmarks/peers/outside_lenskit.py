"""LensKit's own models: runs in LensKit's own environment.

Told and answering as the text of ``outside.py`` says; imports nothing of twofold. ``model`` among
the settings names the model, the rest are its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lenskit.data import Dataset, ItemList, RecQuery, from_interactions_df
from lenskit.flexmf import FlexMFImplicitScorer
from lenskit.knn import ItemKNNScorer
from lenskit.training import TrainingOptions

MODELS = {"item-knn": ItemKNNScorer, "flexmf": FlexMFImplicitScorer}


def say(text: str) -> None:
    """Write a line for whoever started this."""
    sys.stderr.write(f"{time.perf_counter() - BEGUN:.1f} s: {text}\n")


def dataset_of(log: Any) -> Dataset:
    """Return the log as LensKit reads it, each pair of user and item once."""
    pairs = pd.DataFrame({"user_id": log["users"], "item_id": log["items"]})
    return from_interactions_df(pairs.drop_duplicates())


def scored(model: Any, dataset: Dataset, user: int, items: ItemList) -> Any:
    """Return the scores of all items for a user, NaN where the model has none."""
    history = dataset.user_row(user)
    return model(RecQuery(user_id=user, history_items=history), items).scores()


def main(folder: Path) -> None:
    """Train on the folder's log, and write lists for the users who ask."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    log, asked = np.load(folder / "log.npz"), np.load(folder / "asked.npz")
    settings = dict(task["settings"])
    model = MODELS[settings.pop("model")](**settings)
    dataset = dataset_of(log)
    # Compiling takes longer than these trainings, and needs a compiler.
    plain = {"LK_TORCH_COMPILE": "0"}
    model.train(dataset, TrainingOptions(rng=task["seed"], device="cpu", environment=plain))
    say("trained")
    known = np.unique(log["items"])
    items, with_history = ItemList(item_ids=known), set(log["users"].tolist())
    k, users = task["k"], asked["users"].tolist()
    indptr, indices = asked["indptr"], asked["indices"]
    out = np.full((len(users), k), -1, dtype=np.int64)
    told = np.full((len(users), k), -np.inf, dtype=np.float32)
    for row, user in enumerate(users):
        if user not in with_history:
            continue
        scores = np.nan_to_num(scored(model, dataset, user, items), nan=-np.inf)
        hidden = indices[indptr[row] : indptr[row + 1]]
        scores[np.isin(known, hidden)] = -np.inf
        order = np.argsort(-scores, kind="stable")[:k]
        order = order[scores[order] > -np.inf]
        out[row, : len(order)], told[row, : len(order)] = known[order], scores[order]
    np.savez(folder / "lists.npz", items=out, scores=told)
    say("answered")


if __name__ == "__main__":
    BEGUN = time.perf_counter()
    main(Path(sys.argv[1]))
