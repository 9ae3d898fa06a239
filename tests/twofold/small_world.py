"""A small world of two tastes, and settings under which its artefact is built in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.build import build
from twofold.indexing.text import TextSettings
from twofold.ranking.settings import RankerSettings
from twofold.ranking.training_settings import TrainingSettings
from twofold.settings import Settings

N_USERS, N_ITEMS, N_EVENTS = 80, 60, 12
TASTES = ("space robot opera war movie", "love nail polish red comedy")


def small_tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return interactions and items: even users like the first half of the items, odd the other."""
    rng = np.random.default_rng(7)
    half = N_ITEMS // 2
    chosen = np.stack(
        [
            half * (user % 2) + rng.choice(half, N_EVENTS, replace=False, p=_falling(half))
            for user in range(N_USERS)
        ]
    )
    chosen[:, 0] = (chosen[:, 0] + half) % N_ITEMS
    interactions = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in np.repeat(np.arange(N_USERS), N_EVENTS)],
            "item_id": [f"i{item}" for item in chosen.ravel()],
            "timestamp": 1_700_000_000 + 3600 * rng.permutation(chosen.size),
        }
    )
    words = [TASTES[item // half].split() for item in range(N_ITEMS)]
    titles = [" ".join(rng.choice(one, 3, replace=False)) for one in words]
    items = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(N_ITEMS)],
            "title": titles,
            "year": [1980 + item % 40 for item in range(N_ITEMS)],
            "shelf": [item % 6 for item in range(N_ITEMS)],
        }
    )
    return interactions, items


def seen_by_user() -> dict[str, set[str]]:
    """Return the items of each user's events."""
    interactions, _ = small_tables()
    out: dict[str, set[str]] = {}
    for user, item in interactions.select("user_id", "item_id").iter_rows():
        out.setdefault(user, set()).add(item)
    return out


def small_settings(sentence_model: Path, bert: Path) -> Settings:
    """Return settings of tiny models on one thread."""
    ranker = RankerSettings(
        model=str(bert),
        joint_layers=1,
        rerank=20,
        max_history=8,
        training=TrainingSettings(max_epochs=1, negatives=7),
    )
    return Settings(threads=1, text=TextSettings(model=str(sentence_model)), ranker=ranker)


def build_small(out: Path, settings: Settings) -> str:
    """Build the small world into `out` and return its content hash."""
    return build(*small_tables(), out, settings).content_hash


def _falling(n: int) -> npt.NDArray[np.float64]:
    weights = np.arange(1, n + 1, dtype=np.float64) ** -0.5
    return np.asarray(weights / weights.sum(), dtype=np.float64)
