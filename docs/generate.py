"""Write the generated pages: commands, settings, and what the suites measured.

``make docs``, or ``python -m docs.generate``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from benchmarks.report.pages import readme, sections
from benchmarks.report.quality_pages import ASSETS, DRAWING, drawing
from benchmarks.report.recorded import Recorded
from benchmarks.report.style import CHART_STYLE
from twofold.cli import app
from twofold.settings import Settings
from twofold.settings_file import default_toml

PAGES = {"command-line.md", "settings.md", "results.md"}
README = Path(__file__).parents[1] / "README.md"
WIDTH = 98

COMMAND_LINE = """\
# The command line

Written by `make docs` from the commands' own help; a test fails where it is stale.

Results go to stdout, everything else to stderr, so that a pipe gets only data. With `--json` both
are JSON lines. Exit codes: 0 done; 1 a check did not pass (`inspect --verify`, `doctor`,
`data validate`); 2 something that the caller can put right, in one line on stderr; 130 interrupted;
141 nobody reads stdout any more.
"""

SETTINGS = """\
# Settings

Written by `make docs`, as `twofold settings` prints it; a test fails where it is stale. A file need
hold only what differs. Unknown names are refused with the nearest known one. `--set
section.key=value` on the command line wins over the file, and `"none"` leaves a setting out where
it may be left out.

```toml
"""

RESULTS = """\
# Results

Written by `make docs` from `benchmarks/results/`, where every row stands with its settings, library
versions and hardware; a test fails where this page is stale. How it is measured is on
[its own page](evaluation.md). Choices were made on validation, each protocol one step earlier
(`--skip`). The tests were scored again after changes that were not made for their sake; no choice
was made by them. The rows are of the commit that stands below each table.

"""


def page(name: str) -> str:
    """Return the text of one page."""
    if name == "settings.md":
        return f"{SETTINGS}{default_toml(Settings)}```\n"
    if name == "results.md":
        return RESULTS + "\n".join([*sections()])
    group = typer.main.get_command(app)
    helps = (f"## `{path}`\n\n```text\n{text}\n```\n" for path, text in _helps(group, "twofold"))
    return "\n".join([COMMAND_LINE, *helps])


def _helps(
    command: Any,
    path: str,
    parent: typer.Context | None = None,
) -> Iterator[tuple[str, str]]:
    context = typer.Context(
        command, info_name=path.split()[-1], parent=parent, terminal_width=WIDTH
    )
    lines = command.get_help(context).splitlines()
    yield path, "\n".join(line.rstrip() for line in lines).strip()
    if isinstance(command, typer.core.TyperGroup):
        for name, inner in command.commands.items():
            yield from _helps(inner, f"{path} {name}", context)


def main() -> None:
    """Write all pages beside this file."""
    for name in sorted(PAGES):
        Path(__file__).with_name(name).write_text(page(name), encoding="utf-8")
        sys.stderr.write(f"wrote docs/{name}\n")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stderr.write("wrote the results of README.md\n")
    assets = README.parent / ASSETS
    assets.mkdir(exist_ok=True)
    svg = drawing(Recorded()).svg(CHART_STYLE)
    (assets / DRAWING).write_text(f"{svg}\n", encoding="utf-8")
    sys.stderr.write(f"wrote {ASSETS}/{DRAWING}\n")


if __name__ == "__main__":
    main()
