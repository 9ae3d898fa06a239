"""An engine in a process of its own: ``python -m benchmarks.stands.loaded FOLDER USERS THREADS``.

What it takes to load it and to answer, in time and memory, is told as a line of JSON: in a process
that did other things before, nobody could say whose the memory is.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.harness.memory import own_mb, peak_mb, resident_mb

K = 10


def main(artefact: str, users: str, threads: int) -> None:
    """Load an engine, ask it, and tell.

    Parameters
    ----------
    artefact
        Folder of the artefact.
    users
        File with the ids to ask for, a JSON list.
    threads
        Of torch; 0 leaves them as they are.
    """
    bare = resident_mb()
    begun = time.perf_counter()
    import torch

    from twofold.engine import Engine

    if threads:
        torch.set_num_threads(threads)
    imported, libraries = time.perf_counter(), resident_mb()
    with Engine.load(artefact) as engine:
        loaded = time.perf_counter()
        told = {
            "rss_bare_mb": bare,
            "rss_libraries_mb": libraries,
            "rss_loaded_mb": resident_mb(),
            "own_loaded_mb": own_mb(),
            "import_s": imported - begun,
            "load_s": loaded - imported,
        }
        for number, user in enumerate(json.loads(Path(users).read_text(encoding="utf-8"))):
            engine.recommend(user, K)
            if not number:
                told["first_answer_ms"] = 1e3 * (time.perf_counter() - loaded)
        told |= {
            "rss_served_mb": resident_mb(),
            "own_served_mb": own_mb(),
            "rss_peak_mb": peak_mb(),
        }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
