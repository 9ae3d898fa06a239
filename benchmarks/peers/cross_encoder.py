"""What people rerank with today: sentence-transformers' cross-encoder, fine-tuned plainly.

It reads two texts and learns by binary cross-entropy. Where it reranks lists these are the last ten
items of a history and a candidate, and it learns from a hit and a few misses of each list: the very
lists that twofold's ranker is trained on, whose histories end before their labels. It makes no
lists of its own.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.cache import cache_folder
from twofold.indexing.durable import canonical_json
from twofold.indexing.errors import InputError
from twofold.indexing.models import ResolvedModel, quiet_loading
from twofold.indexing.progress import Progress
from twofold.ranking.lists import Lists
from twofold.retrieval.queries import Queries

Int64s = npt.NDArray[np.int64]
HISTORY = 10
SEPARATOR = " ; "
USERS, USERS_A_PART = 500, 100


@dataclass(frozen=True)
class Recipe:
    """How the cross-encoder is fine-tuned.

    Parameters
    ----------
    steps
        Optimiser steps.
    lists, negatives
        Lists a step, and misses of each beside its hit.
    learning_rate
        Of AdamW; it rises over a tenth of the steps and falls to 0.
    max_length
        Tokens of a pair; longer ones lose the beginning of the longer text, the oldest items.
    bfloat16
        Whether the forward pass computes in bfloat16; weights stay float32.
    """

    steps: int = 90
    lists: int = 8
    negatives: int = 3
    learning_rate: float = 5e-5
    max_length: int = 256
    bfloat16: bool = True


class Pairs(NamedTuple):
    """What a step learns from: texts of histories and candidates, and which were taken."""

    histories: list[str]
    candidates: list[str]
    labels: npt.NDArray[np.float32]


def history_texts(queries: Queries, texts: Sequence[str]) -> list[str]:
    """Return each query's last ten items as one text, oldest first."""
    last = queries.last(HISTORY)
    return [
        SEPARATOR.join(texts[item] for item in last.items[begin:end])
        for begin, end in zip(last.indptr[:-1], last.indptr[1:], strict=True)
    ]


def seeded_users(n_users: int, seed: int, most: int = USERS) -> tuple[Int64s, ...]:
    """Return places of the users to rerank, in parts that each take minutes.

    Parameters
    ----------
    n_users
        How many there are.
    seed
        Where chance begins.
    most
        How many to draw.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(n_users)[:most]).astype(np.int64)
    return tuple(drawn[at : at + USERS_A_PART] for at in range(0, len(drawn), USERS_A_PART))


def pairs_of(
    windows: Sequence[Lists], texts: Sequence[str], recipe: Recipe, seed: int
) -> list[Pairs]:
    """Return what each step learns from, every list with a hit in turn, in an order by chance.

    Raises
    ------
    InputError
        If no list holds both a hit and a miss.
    """
    histories = [history_texts(one.queries, texts) for one in windows]
    places = [
        (w, int(row))
        for w, one in enumerate(windows)
        for row in np.flatnonzero(one.labels.any(axis=1) & (one.mask() & ~one.labels).any(axis=1))
    ]
    if not places:
        raise InputError("the cross-encoder needs a list with a hit and a miss; there is none")
    rng = np.random.default_rng(seed)
    wanted = recipe.steps * recipe.lists
    turns = -(-wanted // len(places))
    order = np.concatenate([rng.permutation(len(places)) for _ in range(turns)])[:wanted]
    out = []
    for some in order.reshape(recipe.steps, recipe.lists):
        made = Pairs([], [], np.empty(0, dtype=np.float32))
        labels: list[float] = []
        for w, row in (places[place] for place in some):
            items = windows[w].candidates.items[row]
            hits = np.flatnonzero(windows[w].labels[row])
            misses = np.flatnonzero(~windows[w].labels[row] & (items >= 0))
            few = min(recipe.negatives, len(misses))
            chosen = [rng.choice(hits), *rng.choice(misses, few, replace=False)]
            made.histories.extend([histories[w][row]] * len(chosen))
            made.candidates.extend(texts[items[place]] for place in chosen)
            labels.extend([1.0, *[0.0] * few])
        out.append(made._replace(labels=np.array(labels, dtype=np.float32)))
    return out


def train(
    steps: Sequence[Pairs],
    backbone: ResolvedModel,
    recipe: Recipe,
    *,
    seed: int,
    threads: int,
    progress: Progress,
) -> Path:
    """Return the folder of a fine-tuned cross-encoder; it lies in the cache and is made once.

    Parameters
    ----------
    steps
        What each step learns from.
    backbone
        The model to start from; the head on top is new.
    recipe
        How it is trained.
    seed
        Of the head, the order and dropout.
    threads
        Of torch.
    progress
        Told of every step.
    """
    folder = _folder(steps, backbone, recipe, seed, threads)
    if folder.exists():
        return folder
    model = _model(backbone.folder, recipe.max_length, seed)
    _fit(model, steps, recipe, seed, threads, progress)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: half a model is never seen.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="cross-encoder-") as made:
        model.save_pretrained(str(Path(made) / "model"), create_model_card=False)
        if not folder.exists():
            shutil.move(Path(made) / "model", folder)
    return folder


def scores(
    folder: Path,
    histories: Sequence[str],
    candidates: Sequence[Sequence[str]],
    *,
    bfloat16: bool = True,
    batch_size: int = 32,
) -> npt.NDArray[np.float32]:
    """Return the logit of each candidate, ``-inf`` behind shorter lists, ``float32 (n, m)``.

    Parameters
    ----------
    folder
        What :func:`train` returned.
    histories
        As of :func:`history_texts`.
    candidates
        The texts of each list.
    bfloat16
        Whether to compute in bfloat16.
    batch_size
        Pairs a batch.
    """
    import torch

    model = _model(folder, None, 0)
    width = max((len(one) for one in candidates), default=0)
    out = np.full((len(histories), width), -np.inf, dtype=np.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        for row, (history, some) in enumerate(zip(histories, candidates, strict=True)):
            if some:
                out[row, : len(some)] = model.predict(
                    [(history, text) for text in some],
                    batch_size=batch_size,
                    activation_fn=torch.nn.Identity(),
                    show_progress_bar=False,
                )
    return out


def _folder(
    steps: Sequence[Pairs], backbone: ResolvedModel, recipe: Recipe, seed: int, threads: int
) -> Path:
    """Return where a cross-encoder is kept, by all that it depends on."""
    read = hashlib.sha256()
    for step in steps:
        told = [step.histories, step.candidates, step.labels.tolist()]
        read.update(canonical_json(told).encode())
    key = {
        "pairs": read.hexdigest(),
        "backbone": backbone.fingerprint,
        "recipe": asdict(recipe),
        "seed": seed,
        "threads": threads,
    }
    name = hashlib.sha256(canonical_json(key).encode()).hexdigest()[:16]
    return cache_folder() / "benchmarks" / f"cross-encoder-{name}"


def _model(folder: Path, max_length: int | None, seed: int) -> Any:
    """Return the cross-encoder of a folder; a head that is not there yet is drawn by the seed."""
    import torch
    from sentence_transformers import CrossEncoder

    with torch.random.fork_rng(devices=[]), quiet_loading():
        torch.manual_seed(seed)
        model = CrossEncoder(
            str(folder), num_labels=1, device="cpu", max_length=max_length, local_files_only=True
        )
    # A history stands oldest first: what is cut is its beginning.
    model.tokenizer.truncation_side = "left"
    return model


def _fit(
    model: Any,
    steps: Sequence[Pairs],
    recipe: Recipe,
    seed: int,
    threads: int,
    progress: Progress,
) -> None:
    """Train a cross-encoder, as its own ``BinaryCrossEntropyLoss`` does, one batch a step."""
    import torch
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    loss_of = BinaryCrossEntropyLoss(model)
    optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=0.01)
    rising = max(1, len(steps) // 10)
    falling = max(1, len(steps) - rising)

    def rate(step: int) -> float:
        return min((step + 1) / rising, (len(steps) - step) / falling)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    model.train()
    try:
        with (
            torch.random.fork_rng(devices=[]),
            progress.step("Fine-tune the cross-encoder", len(steps)) as task,
        ):
            torch.manual_seed(seed)  # of dropout
            for step in steps:
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bfloat16):
                    loss = loss_of([step.histories, step.candidates], torch.tensor(step.labels))
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                task.advance()
    finally:
        torch.set_num_threads(before)
    model.eval()
