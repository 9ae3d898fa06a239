"""What indexes were chosen from: tables for people, and the trade-off of recall and time drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twofold.figures import new_figure, save_figure
from twofold.indexing.errors import InputError
from twofold.terminal import say, say_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from twofold.indexing.generation import Generation

About = Mapping[str, Any]
SEARCHED = {"faiss-proposer": "texts", "collaborative/items-proposer": "factors"}

MISSED = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


def indexes_of(generation: Generation) -> dict[str, About]:
    """Return how each index of an artefact came to be chosen, by what it finds.

    Empty where all items are looked at.
    """
    return {
        what: generation.json(name)["about"]
        for name, what in SEARCHED.items()
        if generation.has(f"{name}.json")
    }


def show_index(what: str, about: About) -> None:
    """Say what an index was chosen from, what it does with all items, and what efforts give.

    Parameters
    ----------
    what
        What it finds.
    about
        As kept by :class:`~twofold.indexing.proposers.Proposer`.
    """
    chosen = about["chosen"]
    say(f"\nTo find {what}, at the recall that was asked for:")
    rows = [
        {
            "index": one["kind"],
            "tried on": one["n_items"],
            "recall": round(one["recall"], 4),
            "ms a query": round(one["ms"], 3),
            "bytes an item": round(one["bytes_an_item"]),
        }
        for one in (*about["trials"], {**chosen, "kind": f"{chosen['kind']} *"})
    ]
    say_rows(rows, as_json=False)
    if not chosen.get("curve"):
        return  # chosen by a version that kept no curve
    say(f"\nEfforts of {chosen['kind']}, on the queries that they were learned on:")
    rows = [
        {
            "effort": f"{one['effort']} *" if _is_chosen(one, chosen) else str(one["effort"]),
            "ranked again": one["over"],
            "recall": round(one["recall"], 4),
            "ms a query": round(one["ms"], 3),
        }
        for one in sorted(chosen["curve"], key=lambda one: (one["over"], one["effort"]))
    ]
    say_rows(rows, as_json=False)


def plot_indexes(indexes: Mapping[str, About], path: Path) -> None:
    """Draw recall against milliseconds of all that was tried, the choice marked, to a file.

    Parameters
    ----------
    indexes
        As of :func:`indexes_of`; a column each, the sample above where one was tried.
    path
        Where to; its ending says in which form (png, svg, pdf).

    Raises
    ------
    InputError
        If there is nothing to draw, or the file cannot be written.
    MissingDependencyError
        If matplotlib is not installed.
    """
    drawn = {what: about for what, about in indexes.items() if about["chosen"].get("curve")}
    if not drawn:
        raise InputError(
            "--plot has nothing to draw: this artefact looks at all items, or was built before "
            "curves were kept; build again with more items or index.kind set"
        )
    sizes = {what: _sizes(about) for what, about in drawn.items()}
    n_rows = max(len(one) for one in sizes.values())
    figure = new_figure("indexes", (7 * len(drawn), 4.6 * n_rows))
    axes = figure.subplots(n_rows, len(drawn), squeeze=False)
    for column, (what, about) in zip(axes.T, drawn.items(), strict=True):
        for cell in column[len(sizes[what]) :]:
            cell.set_axis_off()
        for cell, n_items in zip(column, sizes[what], strict=False):
            _draw(cell, about, n_items)
            cell.set_title(f"{what}, {n_items:,} items")
    save_figure(figure, path)


def _sizes(about: About) -> list[int]:
    """Return how many items were tried with: the sample first, then all."""
    return sorted({one["n_items"] for one in (*about["trials"], about["chosen"])})


def _draw(axes: Axes, about: About, n_items: int) -> None:
    chosen = about["chosen"]
    tried = [one for one in (*about["trials"], chosen) if one["n_items"] == n_items]
    # The axis is logarithmic in what is missed: .9, .99 and .999 are equally far apart.
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    # Whoever opens a line keeps its colour; a line more for each depth of ranking again.
    for number, one in enumerate(one for one in tried if one.get("curve")):
        colour = f"C{number}"
        for over in sorted({point["over"] for point in one["curve"]}):
            points = sorted((p for p in one["curve"] if p["over"] == over), key=_by_effort)
            across, up = [p["ms"] for p in points], [_missed(p["recall"]) for p in points]
            axes.plot(across, up, marker=".", linewidth=1, color=colour)
            if over > 1:
                axes.annotate(f"×{over}", (across[-1], up[-1]), color=colour, fontsize="small")
        axes.plot([], [], marker=".", linewidth=1, color=colour, label=one["kind"])
        if one is chosen:
            axes.plot(
                [chosen["ms"]],
                [_missed(chosen["recall"])],
                marker="*",
                markersize=16,
                color=colour,
                markeredgecolor="black",
                linestyle="",
                label="chosen",
            )
    exact = next((one for one in tried if one["kind"] == "exact"), None)
    if exact is not None:
        axes.axvline(exact["ms"], color="grey", linestyle=":", label="all items looked at")
    axes.set_yticks(MISSED, [f"{1 - one:g}" for one in MISSED])
    low, high = axes.get_xlim()
    steps = [one * 10.0**power for power in range(-3, 4) for one in (1, 1.5, 2, 3, 5, 7)]
    times = [one for one in steps if low <= one <= high]
    axes.set_xticks(times, [f"{one:g}" for one in times])
    axes.minorticks_off()
    axes.set_xlabel("milliseconds a query; ×n: so many proposals an item ranked again")
    axes.set_ylabel("recall of the hundred nearest")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _by_effort(point: Mapping[str, Any]) -> int:
    return int(point["effort"])


def _missed(recall: float) -> float:
    return max(1 - recall, 1e-3)


def _is_chosen(point: Mapping[str, Any], chosen: About) -> bool:
    return bool((point["effort"], point["over"]) == (chosen["effort"], chosen["over"]))
