"""The artefact: a folder of generations behind a ``CURRENT`` file, the contract of both halves.

A build writes a new generation beside the old one and then replaces the one line in ``CURRENT``, so
a reader sees the old index or the new one, never half of either. ``docs/artefact.md`` tells all.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from twofold.indexing.errors import ArtefactBusyError, ArtefactError, InputError, TwofoldError
from twofold.indexing.generation import AGAIN, Generation
from twofold.indexing.manifest import find_problems, read_manifest, stage_key
from twofold.indexing.writer import (
    CACHE,
    CURRENT,
    GENERATIONS,
    PARTIAL,
    GenerationWriter,
    unwritable,
)

__all__ = [
    "CACHE",
    "Generation",
    "GenerationWriter",
    "begin_generation",
    "kept_generations",
    "open_artefact",
    "stage_key",
    "verify",
]

LOCK = ".lock"
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def open_artefact(path: str | Path) -> Generation:
    """Return the current generation of an artefact after the cheap checks.

    ``CURRENT``, format and version are checked, and that every file of the manifest exists with its
    size; hashes are left to :func:`verify`. The generation stays readable while later builds
    commit, until it is neither the current nor the previous one.

    Parameters
    ----------
    path
        Folder of the artefact.

    Raises
    ------
    ArtefactError
        If the folder is missing, is no artefact, was never finished, is damaged or is of a newer
        format.
    """
    root = Path(path)
    name = _read_current(root)
    while True:
        folder = root / GENERATIONS / name
        try:
            if not folder.is_dir():
                raise ArtefactError(
                    f"{root / CURRENT} names generation {name}, but {folder} is missing; {AGAIN}"
                )
            return Generation(folder, read_manifest(folder))
        except ArtefactError:
            # Builds may have gone on and removed what CURRENT named when we read it.
            later = _read_current(root)
            if later == name:
                raise
            name = later


def kept_generations(path: str | Path) -> list[Generation]:
    """Return every generation of an artefact that stands under its number, the oldest first.

    One that this version cannot read has an empty manifest.

    Parameters
    ----------
    path
        Folder of the artefact.
    """
    home = Path(path) / GENERATIONS
    found = []
    for folder in sorted(one for one in home.iterdir() if one.name.isdigit()):
        try:
            found.append(Generation(folder, read_manifest(folder)))
        except ArtefactError:
            found.append(Generation(folder))
    return found


def verify(generation: Generation) -> list[str]:
    """Return what is wrong with a generation, one line a problem; empty where all hashes hold.

    Reads every byte of it.
    """
    return find_problems(generation.folder, generation.manifest)


@contextmanager
def begin_generation(path: str | Path, *, keep: int = 2) -> Iterator[GenerationWriter]:
    """Open an artefact for writing its next generation, and hold its lock meanwhile.

    What an interrupted build finished is taken up again, stage by stage. Where the block ends with
    an error or without a commit, finished stages stay for the next build; nothing stays where none
    was finished, where the input was refused (a `TwofoldError`), or where the disk did not take the
    files.

    Parameters
    ----------
    path
        Folder of the artefact; made where it does not exist.
    keep
        How many generations to keep after the commit, at least 1.

    Raises
    ------
    ArtefactBusyError
        If another build holds the lock.
    ArtefactError
        If the folder holds other things, is a file, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.mkdtemp()
    >>> with begin_generation(folder) as writer:
    ...     key = stage_key("some data", {"n": 3})
    ...     if not writer.finished("numbers", key):
    ...         writer.put_array("numbers", np.arange(3))
    ...         writer.finish("numbers", key)
    ...     generation = writer.commit({"settings": {"n": 3}, "seed": 0})
    >>> open_artefact(folder).array("numbers")
    array([0, 1, 2])
    """
    if keep < 1:
        raise InputError(f"keep must be at least 1, not {keep}")
    root = Path(path)
    made = [one for one in (root, *root.parents) if not one.exists()]
    try:
        _claim(root)
        with _locked(root), _writer(root, keep) as writer:
            yield writer
    except OSError as error:
        if not _is_disk(error, root):
            raise
        raise ArtefactError(unwritable(root, error)) from error
    finally:
        for folder in made:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()


def _read_current(root: Path) -> str:
    try:
        line = (root / CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ArtefactError(_why_not(root)) from None
    except NotADirectoryError:
        raise ArtefactError(f"{root} is a file; give the folder of an artefact") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{root / CURRENT} cannot be read ({error}); {AGAIN}") from error
    if not re.fullmatch(r"[0-9]{4,}", line):
        raise ArtefactError(
            f"{root / CURRENT} should name a folder of {root / GENERATIONS} but holds "
            f"'{line[:40]}'; write the name of one into it"
        )
    return line


def _why_not(root: Path) -> str:
    if not root.exists():
        return f"{root} does not exist; give the folder of an artefact, or make it: twofold build"
    if (root / GENERATIONS).is_dir():
        return (
            f"the first build of {root} was interrupted; "
            "run the same `twofold build` again to resume"
        )
    return f"{root} is not an artefact (it has no {CURRENT}); give a folder made by twofold build"


def _claim(root: Path) -> None:
    """Make the folder, or refuse one that holds other things."""
    if root.exists() and not root.is_dir():
        raise ArtefactError(f"{root} is a file; give a folder for the artefact")
    root.mkdir(parents=True, exist_ok=True)
    names = {one.name for one in root.iterdir()}
    if not names & {CURRENT, GENERATIONS} and names - {LOCK, CACHE}:
        raise ArtefactError(
            f"{root} holds other files and is not an artefact; give a new or an empty folder"
        )


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    lock = FileLock(root / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ArtefactBusyError(
            f"another build is writing to {root} (lock file {root / LOCK}); wait until it ends"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writer(root: Path, keep: int) -> Iterator[GenerationWriter]:
    """Open the writer, and leave behind what its end allows."""
    current = int(_read_current(root)) if (root / CURRENT).exists() else 0
    writer = GenerationWriter(root, current, keep)
    keeps = False
    try:
        yield writer
        keeps = writer.resumable
    except BaseException as error:
        refused = isinstance(error, TwofoldError) or _is_disk(error, root)
        keeps = writer.resumable and not refused
        raise
    finally:
        if not (writer.committed or keeps):
            _discard(root)


def _discard(root: Path) -> None:
    """Remove the unfinished generation and, at a first build, all that builds made."""
    for partial in (root / GENERATIONS).glob(f"{PARTIAL}*"):
        shutil.rmtree(partial)
    if not (root / CURRENT).exists():
        shutil.rmtree(root / CACHE, ignore_errors=True)
        if not any((root / GENERATIONS).iterdir()):
            (root / GENERATIONS).rmdir()
            (root / LOCK).unlink()


def _is_disk(error: BaseException, root: Path) -> bool:
    """Say whether an error means that the artefact's disk or folder does not take files."""
    if isinstance(error, ArtefactError):
        return True
    if not isinstance(error, OSError):
        return False
    inside = isinstance(error.filename, str) and Path(error.filename).is_relative_to(root)
    return error.errno in DISK or inside
