"""Figures drawn to files, without a window system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twofold.indexing.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(what: str, size: tuple[float, float]) -> Figure:
    """Return an empty figure.

    Parameters
    ----------
    what
        What is to be drawn, for the message.
    size
        Width and height in inches.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            f"the plot of {what} needs matplotlib: pip install 'matplotlib>=3.9'"
        ) from error
    # Figure without pyplot: no backend is chosen and no window system is touched.
    return Figure(figsize=size, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file; its ending (png, svg, pdf) says in which form.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot draw to {path} ({error}); give a .png in a folder") from error
