"""A small build that kills itself at its n-th step on the disk; run by the tests of the artefact.

``python -m tests.indexing.killed_build ROOT STEP VERSION``; step 0 lets it live. It prints how many
steps it took, and which stages it had to make because no earlier build had finished them.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twofold.indexing.artefact import Generation, begin_generation, stage_key

STAGES = ("data", "factors", "text")


def build(root: Path, version: int = 1) -> tuple[Generation, list[str]]:
    """Write three stages and commit; return the generation and the stages it had to make."""
    made = []
    with begin_generation(root) as writer:
        for number, stage in enumerate(STAGES):
            key = stage_key(stage, version)
            if not writer.finished(stage, key):
                made.append(stage)
                writer.put_array(f"{stage}/numbers", np.arange(100) + number)
                writer.put_frame(f"{stage}/table", pl.DataFrame({"x": [number, version]}))
                writer.put_json(stage, {"version": version})
                writer.finish(stage, key)
        writer.path("faiss.index").write_bytes(b"vectors")
        generation = writer.commit({"settings": {"version": version}}, measurements={"seconds": 1})
    return generation, made


class Killer:
    """Counts steps on the disk, and kills its own process before the n-th."""

    def __init__(self, step: int) -> None:
        self.step, self.taken = step, 0

    def watch(self, owner: Any, name: str) -> None:
        """Count calls of a function, wherever the build reaches the disk."""
        real: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.taken += 1
            if self.taken == self.step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(owner, name, counted)


if __name__ == "__main__":
    killer = Killer(int(sys.argv[2]))
    for owner, name in [
        (os, "fsync"),
        (os, "rename"),
        (os, "replace"),
        (os, "unlink"),
        (os, "mkdir"),
        (shutil, "rmtree"),
        (np, "save"),
        (pl.DataFrame, "write_parquet"),
        (Path, "write_text"),
        (Path, "write_bytes"),
    ]:
        killer.watch(owner, name)
    _, made = build(Path(sys.argv[1]), int(sys.argv[3]))
    print(killer.taken, "made", *made)
