"""SASRec (Kang and McAuley, ICDM 2018) through RecTools: runs in RecTools' own environment.

Told and answering as the text of ``outside.py`` says; imports nothing of twofold. A run is bounded
by a number of optimiser steps, so that it costs alike on logs of any number of users.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Course(pytorch_lightning.Callback):  # type: ignore[misc]
    """Says how the training goes, an epoch a line."""

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Say the loss, and how long the training runs."""
        loss = float(trainer.callback_metrics.get("train_loss", math.nan))
        say(f"epoch {trainer.current_epoch}, step {trainer.global_step}, loss {loss:.4f}")


def say(text: str) -> None:
    """Write a line for whoever started this."""
    sys.stderr.write(f"{time.perf_counter() - BEGUN:.1f} s: {text}\n")


def trainer(max_steps: int) -> Any:
    """Return what trains: on the CPU, for so many steps, writing nothing."""
    return pytorch_lightning.Trainer(
        max_epochs=-1,
        max_steps=max_steps,
        accelerator="cpu",
        devices=1,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Course()],
    )


def dataset_of(log: Any) -> Dataset:
    """Return the log as RecTools reads it; a row's place in its user's sequence is its time."""
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: log["users"],
                Columns.Item: log["items"],
                Columns.Weight: np.ones(len(log["users"]), dtype=np.float32),
                Columns.Datetime: pd.to_datetime(log["positions"], unit="s"),
            }
        )
    )


def best_allowed(
    shown: pd.DataFrame, users: Any, indptr: Any, indices: Any, k: int, n_items: int
) -> tuple[Any, Any]:
    """Return the first `k` of each user that are not excluded, and their scores."""
    items = np.full((len(users), k), -1, dtype=np.int64)
    scores = np.full((len(users), k), -np.inf, dtype=np.float32)
    rows = pd.Series(np.arange(len(users)), index=users)[shown[Columns.User]].to_numpy()
    found, told = shown[Columns.Item].to_numpy(), shown[Columns.Score].to_numpy()
    hidden = np.repeat(np.arange(len(users)), np.diff(indptr)) * n_items + indices
    kept = ~np.isin(rows * n_items + found, hidden)
    rows, found, told = rows[kept], found[kept], told[kept]
    starts = np.searchsorted(rows, np.arange(len(users) + 1))
    places = np.arange(len(rows)) - starts[rows]
    first = places < k
    items[rows[first], places[first]] = found[first]
    scores[rows[first], places[first]] = told[first]
    return items, scores


def main(folder: Path) -> None:
    """Train on the folder's log, and write lists for the users who ask."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    log, asked = np.load(folder / "log.npz"), np.load(folder / "asked.npz")
    torch.set_num_threads(task["threads"])
    pytorch_lightning.seed_everything(task["seed"], workers=True)
    # Deterministic kernels alone; filling fresh memory beside them only takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    settings = dict(task["settings"])
    steps = settings.pop("steps")
    model = SASRecModel(
        **settings,
        deterministic=True,
        get_trainer_func=trainer,
        get_trainer_func_kwargs={"max_steps": steps},
        recommend_torch_device="cpu",
        recommend_n_threads=task["threads"],
    )
    dataset = dataset_of(log)
    model.fit(dataset)
    say("trained")
    # Without repeats RecTools leaves out what it knows of the user. What is excluded beyond that,
    # dislikes above all, is asked for on top and taken out.
    hidden = np.repeat(asked["users"], np.diff(asked["indptr"])) * task["n_items"]
    hidden += asked["indices"]
    viewed = log["users"] * task["n_items"] + log["items"]
    beyond = np.ones(len(hidden), bool) if task["repeat"] else ~np.isin(hidden, viewed)
    most = int(np.bincount(hidden[beyond] // task["n_items"]).max(initial=0))
    users = asked["users"][np.isin(asked["users"], log["users"])]
    shown = model.recommend(
        users=users,
        dataset=dataset,
        k=min(task["k"] + most, task["n_items"]),
        filter_viewed=not task["repeat"],
        on_unsupported_targets="ignore",
    )
    # In order of the users who ask, each user's items as they were ranked.
    place = pd.Series(np.arange(len(asked["users"])), index=asked["users"])
    shown = shown.iloc[np.argsort(place[shown[Columns.User]].to_numpy(), kind="stable")]
    items, scores = best_allowed(
        shown, asked["users"], asked["indptr"], asked["indices"], task["k"], task["n_items"]
    )
    np.savez(folder / "lists.npz", items=items, scores=scores)
    say("answered")


if __name__ == "__main__":
    BEGUN = time.perf_counter()
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    main(Path(sys.argv[1]))
