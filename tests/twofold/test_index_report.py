"""What an index was chosen from is shown and drawn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from twofold import index_report
from twofold.index_report import plot_indexes, show_index
from twofold.indexing.errors import InputError, MissingDependencyError


def _trial(kind: str, n_items: int, *points: tuple[int, int, float, float]) -> dict[str, Any]:
    names = ("effort", "over", "recall", "ms")
    curve = [dict(zip(names, one, strict=True)) for one in points]
    last = curve[-1] if curve else {"effort": 0, "over": 1, "recall": 1.0, "ms": 6.0}
    return {"kind": kind, "n_items": n_items, "bytes_an_item": 394.0, "curve": curve, **last}


ABOUT: dict[str, Any] = {
    "trials": [
        _trial("exact", 1000),
        _trial("IVF126,SQ8", 1000, (16, 1, 0.9, 0.2), (64, 1, 0.99, 0.6)),
        _trial("HNSW32,Flat", 1000, (128, 1, 0.95, 0.5), (256, 1, 0.985, 0.8)),
    ],
    "chosen": _trial(
        "IVF400,SQ8", 9000, (16, 1, 0.9, 0.4), (80, 4, 0.99, 2.0), (40, 1, 0.982, 1.0)
    ),
}


def test_efforts_are_listed_and_the_chosen_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    show_index("texts", ABOUT)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["40", "*", "1", "0.9820", "1"] in [
        [*one[:4], one[4][:1]] for one in lines if len(one) == 5
    ]
    assert sum("*" in one for one in lines) == 2  # the index, and its effort


def test_a_choice_without_a_curve_is_shown_but_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"trials": [], "chosen": {k: v for k, v in ABOUT["chosen"].items() if k != "curve"}}
    show_index("texts", old)
    assert "Efforts" not in capsys.readouterr().out
    with pytest.raises(InputError, match="built before curves were kept"):
        plot_indexes({"texts": old}, tmp_path / "plot.png")


def test_all_trials_are_drawn_and_the_choice_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Axes] = []
    draw = index_report._draw

    def watched(axes: Axes, *given: Any) -> None:
        drawn.append(axes)
        draw(axes, *given)

    monkeypatch.setattr(index_report, "_draw", watched)
    alone = {"trials": [], "chosen": ABOUT["chosen"]}
    plot_indexes({"texts": ABOUT, "factors": alone}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [one.get_title() for one in drawn] == [
        "texts, 1,000 items",
        "texts, 9,000 items",
        "factors, 9,000 items",
    ]
    legends = [one.get_legend_handles_labels()[1] for one in drawn]
    assert legends[0] == ["IVF126,SQ8", "HNSW32,Flat", "all items looked at"]
    assert legends[1] == legends[2] == ["IVF400,SQ8", "chosen"]
    (star,) = (line for line in drawn[1].lines if line.get_label() == "chosen")
    assert star.get_xdata() == [1.0]
    assert star.get_ydata() == pytest.approx([0.018])


def test_a_plot_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "none" / "plot.png", tmp_path / "plot.unknown"):
        with pytest.raises(InputError, match=r"cannot draw to .* give a \.png in a folder"):
            plot_indexes({"texts": ABOUT}, path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="pip install 'matplotlib"):
        plot_indexes({"texts": ABOUT}, tmp_path / "plot.png")
