"""What a recorded row depends on: code, settings, data, libraries, and other cells' rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.harness.cells import Cell, Plan
from benchmarks.harness.fingerprints import code_of
from twofold.evaluation.hardware import library_versions
from twofold.indexing.artefact import open_artefact
from twofold.indexing.durable import canonical_json
from twofold.indexing.errors import InputError
from twofold.settings import Settings

HARNESS = "benchmarks/harness/running.py"


@dataclass(frozen=True)
class Exercised:
    """The parts that make a fingerprint.

    Parameters
    ----------
    code
        Source -> hash of what its Python code does.
    settings
        Hash of the settings that a cell reads, and of what else it depends on.
    data
        Fingerprint of the data.
    versions
        Library -> version.
    needs
        Cell -> its fingerprint.
    """

    code: Mapping[str, str]
    settings: str
    data: str
    versions: Mapping[str, str]
    needs: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when any part does."""
        return _hash(asdict(self))

    def recorded(self) -> dict[str, Any]:
        """Return the parts as a row holds them; versions stand in the row beside."""
        return {
            "code": dict(self.code),
            "settings": self.settings,
            "data": self.data,
            "needs": dict(self.needs),
        }


def exercised(suite: str, plan: Plan, cells: Mapping[str, Cell]) -> dict[str, Exercised]:
    """Return what each cell of a plan exercises as things stand.

    Parameters
    ----------
    suite
        Its name.
    plan
        Data, options, and whether everything is asked less.
    cells
        All cells, each after those that it needs.
    """
    also = {
        "suite": suite,
        "protocol": [plan.data.protocol, plan.data.n_labels],
        "options": dict(plan.options),
        "quick": plan.quick,
    }
    # Rooms are read once, whatever the number of cells.
    sources = sorted({HARNESS, *(name for cell in cells.values() for name in cell.sources)})
    code = {name: code_of([name])[:16] for name in sources}
    versions, out = library_versions(), dict[str, Exercised]()
    for name, cell in cells.items():
        # Cells that exercise the same still measure different things: the name tells them apart.
        told = {"name": name, "settings": read_settings(cell), "cell": dict(cell.also), **also}
        out[name] = Exercised(
            {one: code[one] for one in (*cell.sources, HARNESS)},
            _hash(told),
            plan.dataset.fingerprint,
            versions,
            {one: out[one].fingerprint for one in cell.needs},
        )
    return out


def told_settings(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON values, another artefact by what it holds and not by its place."""
    # Where a training is told, or kept for a while, does not change what it learns.
    training = replace(settings.ranker.training, report_to=(), checkpoint_steps=0)
    if training.init_from is not None:
        known = str(open_artefact(training.init_from).manifest["content_hash"])
        training = replace(training, init_from=known)
    return asdict(replace(settings, ranker=replace(settings.ranker, training=training)))


def read_settings(cell: Cell) -> dict[str, Any]:
    """Return the settings that a cell depends on, ``section.key`` -> value, or all as a tree.

    Raises
    ------
    InputError
        If it names one that there is not.
    """
    told = told_settings(cell.settings)
    if not cell.reads:
        return told
    out = {}
    for name in cell.reads:
        found: Any = told
        for key in name.split("."):
            if not isinstance(found, Mapping) or key not in found:
                raise InputError(f"cell '{cell.name}' reads the setting {name}, which there is not")
            found = found[key]
        out[name] = found
    return out


def own_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from the defaults, ``section.key`` -> value."""
    return dict(_differing("", told_settings(settings), told_settings(Settings())))


def _differing(
    prefix: str, mine: Mapping[str, Any], plain: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in mine.items():
        if isinstance(value, Mapping) and isinstance(plain.get(key), Mapping):
            out += _differing(f"{prefix}{key}.", value, plain[key])
        elif value != plain.get(key):
            out.append((f"{prefix}{key}", value))
    return out


def _hash(told: Any) -> str:
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()[:16]
