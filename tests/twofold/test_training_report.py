"""The course of a training is shown and drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from twofold import cli, figures, training_report
from twofold.indexing.artefact import begin_generation
from twofold.indexing.errors import ArtefactError, InputError, MissingDependencyError
from twofold.training_report import (
    COLUMNS,
    PANELS,
    best_of,
    plot_training,
    read_course,
    runs_of,
    show_training,
    smoothed,
)

Captured = pytest.CaptureFixture[str]
STOP_LOSSES = (0.7, 0.3, 0.2, 0.25)


def course(losses: tuple[float, ...] = STOP_LOSSES) -> list[dict[str, Any]]:
    """Return the lines of a training whose best epoch is that of the lowest loss."""
    lines: list[dict[str, Any]] = []

    def tell(kind: str, number: int, **values: float | None) -> None:
        lines.append({"kind": kind, "number": number, "seconds": len(lines) * 30.0, **values})

    for epoch, loss in enumerate(losses):
        if epoch:
            for step in range(4 * epoch - 3, 4 * epoch + 1):
                tell("step", 10 * step, loss=loss + step / 100, learning_rate=1e-3)
        each = dict.fromkeys(COLUMNS, 0.1 + epoch / 50) | {"stop_loss": loss}
        each["gap_log_loss"] = -epoch / 10
        tell(
            "epoch",
            epoch,
            **{**each, "loss": each["loss"] if epoch else None},
            best=int(loss <= min(losses[: epoch + 1])),
        )
    return lines


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    with begin_generation(tmp_path / "films") as writer:
        write(writer.path("ranker/training.jsonl"), course())
        writer.commit({"counts": {"items": 0}})
    return tmp_path / "films"


def test_epochs_are_listed_and_the_best_is_marked(capsys: Captured) -> None:
    show_training(course())
    _, _, heads, *rows = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    named = [head.strip() for head in heads if head.strip()]
    assert named == ["epoch", *COLUMNS.values(), "seconds"]
    cells = [[one.strip() for one in row if one.strip()] for row in rows]
    assert [row[0] for row in cells] == ["0", "1", "2 *", "3"]
    assert [row[2] for row in cells] == ["0.7000", "0.3000", "0.2000", "0.2500"]
    assert [row[1] for row in cells] == ["-", "0.1200", "0.1400", "0.1600"]
    assert [row[-1] for row in cells] == ["0", "150", "300", "450"]


def test_what_was_not_measured_has_no_column(capsys: Captured) -> None:
    show_training([{"kind": "epoch", "number": 0, "seconds": 1.0, "ndcg10": 0.5, "auc": None}])
    assert capsys.readouterr().out.splitlines()[2].split() == ["epoch", "NDCG@10", "seconds"]


def test_several_trainings_are_told_apart(capsys: Captured) -> None:
    lines = [*course(), *course((0.7, 0.6))]
    assert [best_of(run) for run in runs_of(lines)] == [2, 1]
    show_training(lines)
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[3:]]
    assert rows[2] == ["1", "2", "*"]
    assert rows[5] == ["2", "1", "*"]


def test_nothing_is_best_where_nothing_was_told_to_be() -> None:
    assert best_of([{**line, "best": 0} for line in course()]) is None


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return the figures that are saved."""
    seen: list[Figure] = []
    save = figures.save_figure

    def watched(figure: Figure, path: Path) -> None:
        seen.append(figure)
        save(figure, path)

    monkeypatch.setattr(training_report, "save_figure", watched)
    return seen


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(x, y) for x, y in np.asarray(line.get_xydata(), dtype=np.float64).tolist()]


def by_title(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_every_measure_has_a_panel_with_the_best_epoch(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_training(course(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    panels = by_title(drawn[0])
    assert set(panels) == {"Loss", *(title for title, _ in PANELS.values())}
    assert (
        drawn[0].get_suptitle() == "Training of the ranker: 3 epochs in 450 s, epoch 2 is the best"
    )
    for name, (title, unit) in PANELS.items():
        axes = panels[title]
        values = [line[name] for line in course() if line["kind"] == "epoch"]
        assert points(axes.lines[0]) == list(enumerate(values))
        assert points(axes.lines[1]) == [(2, values[2])]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", unit)
        assert not axes.texts


def test_losses_stand_over_steps(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_training(course(), tmp_path / "plot.png")
    steps, _, stops, star = by_title(drawn[0])["Loss"].lines
    assert [step for step, _ in points(steps)] == [10 * one for one in range(1, 13)]
    assert points(stops) == list(zip([0, 40, 80, 120], STOP_LOSSES, strict=True))
    assert points(star) == [(80, 0.2)]


def test_several_trainings_have_a_line_each(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_training([*course(), *course((0.7, 0.6))], tmp_path / "plot.png")
    axes = by_title(drawn[0])[PANELS["auc"][0]]
    assert [len(points(line)) for line in axes.lines] == [4, 1, 2, 1]
    legend = by_title(drawn[0])["Loss"].get_legend_handles_labels()[1]
    assert len(legend) == len(set(legend)) == 3


def test_a_measure_that_is_missing_is_said(tmp_path: Path, drawn: list[Figure]) -> None:
    lines = [{key: one for key, one in line.items() if key != "ece"} for line in course()]
    plot_training(lines, tmp_path / "plot.svg")
    said = {t: [one.get_text() for one in axes.texts] for t, axes in by_title(drawn[0]).items()}
    assert [title for title, texts in said.items() if texts] == [PANELS["ece"][0]]
    assert said[PANELS["ece"][0]] == ["not measured"]


def test_a_plot_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="ended before its first epoch"):
        plot_training([], tmp_path / "plot.png")
    with pytest.raises(InputError, match=r"give a \.png in a folder"):
        plot_training(course(), tmp_path / "none" / "plot.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"plot of training needs .* pip install"):
        plot_training(course(), tmp_path / "plot.png")


@pytest.mark.parametrize("text", ['{"kind": "ep', "[1]\n", '{"kind": "epoch"}\n'])
def test_a_damaged_course_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(ArtefactError, match="build the artefact again"):
        read_course(tmp_path / "a.jsonl")


@given(st.lists(st.floats(-10, 10), max_size=150))
def test_a_smoothed_line_stays_within(values: list[float]) -> None:
    found = smoothed(values)
    assert len(found) == len(values)
    assert all(min(values) - 1e-9 <= one <= max(values) + 1e-9 for one in found)


def test_smoothing_keeps_a_line_and_lessens_noise() -> None:
    line = [0.5 * one for one in range(400)]
    assert smoothed(line) == pytest.approx(line)
    noise = np.random.default_rng(0).normal(size=400)
    assert np.std(smoothed([*noise])) < 0.5


def test_inspect_shows_and_draws_it(artefact: Path, tmp_path: Path, capsys: Captured) -> None:
    assert cli.run(["inspect", str(artefact), "--verify"]) == 0
    assert "2 *" in capsys.readouterr().out
    plot = tmp_path / "plot.png"
    assert cli.run(["inspect", str(artefact), "--plot-training", str(plot), "--json"]) == 0
    epochs = json.loads(capsys.readouterr().out)["training"]
    assert [one["number"] for one in epochs] == [0, 1, 2, 3]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_an_artefact_without_a_course_says_so(tmp_path: Path, capsys: Captured) -> None:
    with begin_generation(tmp_path / "films") as writer:
        writer.commit({})
    asked = ["inspect", str(tmp_path / "films")]
    assert cli.run([*asked, "--plot-training", str(tmp_path / "plot.png")]) == 2
    assert "holds no course of a training" in capsys.readouterr().err
    assert cli.run([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"] == []
    assert cli.run(asked) == 0
    assert "training" not in capsys.readouterr().out
