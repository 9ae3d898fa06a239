"""Presets: what usually differs from the defaults in one domain, as TOML beside this module."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from typing import Any

from twofold.indexing.errors import SettingsError

FOLDER, ENDING = "presets", ".toml"


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, sorted."""
    folder = resources.files("twofold").joinpath(FOLDER)
    files = (one.name for one in folder.iterdir())
    return tuple(sorted(name.removesuffix(ENDING) for name in files if name.endswith(ENDING)))


def preset(name: str) -> dict[str, Any]:
    """Return the settings that a preset sets, section by section.

    Parameters
    ----------
    name
        One of :func:`preset_names`.

    Raises
    ------
    SettingsError
        If there is no such preset; the message has the nearest name.

    Examples
    --------
    >>> preset("news")["stage_one"]["neighbours"]["half_life_days"]
    0.5
    """
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
        raise SettingsError(f"there is no preset '{name}'; {hint}")
    file = resources.files("twofold").joinpath(FOLDER, f"{name}{ENDING}")
    return tomllib.loads(file.read_text(encoding="utf-8"))
