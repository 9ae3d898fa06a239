"""What code does, as one short text that changes with it."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def code_of(sources: Sequence[str]) -> str:
    """Return the SHA-256 of what Python files do, and of what other files say.

    Parameters
    ----------
    sources
        Files, and folders of Python code, relative to the root. What code says in comments and
        docstrings does not count, nor does its layout.
    """
    whole = hashlib.sha256()
    for name in sources:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(file.relative_to(ROOT).as_posix().encode())
            text = file.read_text(encoding="utf-8")
            whole.update((_told(_bare(text)) if file.suffix == ".py" else text).encode())
    return whole.hexdigest()


def _told(tree: ast.Module) -> str:
    """Return a module as text, the same in every version of Python that reads it."""
    # Later versions leave out empty lists unless told not to, and know type parameters.
    whole: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **whole).replace(", type_params=[]", "")


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
