"""Parts of suites that take minutes to make, kept on disk from run to run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from twofold.cache import cache_folder
from twofold.indexing.artefact import begin_generation, open_artefact
from twofold.indexing.durable import canonical_json, sha256_of
from twofold.indexing.generation import Generation
from twofold.indexing.manifest import FORMAT_VERSION
from twofold.indexing.progress import Progress
from twofold.indexing.writer import GenerationWriter


def sources(modules: Sequence[ModuleType]) -> dict[str, str]:
    """Return the SHA-256 of each module's source, for keys: what they make changes with them."""
    return {one.__name__: sha256_of(Path(str(one.__file__))) for one in modules}


def kept(
    name: str,
    key: Mapping[str, Any],
    make: Callable[[GenerationWriter], None],
    progress: Progress,
) -> Generation:
    """Return a part as it was written before, or written now; half a part is never seen.

    It lies in an artefact of its own, below the cache folder.

    Parameters
    ----------
    name
        What it is, for people.
    key
        All that it depends on, as JSON values.
    make
        Writes it.
    progress
        Told where it has to be made.
    """
    whole = {**key, "format_version": FORMAT_VERSION}
    told = hashlib.sha256(canonical_json(whole).encode()).hexdigest()[:16]
    folder = cache_folder() / "benchmarks" / f"{name}-{told}"
    if not (folder / "CURRENT").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with progress.step(f"Making what is kept: {name}"), begin_generation(folder) as writer:
            make(writer)
            writer.finish(name, told)
            writer.commit({"key": dict(key)})
    return open_artefact(folder)
