"""What a recorded row depends on, as one short text that changes when any of it does."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twofold.indexing.durable import canonical_json

ROOT = Path(__file__).resolve().parents[2]


def fingerprint(
    sources: Sequence[str], settings: Mapping[str, Any], data: str, versions: Mapping[str, str]
) -> str:
    """Return 16 hexadecimal digits for what a measurement exercised.

    Parameters
    ----------
    sources
        Files and folders of Python code, relative to the root. What they say in comments and
        docstrings does not count, nor does their layout.
    settings
        JSON values.
    data
        Fingerprint of the data.
    versions
        Versions of libraries.
    """
    told = [code_of(sources), dict(settings), data, dict(sorted(versions.items()))]
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()[:16]


def code_of(sources: Sequence[str]) -> str:
    """Return the SHA-256 of what Python files do, and of what other files say."""
    whole = hashlib.sha256()
    for name in sources:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(file.relative_to(ROOT).as_posix().encode())
            text = file.read_text(encoding="utf-8")
            whole.update((ast.dump(_bare(text)) if file.suffix == ".py" else text).encode())
    return whole.hexdigest()


def _bare(text: str) -> ast.Module:
    """Return a module without docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree
