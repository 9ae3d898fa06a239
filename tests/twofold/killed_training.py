"""A training of a ranker that kills itself before its n-th checkpoint; run by its tests.

``python -m tests.twofold.killed_training ROOT CHECKPOINT [KEY=VALUE ...]``.
"""

from __future__ import annotations

import sys

from tests.indexing.killed_build import Killer
from twofold.ranking.checkpoints import Checkpoints
from twofold.retraining import train_ranker, training_settings

if __name__ == "__main__":
    root, checkpoint, *overrides = sys.argv[1:]
    Killer(int(checkpoint)).watch(Checkpoints, "save")
    train_ranker(root, training_settings(root, None, tuple(overrides)))
