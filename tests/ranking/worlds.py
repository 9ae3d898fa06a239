"""Small worlds for the ranker: item tables, queries and models with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from tests.indexing.tiny_models import WORDS
from twofold.ranking.calibration import Calibration
from twofold.ranking.items import ItemTables, tokenise_items
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.pretrained import backbone_from_pretrained
from twofold.ranking.ranker import Ranker
from twofold.ranking.relations import LowRank, Relations
from twofold.ranking.settings import RankerSettings
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

TEXT_DIM, FACTOR_DIM, N_FEATURES, N_KINDS, MAX_HISTORY = 12, 5, 3, 3, 4
N_ITEMS = 14
N_RELATIONS = 5
MOST_TOKENS = 12


def trained_by(settings: RankerSettings, **changes: Any) -> RankerSettings:
    """Return the settings with some of the training's changed."""
    return replace(settings, training=replace(settings.training, **changes))


def make_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def make_texts(n_items: int = N_ITEMS, seed: int = 0) -> list[str]:
    """Return texts of 0 to 7 words; item 0 has none."""
    rng = np.random.default_rng(seed)
    words = WORDS.split()
    return ["", *(" ".join(rng.choice(words, rng.integers(1, 8))) for _ in range(n_items - 1))]


def make_tables(folder: Path, texts: Sequence[str] | None = None, seed: int = 0) -> ItemTables:
    texts = make_texts() if texts is None else texts
    rng = np.random.default_rng(seed)
    tokenizer = make_tokenizer(folder)
    return ItemTables(
        tokenise_items(tokenizer, texts, MOST_TOKENS, 64, causal=tokenizer.cls_token is None),
        rng.normal(size=(len(texts), TEXT_DIM)).astype(np.float32),
        rng.normal(size=(len(texts), FACTOR_DIM)).astype(np.float32),
        make_relations(len(texts), seed),
    )


def make_relations(n_items: int = N_ITEMS, seed: int = 0, rank: int = 3) -> Relations:
    """Return two random relations, neither symmetric, with empty rows, and a regression."""
    rng = np.random.default_rng(seed)
    matrices = [sp.random(n_items, n_items, 0.3, "csr", np.float32, rng) for _ in range(2)]
    for one in matrices:
        one.sort_indices()
    taken = sp.random(40, n_items, 0.3, "csr", np.float32, rng)
    return Relations.of(matrices, taken, seed=seed, rank=rank, regression_rank=rank)


def parts_of(whole: LowRank) -> list[LowRank]:
    """Return each of several relations by itself."""
    ends = np.cumsum(whole.ranks)
    return [
        LowRank(whole.left[:, end - rank : end], whole.right[:, end - rank : end], (rank,))
        for rank, end in zip(whole.ranks, ends, strict=True)
    ]


def make_ranker(folder: Path) -> Ranker:
    """Return a ranker of one joint layer with random weights over `make_tables`."""
    tokenizer, model = make_tokenizer(folder), randomise(make_model(folder, 1))
    calibration = Calibration("temperature")
    return Ranker(model, make_tables(folder), tokenizer, calibration, RankerSettings())


def make_served(n: int, *, short: Sequence[int] = (), by: int = 1) -> Candidates:
    """Return `n` rows of all items in order, those in `short` without the last `by`."""
    items = np.tile(np.arange(N_ITEMS, dtype=np.int64), (n, 1))
    scores = -np.tile(np.arange(N_ITEMS, dtype=np.float32), (n, 1))
    for row in short:
        items[row, -by:], scores[row, -by:] = -1, -np.inf
    return Candidates(items, scores, make_features(items.shape))


def make_model(
    folder: Path,
    joint_layers: int,
    *,
    dropout: float = 0.1,
    max_history: int = MAX_HISTORY,
    prefix: int = 0,
) -> RankerModel:
    """Return a ranker whose encoder is pretrained and whose new weights are as they start."""
    backbone = backbone_from_pretrained(str(folder), joint_layers, dropout)
    shape = ModelShape(
        backbone=backbone.shape,
        joint_layers=len(backbone.joint),
        n_features=N_FEATURES,
        text_dim=TEXT_DIM,
        factor_dim=FACTOR_DIM,
        n_relations=N_RELATIONS,
        n_kinds=N_KINDS,
        max_history=max_history,
        prefix=prefix,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RankerModel(shape, dropout)
    model.backbone.load_state_dict(backbone.state_dict())
    return model.eval()


def randomise(model: RankerModel, seed: int = 1) -> RankerModel:
    """Fill every new weight of `model` with random values, so that no part is silent."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if not name.startswith("backbone."):
                one.copy_(torch.randn(one.shape, generator=generator) * 0.5)
    return model


def make_queries(
    histories: Sequence[Sequence[int]],
    n_items: int = N_ITEMS,
    *,
    times: npt.NDArray[np.int64] | None = None,
) -> Queries:
    """Return queries with these histories, oldest item first, each four times as far apart."""
    if times is None:
        spaced = [1000 * 4**place for one in histories for place in range(len(one))]
        times = np.array(spaced, dtype=np.int64)
    indptr = np.cumsum([0, *(len(one) for one in histories)]).astype(np.int64)
    items = np.array([item for one in histories for item in one], dtype=np.int64)
    return Queries(
        users=np.arange(len(histories), dtype=np.int64),
        indptr=indptr,
        items=items,
        kinds=(items % N_KINDS).astype(np.int16),
        weights=np.ones(len(items), dtype=np.float32),
        times=times,
        steps=np.arange(len(items), dtype=np.int32),
        excluded=sp.csr_matrix((len(histories), n_items), dtype=bool),
    )


def make_features(shape: tuple[int, int], seed: int = 2) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, N_FEATURES)).astype(np.float32)
