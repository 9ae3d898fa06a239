"""Commands around an artefact: build, inspect, settings, doctor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twofold.options import (
    Artefact,
    Config,
    Interactions,
    Items,
    Json,
    Preset,
    Repeat,
    Set,
    begin,
    settings_from,
)
from twofold.terminal import say, say_json, say_rows

if TYPE_CHECKING:
    from twofold.doctor import Finding
    from twofold.indexing.generation import Generation

app = typer.Typer()


@app.command()
def build(
    interactions: Interactions,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the artefact.")
    ],
    items: Items = None,
    preset: Preset = None,
    config: Config = None,
    overrides: Set = None,
    repeat: Repeat = False,
    as_json: Json = False,
) -> None:
    """Build an index: one more generation of the artefact in --out.

    An interrupted build is taken up where it stopped when the same command runs again. The old
    generation serves until the new one is complete.
    """
    progress = begin(as_json=as_json)
    settings = settings_from(config, overrides, preset=preset, repeat=repeat)
    from twofold.build import build as build_artefact

    report = build_artefact(interactions, items, out, settings, progress)
    if as_json:
        say_json(asdict(report))
    else:
        say(str(report))


@app.command()
def inspect(
    artefact: Artefact,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and check its hash; 1 if one differs.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            help="Draw recall against time of the indexes tried; needs matplotlib.",
        ),
    ] = None,
    training_plot: Annotated[
        Path | None,
        typer.Option(
            "--plot-training",
            metavar="FILE.png",
            help="Draw the curves of the ranker's training; needs matplotlib.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what an artefact holds, how it was made and how large its files are."""
    begin(as_json=as_json)
    from twofold.index_report import indexes_of, plot_indexes
    from twofold.indexing.artefact import open_artefact
    from twofold.indexing.artefact import verify as find_problems
    from twofold.training_report import COURSE, course_of, epochs_of, plot_training

    generation = open_artefact(artefact)
    problems = find_problems(generation) if verify else []
    indexes = indexes_of(generation)
    if plot is not None:
        plot_indexes(indexes, plot)
    if training_plot is not None:
        plot_training(course_of(generation), training_plot)
    if as_json:
        checked = {"verified": not problems, "problems": problems} if verify else {}
        more = {
            "ranker_bytes_an_item": _item_bytes(generation.manifest),
            "indexes": indexes,
            "training": epochs_of(course_of(generation)) if generation.has(COURSE) else [],
        }
        say_json({"generation": generation.name, **generation.manifest, **more, **checked})
    else:
        _show(generation)
        if verify:
            n_files = len(generation.manifest["files"])
            say(f"\nAll {n_files} hashes hold." if not problems else "\nDamaged:")
            for problem in problems:
                say(f"  {problem}")
    if problems:
        raise typer.Exit(1)


@app.command()
def compress(
    artefact: Artefact,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder to write to; ARTEFACT gets a generation."
        ),
    ],
    layers: Annotated[
        int, typer.Option("--layers", "-l", min=2, help="Layers of the smaller text model.")
    ],
    joint_layers: Annotated[
        int | None,
        typer.Option("--joint-layers", min=1, help="How many of them are joint; as many as now."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write an artefact with a smaller ranker, taught by the one that is there.

    Layers of its text model are left out, and the others learn to say what all of them said on the
    lists of the artefact's own users. Both are compared on users that it learned nothing from.
    """
    progress = begin(as_json=as_json)
    from twofold.compress import compress as compress_artefact

    report = compress_artefact(
        artefact, out, layers=layers, joint_layers=joint_layers, progress=progress
    )
    if as_json:
        say_json(report.to_dict())
        return
    say(f"wrote {report.path}, generation {report.generation}")
    say_rows(
        [
            {
                "ranker": name,
                "layers": one.layers,
                "joint": one.joint_layers,
                "history ms": round(one.history_ms, 2),
                "text ms": round(one.text_ms, 2),
                "bytes an item": one.bytes_an_item,
            }
            for name, one in (("larger", report.larger), ("smaller", report.smaller))
        ],
        as_json=False,
    )
    say(f"They share {report.same_top:.1%} of their ten best; logits differ by {report.error:.3f}.")


@app.command()
def compact(artefact: Artefact, as_json: Json = False) -> None:
    """Make what came since the build part of the artefact: one more generation.

    Stage one is fitted again on everything; the ranker's weights stay. The old generation serves
    until the new one is complete, and processes that serve it move when they call refresh.
    """
    progress = begin(as_json=as_json)
    from twofold.compact import compact as compact_artefact

    report = compact_artefact(artefact, progress=progress)
    if as_json:
        say_json(asdict(report))
        return
    say(str(report))


def _show(generation: Generation) -> None:
    from twofold.drift import told
    from twofold.index_report import indexes_of, show_index
    from twofold.indexing.live_log import LiveLog, Position
    from twofold.training_report import COURSE, course_of, show_training

    own = {"files", "settings", "versions", "drift"}
    say(f"generation    {generation.name}")
    for key, value in generation.manifest.items():
        if key not in own:
            for name, one in _flat(key, value):
                say(f"{name:<13} {one}")
    versions = generation.manifest.get("versions", {})
    say(f"versions      {', '.join(f'{name} {one}' for name, one in versions.items())}")
    files = generation.manifest["files"]
    folders: dict[str, list[int]] = {}
    for name, entry in files.items():
        folders.setdefault(name.split("/")[0], []).append(entry["size"])
    say()
    rows = [
        {"part": name, "files": len(sizes), "MiB": round(sum(sizes) / 2**20, 2)}
        for name, sizes in sorted(folders.items())
    ]
    whole = sum(entry["size"] for entry in files.values())
    total = {"part": "(whole)", "files": len(files), "MiB": round(whole / 2**20, 2)}
    say_rows([*rows, total], as_json=False)
    if "drift" in generation.manifest:
        say()
        say("\n".join(told(generation.manifest["drift"])))
    for what, about in indexes_of(generation).items():
        show_index(what, about)
    if generation.has(COURSE):
        show_training(course_of(generation))
    log, read = LiveLog(generation.root), Position.of(generation.manifest)
    events, changes = log.after(read.events)[0], log.item_changes_after(read.items)[0]
    if events:
        say(f"\n{len(events):,} events since the build.")
    if changes:
        say(f"\n{len(changes):,} changes of items since the build.")
    each = _item_bytes(generation.manifest)
    if each is not None:
        million = each * 1e6 / 2**30
        say(f"\nThe ranker's tables take {each:,.0f} bytes an item, {million:.1f} GiB a million.")


def _item_bytes(manifest: Mapping[str, Any]) -> float | None:
    """Return how many bytes of the ranker's tables there are an item; ``None`` without either."""
    n_items = manifest.get("counts", {}).get("items", 0)
    tables = [
        entry["size"]
        for name, entry in manifest["files"].items()
        if name.startswith("ranker/") and name.endswith(".npy")
    ]
    return sum(tables) / n_items if n_items and tables else None


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in _flat(f"{name}.{key}", one)]
    return [(name, value)]


@app.command()
def settings(preset: Preset = None, config: Config = None, overrides: Set = None) -> None:
    """Print all settings as TOML, each explained; with an option those in force."""
    begin(as_json=False)
    from twofold.settings import Settings
    from twofold.settings_file import default_toml, to_toml

    if preset is None and config is None and not overrides:
        say(default_toml(Settings).rstrip("\n"))
    else:
        say(to_toml(settings_from(config, overrides, preset=preset)).rstrip("\n"))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show what this machine has for twofold, what is missing, and the command that mends it.

    Exit code 1 where something is missing that twofold needs.
    """
    begin(as_json=as_json)
    from twofold.doctor import examine

    findings = examine()
    if as_json:
        say_rows([asdict(finding) for finding in findings], as_json=True)
    else:
        for finding in findings:
            _show_finding(finding)
    if any(finding.status == "missing" for finding in findings):
        raise typer.Exit(1)


def _show_finding(finding: Finding) -> None:
    say(f"{finding.status:<8} {finding.area}: {finding.name}: {finding.detail}")
    if finding.fix:
        say(f"         fix: {finding.fix}")
