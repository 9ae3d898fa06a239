"""Writers that are killed while they write, and what is left of what they had acknowledged."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.stands.live_writer import EVENTS
from twofold.engine import Engine
from twofold.indexing.live_log import LiveLog

K = 10


def killed(artefact: Path, column: str, kills: int) -> dict[str, int]:
    """Kill writers at random moments, and return what they had acknowledged and what was lost."""
    rng = np.random.default_rng(1)
    acknowledged: list[int] = []
    for turn in range(kills):
        command = (str(artefact), str(1000 * turn), column)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stands.live_writer", *command],
            stdout=subprocess.PIPE,
            text=True,
        )
        if process.stdout is None:
            raise RuntimeError("a pipe was asked for")
        acknowledged.append(int(process.stdout.readline()))
        time.sleep(float(rng.uniform(0, 0.3)))
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
    log = LiveLog(artefact)
    events: dict[int, int] = {}
    for event in log.after(0)[0]:
        if event.user.startswith("killed-"):
            number = int(event.user.removeprefix("killed-"))
            events[number] = events.get(number, 0) + 1
    with Engine.load(artefact, runtime="float32") as engine:
        served = [
            number
            for number in acknowledged
            if events.get(number, 0) != EVENTS or _holds(engine, number, column) is False
        ]
    return {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "lost": len(served),
        "half": sum(count != EVENTS for count in events.values()),
    }


def _holds(engine: Engine, number: int, column: str) -> bool:
    """Say whether an engine recommends none of what a call's user took, and knows its item."""
    item = engine.items.filter(pl.col("item_id") == f"killed-{number}")
    if item.height != 1 or item[column].to_list() != [number]:
        return False
    found = engine.recommend(f"killed-{number}", K)
    return len(found) == K
