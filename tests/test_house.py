"""The rules of the house: where code lives, what may import what, what a wheel holds."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FACE = "twofold"
ROOMS = ("indexing", "retrieval", "ranking", "evaluation")

# What a room may import besides itself. The face may import every room.
MAY_IMPORT: dict[str, set[str]] = {
    "indexing": set(),
    "retrieval": {"indexing"},
    "ranking": {"indexing", "retrieval", "evaluation.metrics"},
    "evaluation": {"indexing", "retrieval"},
    "evaluation.metrics": set(),
}

HEAVY = ("torch", "faiss", "implicit", "transformers", "sentence_transformers", "sklearn")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python_files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


def face_files() -> list[Path]:
    # Not rglob: the rooms must not be reached through their links.
    return sorted((ROOT / FACE).glob("*.py"))


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield (level, dotted name) of every import, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, f"{node.module or ''}.{alias.name}") for alias in node.names)


def test_packages_are_the_folders_that_hold_an_init() -> None:
    setuptools = project()["tool"]["setuptools"]
    here = {FACE, *(f"{FACE}.{room}" for room in ROOMS)}
    found = {FACE} | {
        f"{FACE}.{folder.name}"
        for folder in ROOT.iterdir()
        if folder.name not in {FACE, "tests", "benchmarks", "examples"}
        and (folder / "__init__.py").exists()
    }
    assert found == here
    assert set(setuptools["packages"]) == found
    assert setuptools["package-dir"] == {FACE: FACE, **{f"{FACE}.{r}": r for r in ROOMS}}


@pytest.mark.parametrize("room", ROOMS)
def test_every_link_is_relative_and_right(room: str) -> None:
    link = ROOT / FACE / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../{room}"
    assert (link / "__init__.py").samefile(ROOT / room / "__init__.py")


def test_there_are_no_other_links_and_no_nested_packages() -> None:
    links = {path.name for path in (ROOT / FACE).iterdir() if path.is_symlink()}
    assert links == set(ROOMS)
    for room in ROOMS:
        folders = [p for p in (ROOT / room).iterdir() if p.is_dir() and p.name != "__pycache__"]
        assert folders == [], f"{room} must stay flat"


def test_linters_see_each_room_once() -> None:
    tool = project()["tool"]
    assert tool["mypy"]["files"][0] == FACE
    assert not set(ROOMS) & set(tool["mypy"]["files"])
    assert set(tool["ruff"]["extend-exclude"]) == {f"{FACE}/{room}" for room in ROOMS}


@pytest.mark.parametrize(
    "file",
    [*face_files(), *python_files(*ROOMS, "tests", "benchmarks", "examples")],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_imports_are_absolute_and_in_full(file: Path) -> None:
    for level, name in imports(file):
        assert level == 0, f"{file.name}: relative import of {name}"
        assert name.split(".")[0] not in ROOMS, f"{file.name}: write twofold.{name}"


@pytest.mark.parametrize("file", python_files(*ROOMS), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    room = file.parent.name
    allowed = MAY_IMPORT.get(f"{room}.{file.stem}", MAY_IMPORT[room] | {room})
    for _, name in imports(file):
        if name.split(".")[0] != FACE:
            continue
        inner = name.removeprefix(f"{FACE}.")
        assert any(inner == one or inner.startswith(f"{one}.") for one in allowed), (
            f"{room}/{file.name} must not import {name}"
        )


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["twofold", "twofold.cli"])
def test_the_face_imports_nothing_that_takes_time(module: str) -> None:
    assert not modules_after(f"import {module}") & {*HEAVY, "polars", "numpy", "rich.progress"}


@pytest.mark.parametrize(
    "module",
    [
        "settings",
        "indexing.dataset",
        "indexing.interactions",
        "indexing.artefact",
        "retrieval.candidates",
        "retrieval.queries",
    ],
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    assert not modules_after(f"import twofold.{module}") & set(HEAVY)


def test_a_wheel_holds_every_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    # Built from a copy: a build leaves its folders beside the sources, and a stale one there would
    # hide a module that is missing.
    source = tmp_path / "source"
    source.mkdir()
    packed = subprocess.run(
        ["tar", "-cf", "-", "pyproject.toml", "README.md", "LICENSE", FACE, *ROOMS],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    subprocess.run(["tar", "-xf", "-"], cwd=source, input=packed.stdout, check=True)
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"{FACE}/{file.name}" for file in face_files()} | {
        f"{FACE}/{file.relative_to(ROOT).as_posix()}" for file in python_files(*ROOMS)
    }
    assert expected <= held
    assert f"{FACE}/py.typed" in held
    presets = {f"{FACE}/presets/{one.name}" for one in (ROOT / FACE / "presets").iterdir()}
    assert presets <= held
    assert len(presets) >= 4
    assert {name.split("/")[0] for name in held} == {FACE, f"twofold-{version()}.dist-info"}


def version() -> str:
    return str(project()["project"]["version"])


def test_one_version_everywhere() -> None:
    text = (ROOT / FACE / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{version()}"' in text
    assert f"## [{version()}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_what_is_tested_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert "torch==2.13.0" in pins
    for line in project()["project"]["dependencies"]:
        name = line.split(";")[0].split(">")[0].strip()
        # Each platform has one of the two builds of faiss; the pins come from a Linux machine.
        assert name == "faiss-cpu" or any(pin.startswith(f"{name}==") for pin in pins), name


@pytest.mark.parametrize(
    "file", [*face_files(), *python_files(*ROOMS)], ids=lambda file: str(file.relative_to(ROOT))
)
def test_modules_are_of_a_readable_size(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, "past 400 lines a second idea has moved in"
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says in its first line what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # Signature and docstring are for readers; what they must follow is the rest.
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize(
    "file", [*face_files(), *python_files(*ROOMS)], ids=lambda file: str(file.relative_to(ROOT))
)
def test_nothing_is_pickled_or_printed(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{file.name}:{node.lineno} prints"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False
    assert not any(name.split(".")[0] == "pickle" for _, name in imports(file))


@pytest.mark.parametrize(
    "page",
    sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
