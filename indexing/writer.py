"""Writing a generation, stage by stage, complete at its commit or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from twofold.indexing.durable import (
    files_under,
    readable_json,
    replace_text,
    sha256_of,
    sync_file,
    sync_folder,
)
from twofold.indexing.errors import ArtefactError, InputError
from twofold.indexing.generation import Generation, check_name
from twofold.indexing.manifest import MANIFEST, MEASUREMENTS, STAGES, make_manifest, read_manifest

CURRENT = "CURRENT"
GENERATIONS = "generations"
CACHE = "cache"
PARTIAL = ".partial-"
REMOVED = ".removed-"
ROW_GROUP = 1 << 17


class GenerationWriter:
    """Writes a generation into a partial folder; it becomes one only at :meth:`commit`.

    Made by :func:`begin_generation`. Work is grouped in stages, one after another: whatever was
    written since the last :meth:`finish` belongs to the stage that is finished next.

    Parameters
    ----------
    root
        Folder of the artefact, locked by the caller.
    current
        Number of its current generation, 0 where there is none.
    keep
        How many generations to keep after the commit.
    """

    def __init__(self, root: Path, current: int, keep: int) -> None:
        self._root, self._keep = root, keep
        self._folder = _partial_folder(root, current)
        self._records: dict[str, dict[str, Any]] = {}
        self._visited: set[str] = set()
        self.committed = False
        for path in sorted((self._folder / STAGES).glob("*.json")):
            self._records[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        _remove(self._folder, self._loose())

    @property
    def cache(self) -> Path:
        """Folder of the artefact for what later builds may reuse; it is part of no generation."""
        folder = self._root / CACHE
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def resumable(self) -> bool:
        """Whether a later build could take up a finished stage."""
        return bool(self._records)

    def written(self) -> Generation:
        """Return what stands in the partial folder, for opening what finished stages wrote."""
        return Generation(self._folder)

    def finished(self, stage: str, key: str) -> bool:
        """Say whether an interrupted build finished a stage with the same key and intact files.

        Where it did not, what it left of the stage is removed.

        Parameters
        ----------
        stage
            Name of the stage.
        key
            What the stage's result depends on, from :func:`stage_key`.
        """
        record = self._records.get(stage)
        if record is not None:
            if record["key"] == key and self._intact(record["files"]):
                self._visited.add(stage)
                return True
            self._forget(stage)
        return False

    def finish(self, stage: str, key: str) -> None:
        """Make a stage durable: all files written since the last stage, flushed and hashed.

        Raises
        ------
        InputError
            If the stage was finished before.
        """
        check_name(stage)
        if stage in self._visited:
            raise InputError(f"stage '{stage}' is finished already")
        self._records.pop(stage, None)
        record = {"key": key, "files": self._sealed(self._loose())}
        self._folder.joinpath(STAGES).mkdir(exist_ok=True)
        replace_text(self._folder / STAGES / f"{stage}.json", readable_json(record))
        sync_folder(self._folder)
        self._records[stage] = record
        self._visited.add(stage)

    def put_array(self, name: str, array: npt.ArrayLike) -> None:
        """Write an array as ``name.npy``, in C order so that equal arrays give equal bytes.

        Raises
        ------
        InputError
            If the array holds Python objects, or the name is taken.
        ArtefactError
            If it cannot be written.
        """
        values = np.asarray(array, order="C")
        if values.dtype.hasobject:
            raise InputError(f"array '{name}' holds Python objects; give numbers or fixed strings")
        path = self.path(f"{name}.npy")
        with _writing(path):
            np.save(path, values, allow_pickle=False)

    def put_frame(self, name: str, frame: pl.DataFrame) -> None:
        """Write a table as ``name.parquet``; equal tables give equal bytes.

        Raises
        ------
        InputError
            If the name is taken.
        ArtefactError
            If it cannot be written.
        """
        path = self.path(f"{name}.parquet")
        with _writing(path):
            # Chunks would show in the file, so a table put together from parts would differ.
            frame.rechunk().write_parquet(path, compression="zstd", row_group_size=ROW_GROUP)

    def put_json(self, name: str, value: Any) -> None:
        """Write a JSON value as ``name.json``.

        Raises
        ------
        InputError
            If JSON cannot hold the value, or the name is taken.
        ArtefactError
            If it cannot be written.
        """
        text = readable_json(value)
        path = self.path(f"{name}.json")
        with _writing(path):
            path.write_text(text, encoding="utf-8")

    def path(self, name: str) -> Path:
        """Return where to write a file, or a folder of files, that others write.

        Its parent exists; the file is flushed and hashed with its stage.

        Raises
        ------
        InputError
            If the name is taken by a finished stage or by the artefact itself.
        """
        check_name(name)
        if name in (MANIFEST, MEASUREMENTS) or PurePosixPath(name).parts[0] == STAGES:
            raise InputError(f"the artefact keeps the name '{name}' for itself; give another")
        for stage, record in list(self._records.items()):
            if name in record["files"]:
                if stage in self._visited:
                    raise InputError(f"'{name}' was written by stage '{stage}'; give another name")
                self._forget(stage)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def take_over(self, generation: Generation, *, but: Collection[str]) -> None:
        """Copy what another generation holds, except some of it.

        Parameters
        ----------
        generation
            A whole generation.
        but
            Names of the folders and files at its top that are left out.
        """
        for name in generation.manifest["files"]:
            top = PurePosixPath(name).parts[0]
            if top not in (*but, MEASUREMENTS, STAGES):
                shutil.copyfile(generation.path(name), self.path(name))

    def commit(
        self, about: Mapping[str, Any], *, measurements: Mapping[str, Any] | None = None
    ) -> Generation:
        """Make everything durable, publish it as the current generation, and return it open.

        Parameters
        ----------
        about
            What the manifest says beside files and versions: settings, seed, counts, dimensions,
            metric, encoder identity, data fingerprint. It goes into the content hash.
        measurements
            Quality and times, kept apart in ``measurements.json`` and outside the content hash.

        Raises
        ------
        ArtefactError
            If something cannot be written; the old generation then stays current.
        """
        for stage in set(self._records) - self._visited:
            self._forget(stage)
        (self._folder / MEASUREMENTS).write_text(readable_json(dict(measurements or {})))
        files = self._sealed(self._loose())
        for stage, record in self._records.items():
            name = f"{STAGES}/{stage}.json"
            files |= {**record["files"], name: _entry(self._folder / name)}
        replace_text(self._folder / MANIFEST, readable_json(make_manifest(about, files)))
        final = self._folder.with_name(self._folder.name.removeprefix(PARTIAL))
        os.rename(self._folder, final)
        sync_folder(final.parent)
        replace_text(self._root / CURRENT, f"{final.name}\n")
        self.committed = True
        _remove_old(final, self._keep)
        return Generation(final, read_manifest(final))

    def _loose(self) -> list[str]:
        """Return the files that no finished stage owns."""
        owned = {f"{STAGES}/{stage}.json" for stage in self._records}
        owned.update(*(record["files"] for record in self._records.values()))
        return [name for name in files_under(self._folder) if name not in owned]

    def _sealed(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """Flush files and the folders around them, and return their manifest entries."""
        for name in names:
            sync_file(self._folder / name)
        for folder in {parent for name in names for parent in PurePosixPath(name).parents}:
            sync_folder(self._folder / folder)
        return {name: _entry(self._folder / name) for name in names}

    def _intact(self, files: Mapping[str, Mapping[str, Any]]) -> bool:
        paths = {self._folder / name: entry for name, entry in files.items()}
        return all(path.is_file() and _entry(path) == entry for path, entry in paths.items())

    def _forget(self, stage: str) -> None:
        # The record goes first: files without a record are swept up, a record without files is not.
        files = self._records.pop(stage)["files"]
        _remove(self._folder, [f"{STAGES}/{stage}.json", *files])


def _partial_folder(root: Path, current: int) -> Path:
    """Return the partial folder of the next generation, as an interrupted build left it."""
    home = root / GENERATIONS
    home.mkdir(exist_ok=True)
    number = f"{current + 1:04d}"
    partial, unpublished = home / f"{PARTIAL}{number}", home / number
    for one in home.iterdir():
        if one.name.startswith((PARTIAL, REMOVED)) and one != partial:
            shutil.rmtree(one)
    if unpublished.exists() and not partial.exists():
        # Its build ended between naming the folder and naming it in CURRENT.
        os.rename(unpublished, partial)
    root.joinpath(f"{CURRENT}.new").unlink(missing_ok=True)
    partial.mkdir(exist_ok=True)
    sync_folder(home)
    sync_folder(root)
    return partial


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def _remove(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def _remove_old(current: Path, keep: int) -> None:
    """Remove all generations before the latest `keep`."""
    earlier = sorted(
        (one for one in current.parent.iterdir() if one.name.isdigit()),
        key=lambda one: int(one.name),
    )
    earlier = [one for one in earlier if int(one.name) <= int(current.name)]
    for old in earlier[:-keep]:
        # Renamed first, so that no half of it ever stands under its name.
        gone = old.with_name(f"{REMOVED}{old.name}")
        os.rename(old, gone)
        shutil.rmtree(gone)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtefactError(unwritable(path, error)) from error


def unwritable(path: Path, error: BaseException) -> str:
    """Return the message for a path that the disk does not take."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"cannot write {path}: {reason}; give a folder that can be written and has room"
