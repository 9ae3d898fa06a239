"""The generated pages of the documentation are those that would be generated now."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["command-line.md", "settings.md", "results.md"])
def test_generated_pages_are_fresh(name: str) -> None:
    made = generator()
    assert name in made.PAGES
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text == made.page(name), f"docs/{name} is stale; run: make docs"


def test_the_readmes_results_are_fresh() -> None:
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert text == generator().readme(text), "the results in README.md are stale; run: make docs"


def test_every_setting_is_explained() -> None:
    lines = (DOCS / "settings.md").read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        if " =" in line or line.startswith("["):
            assert before.startswith("#") or " =" in before, f"{line} has no explanation"
