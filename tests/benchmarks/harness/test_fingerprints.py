"""A fingerprint changes with what code does, and with nothing else about it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks.harness import fingerprints
from benchmarks.harness.fingerprints import code_of

CODE = '''"""What it is."""

def twice(x: int) -> int:
    """Return it twice."""
    return 2 * x  # why
'''


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fingerprints, "ROOT", tmp_path)
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("What it is.", "Something else.", True),
        ("Return it twice.", "Give it back two times.", True),
        ("  # why", "", True),
        ("\n\ndef", "\n\n\n\ndef", True),
        ("2 * x", "3 * x", False),
        ("x: int", "x: float", False),
    ],
)
def test_only_what_code_does_counts(root: Path, old: str, new: str, same: bool) -> None:
    before = code_of(["room"])
    assert old in CODE
    (root / "room" / "a.py").write_text(CODE.replace(old, new))
    assert (code_of(["room"]) == before) == same


def test_a_file_that_comes_or_is_renamed_counts(root: Path) -> None:
    before = code_of(["room"])
    (root / "room" / "b.py").write_text("")
    more = code_of(["room"])
    assert more != before
    (root / "room" / "b.py").rename(root / "room" / "c.py")
    assert code_of(["room"]) not in (before, more)


def test_files_that_are_no_python_count_as_they_are(root: Path) -> None:
    pins = root / "pins.txt"
    pins.write_text("annotated-types==0.8.0\n")
    before = code_of(["pins.txt"])
    pins.write_text("annotated-types==0.8.1\n")
    assert code_of(["pins.txt"]) != before


def test_every_version_of_python_tells_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seen from 3.10 to 3.13: rows that were made by one hold under another.
    assert code_of(["room"])[:16] == "7dab1c8b0077330a"
    plain = ast.dump

    def later(tree: ast.AST, **_: object) -> str:
        return plain(tree).replace(", args=arguments(", ", type_params=[], args=arguments(")

    monkeypatch.setattr(ast, "dump", later)
    assert code_of(["room"])[:16] == "7dab1c8b0077330a"
