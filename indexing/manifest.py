"""The manifest: what a generation holds, how it was made, and the hash of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from twofold.indexing.durable import canonical_json, files_under, sha256_of
from twofold.indexing.errors import ArtefactError

FORMAT = "twofold artefact"
# Raised whenever a generation comes to hold something else: no version but its own is read.
FORMAT_VERSION = 8
# What a manifest says of itself; all else is what its build said.
OWN = frozenset(("format", "format_version", "files", "content_hash", "created", "versions"))
MANIFEST = "manifest.json"
MEASUREMENTS = "measurements.json"
STAGES = "stages"
# Ending of files that tell of the making, line by line with times: no two builds have the same.
COURSE = ".jsonl"
LIBRARIES = (
    "numpy",
    "polars",
    "torch",
    "transformers",
    "sentence-transformers",
    "implicit",
    "peft",
)


def stage_key(*parts: Any) -> str:
    """Return the key of a build stage: equal exactly where inputs, settings and versions are.

    Parameters
    ----------
    *parts
        Everything the stage's result depends on, as JSON values: fingerprints of inputs, settings
        (``dataclasses.asdict``), seeds, keys of earlier stages. Versions are added here.
    """
    whole = [FORMAT, FORMAT_VERSION, library_versions(), list(parts)]
    return hashlib.sha256(canonical_json(whole).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of twofold and of the libraries that shape an artefact."""
    found = {}
    for name in ("twofold", *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # numpy and friends may come without metadata; say so
            found[name] = "unknown"
    return found


def make_manifest(
    about: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the manifest of a generation.

    Parameters
    ----------
    about
        What the build has to say: counts, dimensions, metric, encoder identity, data fingerprint,
        settings, seed.
    files
        Name to ``{"sha256": ..., "size": ...}`` of each file; bytes.
    """
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    clashes = sorted(set(about) & OWN)
    if clashes:
        raise ArtefactError(f"a build cannot set the manifest's own field '{clashes[0]}'")
    manifest = {**head, **about, "files": {name: dict(files[name]) for name in sorted(files)}}
    return {
        **manifest,
        "content_hash": content_hash(manifest),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
    }


def content_hash(manifest: Mapping[str, Any]) -> str:
    """Return the hash of what a generation is: files and settings, without times and measurements.

    Same data, settings and seed on one thread give the same content hash. It covers the format,
    all that the build said about itself, and name and hash of every file but ``measurements.json``,
    the records of finished stages and the courses of trainings (``*.jsonl``); not the time of the
    build and not the versions of libraries.
    """
    own = {"content_hash", "created", "versions", "files"}
    about = {key: value for key, value in manifest.items() if key not in own}
    files = sorted(
        [name, entry["sha256"]]
        for name, entry in manifest["files"].items()
        if name != MEASUREMENTS and not name.startswith(f"{STAGES}/") and not name.endswith(COURSE)
    )
    return hashlib.sha256(canonical_json([about, files]).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a generation's folder after the cheap checks.

    Format and version are known, and every listed file exists with the listed size.

    Raises
    ------
    ArtefactError
        If anything is missing, damaged or of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtefactError(f"{folder} has no {MANIFEST}; build the artefact again") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{path} cannot be read ({error}); restore it or build the artefact again"
        ) from error
    _check_format(manifest, path)
    for name, entry in manifest["files"].items():
        _check_size(folder / name, entry["size"])
    return dict(manifest)


def find_problems(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a generation's files, one line each; reads every byte."""
    listed: Mapping[str, Any] = manifest["files"]
    present = set(files_under(folder)) - {MANIFEST}
    problems = [f"{name} is missing" for name in sorted(set(listed) - present)]
    problems += [f"{name} is not in the manifest" for name in sorted(present - set(listed))]
    for name in sorted(present & set(listed)):
        size = (folder / name).stat().st_size
        if size != listed[name]["size"]:
            problems.append(f"{name} has {size:,} bytes, not {listed[name]['size']:,}")
        elif sha256_of(folder / name) != listed[name]["sha256"]:
            problems.append(f"{name} was changed: its SHA-256 is not the manifest's")
    if content_hash(manifest) != manifest["content_hash"]:
        problems.append(f"{MANIFEST} was changed: its content hash does not follow from it")
    return problems


def _check_format(manifest: Any, path: Path) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtefactError(f"{path} is not the manifest of a {FORMAT}; give a folder built by it")
    found = manifest.get("format_version")
    if found != FORMAT_VERSION:
        older = isinstance(found, int) and found < FORMAT_VERSION
        raise ArtefactError(
            f"{path} has format version {found}, but this twofold reads {FORMAT_VERSION}; "
            f"{'' if older else 'upgrade twofold or '}build the artefact again"
        )
    files = manifest.get("files")
    entries = list(files.values()) if isinstance(files, dict) else [None]
    whole = all(isinstance(entry, dict) and {"sha256", "size"} <= entry.keys() for entry in entries)
    if not whole or "content_hash" not in manifest:
        raise ArtefactError(f"{path} is incomplete; restore it or build the artefact again")


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError:
        raise ArtefactError(f"{path} is missing; restore it or build the artefact again") from None
    if found != size:
        raise ArtefactError(
            f"{path} has {found:,} bytes where the manifest says {size:,}; "
            "restore it or build the artefact again"
        )
