"""A build in a process of its own: ``python -m benchmarks.stands.built JOB``, told as JSON.

The job is a file of JSON: ``interactions``, ``items``, ``out``, ``settings`` such as
``section.key=value``, and whether library calls are watched, ``watch``.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.harness.memory import resident_mb
from benchmarks.stands.steps import Steps
from benchmarks.stands.watching import ALS, ENCODER, bare_als, bare_encoding, watched
from twofold.build import build
from twofold.indexing.artefact import open_artefact
from twofold.lessons import n_threads
from twofold.settings import load_settings
from twofold.threads import torch_threads


def main(job: str) -> None:
    """Build, and tell.

    Parameters
    ----------
    job
        The file.
    """
    asked = json.loads(Path(job).read_text(encoding="utf-8"))
    settings = load_settings(None, tuple(asked["settings"]))
    steps, start = Steps(), resident_mb()
    with watched() if asked["watch"] else nullcontext() as libraries:
        report = build(
            Path(asked["interactions"]), Path(asked["items"]), asked["out"], settings, steps
        )
    steps.settle()
    generation = open_artefact(asked["out"])
    files = generation.manifest["files"]
    told: dict[str, Any] = {
        "seconds": report.seconds,
        "start_mb": start,
        "peak_mb": steps.peak_mb,
        "artefact_mb": sum((generation.folder / one).stat().st_size for one in files) / 2**20,
        "n_users": report.n_users,
        "n_items": report.n_items,
        "n_interactions": report.n_interactions,
        "steps": steps.rows(),
    }
    if libraries is not None:
        with torch_threads(settings.threads):
            bare = {
                ALS: bare_als(libraries, n_threads(settings)),
                ENCODER: bare_encoding(libraries),
            }
        told["libraries"] = [
            {
                "library": name,
                "times": one.times,
                "inside_seconds": one.seconds,
                "bare_seconds": bare.get(name, one.seconds),
                "made_again": name in bare,
            }
            for name, one in libraries.calls.items()
        ]
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
