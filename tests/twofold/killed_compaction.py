"""A compaction that kills itself at its n-th step on the disk; run by the tests of compaction.

``python -m tests.twofold.killed_compaction ROOT STEP``; step 0 lets it live. It prints how many
steps it took.
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
        (LiveLog, "prune"),
    ]:
        killer.watch(owner, name)
    compact(sys.argv[1])
    print(killer.taken)
