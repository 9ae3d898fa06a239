"""Compactions that kill themselves at their n-th step on the disk; run by the tests of compaction.

``python -m tests.twofold.killed_compaction ROOT STEP [ROOT STEP ...]``; step 0 lets it live. Each
runs in a process of its own, forked once all is imported. It prints a line for each: the signal
that ended it, and how many steps it took if none did.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl

from tests.indexing.killed_build import Killer
from twofold.compact import compact
from twofold.indexing.live_log import LiveLog

WATCHED = (
    (os, "fsync"),
    (os, "rename"),
    (os, "replace"),
    (os, "unlink"),
    (os, "mkdir"),
    (shutil, "rmtree"),
    (np, "save"),
    (pl.DataFrame, "write_parquet"),
    (Path, "write_text"),
    (LiveLog, "prune"),
)


def run(root: str, step: int) -> int:
    """Compact an artefact, killed before a step; return how many steps it took."""
    killer = Killer(step)
    for owner, name in WATCHED:
        killer.watch(owner, name)
    compact(root)
    return killer.taken


if __name__ == "__main__":
    for root, step in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        child = os.fork()
        if child == 0:
            print("lived", run(root, int(step)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            print("killed", os.WTERMSIG(status), flush=True)
        elif status:
            sys.exit(f"compaction of {root} failed")
