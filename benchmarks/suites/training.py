"""What each technique of the ranker's training is worth: one on, all else as by default.

Every cell trains one ranker on the same label windows and reranks the same lists of the test. Cells
that stand recorded under the same fingerprint (code, settings, data, versions) are not run again,
so a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data.datasets import DataSet
from benchmarks.harness.fingerprints import fingerprint
from benchmarks.harness.records import recorded
from benchmarks.stands.bench import Bench, Floats
from benchmarks.suites.techniques import CELLS
from twofold.cache import cache_folder
from twofold.evaluation.classification import classify
from twofold.evaluation.hardware import library_versions
from twofold.evaluation.intervals import Interval, bootstrap_mean
from twofold.evaluation.judgements import Judgements
from twofold.evaluation.metrics import judge
from twofold.indexing.artefact import open_artefact
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.progress import Progress
from twofold.ranking.ranker import Ranker
from twofold.settings import Settings, load_settings
from twofold.threads import torch_threads

SUITE, DEFAULT = "training", "default"
SOURCES = ("indexing", "retrieval", "ranking", "evaluation", "twofold/lessons.py")


def measure_training(
    data: DataSet, overrides: tuple[str, ...], *, cells: Sequence[str], progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield one record a cell that is not recorded yet, the default first.

    Parameters
    ----------
    data
        The data set.
    overrides
        Settings beside its own, for all cells.
    cells
        Names of :data:`~benchmarks.suites.techniques.CELLS`; none for all of them.
    progress
        Told of every step.
    """
    settings = load_settings(None, (*data.settings, *overrides))
    dataset = load_dataset(
        data.interactions, data.items, settings.data, seed=settings.seed, progress=progress
    )
    names = dict.fromkeys((DEFAULT, *(cells or CELLS)))
    wanted = {name: _settings_of(data, overrides, name) for name in names}
    prints = {name: _print(one, dataset) for name, one in wanted.items()}
    known = {row["fingerprint"] for row in recorded(SUITE) if row["dataset"] == data.name}
    missing = [name for name in wanted if prints[name] not in known]
    if not missing:
        return
    if not _values_file(prints[DEFAULT]).exists():
        # Pairs need the values of its users, which are kept on this machine alone.
        missing = list(dict.fromkeys((DEFAULT, *missing)))
    with torch_threads(settings.threads):
        bench = Bench.of(data, settings, dataset, progress)
        for name in missing:
            yield _cell(bench, name, wanted[name], prints)


def _cell(bench: Bench, name: str, settings: Settings, prints: Mapping[str, str]) -> dict[str, Any]:
    """Train one ranker, measure it, and keep the test users' values for pairs."""
    _forget_peak()
    begun = time.perf_counter()
    ranker, about = bench.taught(settings)
    seconds, peak = time.perf_counter() - begun, _peak_mb()
    logits = ranker.logits(bench.queries, bench.served)
    values = bench.ndcg(bench.reranked(ranker, logits))
    silent = bench.ndcg(bench.reranked(ranker, ranker.without_text(bench.queries, bench.served)))
    _keep(prints[name], values)
    default = np.load(_values_file(prints[DEFAULT]))
    pairs = {DEFAULT: default, "text zeroed": silent, "fused stage one": bench.ndcg(bench.served)}
    pairs |= bench.opponents
    kept = min(about["epochs"], key=lambda one: one["stop_loss"])
    return {
        "suite": SUITE,
        **bench.about(),
        "cell": name,
        "overrides": list(CELLS[name]),
        "ndcg10": _interval(bootstrap_mean(values, 0)),
        "differences": {
            other: _interval(bootstrap_mean(values - theirs, 0)) for other, theirs in pairs.items()
        },
        "relative_to_default": _interval(bootstrap_mean((values - default) / default.mean(), 0)),
        **_probabilities(bench, ranker, logits),
        "stop_loss": kept["stop_loss"],
        "stop_ndcg10": kept["stop_ndcg"],
        "best_epoch": about["best_epoch"],
        "n_epochs": about["epochs"][-1]["number"],
        "n_trained": about["n_trained"],
        "encoder_share": about["encoder_share"],
        "seconds": seconds,
        "peak_rss_mb": peak,
        "fingerprint": prints[name],
        "settings": _told(settings)["ranker"]["training"],
    }


def _probabilities(
    bench: Bench, ranker: Ranker, logits: npt.NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """Return how good the probabilities are on the served lists of the test."""
    read = np.flatnonzero(ranker.reads(bench.queries))
    served, truth = bench.served.take(read), bench.truth.take(read)
    told = ranker.calibration.probabilities(logits[read])
    judged = Judgements.of_lists(told, judge(served.items, truth).hits > 0, served.items >= 0)
    found = classify(judged, 0, n=200, n_ranked=50)
    names = ("auc", "pr_auc", "log_loss", "ece", "base_rate")
    return {name: _interval(found[name]) for name in names}


def _settings_of(data: DataSet, overrides: tuple[str, ...], name: str) -> Settings:
    return load_settings(None, (*data.settings, *overrides, *CELLS[name]))


def _told(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON values, another artefact by what it holds and not by its place."""
    # Where a training is told, or kept for a while, does not change what it learns.
    training = replace(settings.ranker.training, report_to=(), checkpoint_steps=0)
    if training.init_from is not None:
        known = str(open_artefact(training.init_from).manifest["content_hash"])
        training = replace(training, init_from=known)
    return asdict(replace(settings, ranker=replace(settings.ranker, training=training)))


def _print(settings: Settings, dataset: Dataset) -> str:
    return fingerprint(SOURCES, _told(settings), dataset.fingerprint, library_versions())


def _values_file(print_: str) -> Path:
    """Return where the values of a cell's test users are kept, for pairs with later cells."""
    return cache_folder() / "benchmarks" / SUITE / f"{print_}.npy"


def _keep(print_: str, values: Floats) -> None:
    file = _values_file(print_)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, values)


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _forget_peak() -> None:
    """Let the kernel count peak memory from now on, the rankers of earlier cells gone."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """Return the most memory held since then, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
