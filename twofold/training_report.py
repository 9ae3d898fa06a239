"""How the ranker's training went: a table of epochs for people, and its curves drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twofold.figures import new_figure, save_figure
from twofold.indexing.errors import ArtefactError, InputError
from twofold.terminal import say, say_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import HashableList

    from twofold.indexing.generation import Generation

Line = Mapping[str, Any]
COURSE = "ranker/training.jsonl"

# Value of an epoch -> head of its column.
COLUMNS = {
    "loss": "loss",
    "stop_loss": "stop loss",
    "log_loss": "log-loss",
    "ndcg10": "NDCG@10",
    "auc": "AUC",
    "accuracy": "accuracy",
    "ece": "ECE",
    "gap_log_loss": "gap log-loss",
    "gap_ndcg10": "gap NDCG@10",
}
# Value of an epoch -> title and axis of its panel.
PANELS = {
    "log_loss": ("Log-loss, early stopping", "nats a candidate"),
    "auc": ("AUC, early stopping", "share of pairs in order"),
    "ndcg10": ("NDCG@10, early stopping", "mean over lists, 0 to 1"),
    "accuracy": ("Accuracy, early stopping", "share of candidates"),
    "ece": ("Calibration error, early stopping", "ECE, probability"),
    "gap_log_loss": ("Gap in log-loss", "training − early stopping, nats"),
    "gap_ndcg10": ("Gap in NDCG@10", "training − early stopping"),
}
PLACES: list[HashableList[str]] = [
    ["loss", "loss", "log_loss"],
    ["ndcg10", "auc", "accuracy"],
    ["ece", "gap_log_loss", "gap_ndcg10"],
]
TRAIN, STOP, MARKED = "C0", "C1", "C3"


def course_of(generation: Generation) -> list[Line]:
    """Return the lines of an artefact's training, in order.

    Raises
    ------
    InputError
        If the artefact holds none.
    ArtefactError
        If its file is damaged.
    """
    if not generation.has(COURSE):
        raise InputError(
            f"{generation.root} holds no course of a training: its ranker was trained before "
            "courses were kept, or it has none; build again with ranker.train = true"
        )
    return read_course(generation.path(COURSE))


def read_course(path: Path) -> list[Line]:
    """Return the lines of a ``training.jsonl``.

    Raises
    ------
    ArtefactError
        If a line is not whole.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        sound = all({"kind", "number", "seconds"} <= line.keys() for line in lines)
    except (OSError, ValueError, AttributeError) as error:
        raise ArtefactError(
            f"{path} is not whole ({error}); restore it or build the artefact again"
        ) from error
    if not sound:
        raise ArtefactError(f"{path} is not the course of a training; build the artefact again")
    return lines


def epochs_of(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of epochs."""
    return [line for line in lines if line["kind"] == "epoch"]


def best_of(lines: Sequence[Line]) -> int | None:
    """Return the number of one training's best epoch, ``None`` where none was told to be best.

    An epoch is told to be best when it is the best so far, so it is the last of those.
    """
    return max((int(line["number"]) for line in epochs_of(lines) if line.get("best")), default=None)


def runs_of(lines: Sequence[Line]) -> list[list[Line]]:
    """Return the lines of each training where several rankers were trained: each has an epoch 0."""
    runs: list[list[Line]] = []
    for line in lines:
        if not runs or (line["kind"] == "epoch" and line["number"] == 0 and epochs_of(runs[-1])):
            runs.append([])
        runs[-1].append(line)
    return runs


def show_training(lines: Sequence[Line]) -> None:
    """Say what each epoch brought, the best marked.

    Parameters
    ----------
    lines
        As of :func:`course_of`.
    """
    runs = runs_of(lines)
    names = [name for name in COLUMNS if any(line.get(name) is not None for line in lines)]
    rows = []
    for number, run in enumerate(runs, start=1):
        best = best_of(run)
        for line in epochs_of(run):
            marked = f"{line['number']} *" if line["number"] == best else str(line["number"])
            row: dict[str, Any] = {"run": number} if len(runs) > 1 else {}
            row |= {"epoch": marked}
            row |= {COLUMNS[name]: _number(line.get(name)) for name in names}
            rows.append(row | {"seconds": round(line["seconds"])})
    say("\nThe ranker's training, measured on early-stopping users; * is the best epoch:")
    say_rows(rows, as_json=False)


def plot_training(lines: Sequence[Line], path: Path) -> None:
    """Draw the course of a training to a file, a panel a measure, the best epoch marked.

    Parameters
    ----------
    lines
        As of :func:`course_of`; of several trainings each has a line of its own.
    path
        Where to; its ending says in which form (png, svg, pdf).

    Raises
    ------
    InputError
        If no epoch was told, or the file cannot be written.
    MissingDependencyError
        If matplotlib is not installed.
    """
    runs = runs_of(lines)
    if not epochs_of(lines):
        raise InputError("there is nothing to draw: the training ended before its first epoch")
    figure = new_figure("training", (13, 10))
    panels = figure.subplot_mosaic(PLACES)
    _draw_losses(panels["loss"], runs)
    for name, (title, unit) in PANELS.items():
        _draw_epochs(panels[name], runs, name)
        panels[name].set_title(title, loc="left", fontsize="medium")
        panels[name].set_ylabel(unit)
    figure.suptitle(_headline(runs), fontsize="x-large")
    save_figure(figure, path)


def _headline(runs: Sequence[Sequence[Line]]) -> str:
    spent = f"{runs[-1][-1]['seconds']:,.0f} s"
    if len(runs) > 1:
        return f"Training of {len(runs)} rankers in {spent}"
    n_epochs, best = epochs_of(runs[0])[-1]["number"], best_of(runs[0])
    kept = "" if best is None else f", epoch {best} is the best"
    return f"Training of the ranker: {n_epochs} epochs in {spent}{kept}"


def _draw_losses(axes: Axes, runs: Sequence[Sequence[Line]]) -> None:
    """Draw the loss of steps, smoothed over its noise, and that of the early-stopping lists."""
    for number, run in enumerate(runs):
        label = not number
        steps = [line for line in run if line["kind"] == "step" and _known(line, "loss")]
        across, losses = [line["number"] for line in steps], [line["loss"] for line in steps]
        axes.plot(across, losses, color=TRAIN, alpha=0.25, linewidth=0.8)
        axes.plot(
            across, smoothed(losses), color=TRAIN, label="training, smoothed" if label else None
        )
        ends = [one for one in _ends(run) if _known(one[1], "stop_loss")]
        axes.plot(
            [step for step, _ in ends],
            [line["stop_loss"] for _, line in ends],
            color=STOP,
            marker="o",
            label="early stopping, after each epoch" if label else None,
        )
        best = [one for one in ends if one[1]["number"] == best_of(run)]
        for step, line in best:
            _mark(axes, step, line["stop_loss"], "best epoch" if label else None)
    axes.set_title("Loss", loc="left", fontsize="medium")
    axes.set_xlabel("step")
    axes.set_ylabel("loss of the objective")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _draw_epochs(axes: Axes, runs: Sequence[Sequence[Line]], name: str) -> None:
    """Draw one measure over the epochs, or say that there is none."""
    from matplotlib.ticker import MaxNLocator

    drawn = False
    for run in runs:
        told = [line for line in epochs_of(run) if _known(line, name)]
        axes.plot([e["number"] for e in told], [e[name] for e in told], color=STOP, marker="o")
        for line in told:
            if line["number"] == best_of(run):
                _mark(axes, line["number"], line[name])
        drawn = drawn or bool(told)
    if not drawn:
        axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
    if name.startswith("gap"):
        axes.axhline(0, color="grey", linewidth=1, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)


def _mark(axes: Axes, across: float, up: float, label: str | None = None) -> None:
    axes.plot(
        [across],
        [up],
        marker="*",
        markersize=13,
        color=MARKED,
        markeredgecolor="black",
        linestyle="",
        label=label,
        zorder=3,
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the mean of each value and its neighbours, a twentieth of all around it.

    Towards both ends there are fewer neighbours, as many on either side, so a line stays a line.
    """
    sums, half = np.cumsum([0.0, *values]), round(len(values) / 40)
    reach = [min(half, at, len(values) - 1 - at) for at in range(len(values))]
    return [
        float(sums[at + one + 1] - sums[at - one]) / (2 * one + 1) for at, one in enumerate(reach)
    ]


def _ends(run: Sequence[Line]) -> Iterator[tuple[int, Line]]:
    """Yield each epoch with the last step that was told before it."""
    step = 0
    for line in run:
        if line["kind"] == "step":
            step = line["number"]
        else:
            yield step, line


def _known(line: Line, name: str) -> bool:
    return line.get(name) is not None


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
