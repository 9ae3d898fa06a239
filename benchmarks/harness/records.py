"""The recorded rows of the suites, as the pages of results read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def recorded(suite: str) -> list[dict[str, Any]]:
    """Return all recorded rows of a suite, the oldest first; none where there is no record."""
    file = RESULTS / f"{suite}.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def latest(suite: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Return the rows of the latest run of each data set and length of item texts."""
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for told in recorded(suite):
        key = told["dataset"], told["max_item_tokens"]
        if key not in runs or runs[key][0]["run"] != told["run"]:
            runs[key] = []
        runs[key].append(told)
    return runs


def ran_on(told: Mapping[str, Any]) -> str:
    """Return a sentence on the commit and the machine of a row."""
    hardware = told["hardware"]
    return (
        f"Commit {str(told['commit'])[:10]}, {hardware['cores']} cores of {hardware['cpu']}, "
        f"{hardware['gpu'] or 'no GPU'}, torch on {told['threads']} threads.\n"
    )
