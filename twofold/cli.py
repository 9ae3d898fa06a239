"""The command line: ``twofold COMMAND``; thin commands that mirror the library.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 a check did not pass or a bug,
2 something the caller can put right (one line on stderr), 130 interrupted, 141 nobody reads stdout.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from twofold import (
    __version__,
    commands_build,
    commands_data,
    commands_measure,
    commands_recommend,
    commands_train,
    commands_update,
)
from twofold.indexing.errors import TwofoldError

app = typer.Typer(
    name="twofold",
    help="Recommend in two stages: retrieve candidates, rerank them with a language model.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED, BROKEN_PIPE = 130, 141


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twofold {__version__}")
        raise typer.Exit


@app.callback()
def _twofold(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log details, and tracebacks of errors.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if verbose:
        logging.getLogger("twofold").setLevel(logging.DEBUG)


for commands in (
    commands_measure,
    commands_data,
    commands_build,
    commands_train,
    commands_update,
    commands_recommend,
):
    app.add_typer(commands.app)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; mistakes of the caller become one line."""
    try:
        # Outside standalone mode an exit comes back as a code, and errors are left to us.
        code = app(args=list(arguments) or ["--help"], prog_name="twofold", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", INTERRUPTED)
    except (BrokenPipeError, SystemExit):
        # Typer exits by itself where a write fails; the flush above is ours. Python would complain
        # once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except typer.TyperException as error:
        return _complain(error.format_message(), error.exit_code)
    except TwofoldError as error:
        return _complain(str(error), 2, error)
    except OSError as error:
        # Those that a person can put right; others are bugs and keep their traceback.
        path = isinstance(error, FileNotFoundError | PermissionError) or error.filename is not None
        if not path and error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", 2, error)
    if code == INTERRUPTED:
        return _complain("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int, error: Exception | None = None) -> int:
    if error is not None and logging.getLogger("twofold").level == logging.DEBUG:
        sys.stderr.writelines(traceback.format_exception(error))
    sys.stderr.write(f"twofold: {' '.join(message.split())}\n")
    return code


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))
