"""``python -m benchmarks SUITE [DATASET ...]``: twofold and its peers, measured on data.

Data sets are read from the folder named by ``TWOFOLD_DATA`` (MovieLens-100k is fetched); tables of
your own from ``--data DIR``. Rows go to stdout as they are measured, one line of JSON each. With
``--json FILE`` or ``--record`` finished cells are kept, and a run that was cut off goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.commands import add_commands
from benchmarks.data.datasets import DATA_SETS, DataSet, data_set, own_data_set
from benchmarks.harness.cells import Plan, Suite
from benchmarks.harness.records import Records, records_of
from benchmarks.harness.running import Run
from benchmarks.harness.users import user_results
from benchmarks.suites import SUITES
from twofold.console import make_console, make_progress, set_up_logging
from twofold.indexing.errors import InputError, TwofoldError
from twofold.indexing.splits import PROTOCOLS
from twofold.terminal import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and return its exit code."""
    given = _parser().parse_args(arguments)
    console = make_console()
    set_up_logging(console, as_json=False, verbose=False)
    try:
        code: int = given.do(given)
    except TwofoldError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("benchmarks: interrupted; finished cells are kept\n")
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for suite in SUITES.values():
        one = commands.add_parser(suite.name, help=suite.about, description=suite.about)
        _add_suite_options(one, suite)
    add_commands(commands)
    return parser


def _add_suite_options(parser: argparse.ArgumentParser, suite: Suite) -> None:
    add = parser.add_argument
    add("dataset", nargs="*", help=f"of {', '.join(DATA_SETS)}; {', '.join(suite.datasets)}")
    add("--data", type=Path, metavar="DIR", help="tables of your own: interactions.*, items.*")
    add("--protocol", choices=PROTOCOLS, help="how the test is held out; the data set's own")
    add("--labels", type=int, metavar="N", help="labels a user for leave-last-n")
    add("--cells", default="", help="which, with semicolons between; all")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of twofold's")
    add("--quick", action="store_true", help="everything asked less: over in a minute")
    add("--json", type=Path, metavar="FILE", help="append finished cells to a file")
    add("--record", action="store_true", help="append finished cells to benchmarks/results")
    add("--again", action="store_true", help="run cells that stand recorded as well")
    for option in suite.options:
        if option.default is False:
            add(f"--{option.name}", action="store_true", help=option.help)
        else:
            add(f"--{option.name}", type=option.kind, default=option.default, help=option.help)
    parser.set_defaults(do=lambda given: _run(suite, given))


def _run(suite: Suite, given: argparse.Namespace) -> int:
    """Run a suite on each data set, and print its rows."""
    if given.record and given.json is not None:
        raise InputError("give --record or --json FILE, not both")
    records = Records(given.json) if given.json is not None else None
    if given.record:
        records = records_of(suite.name)
    for data in _data_sets(suite, given):
        plan = Plan(
            data.under(given.protocol, given.labels),
            tuple(given.set),
            {
                option.name: getattr(given, option.name.replace("-", "_"))
                for option in suite.options
            },
            given.quick,
            make_progress(make_console(), as_json=False),
        )
        run = Run(suite, plan, user_results(), records, _command(suite, data, given), given.again)
        names = [name.strip() for name in given.cells.split(";") if name.strip()]
        for row in run.rows(names):
            say(json.dumps(row))
    return 0


def _data_sets(suite: Suite, given: argparse.Namespace) -> Iterator[DataSet]:
    if given.data is not None:
        if given.dataset:
            raise InputError("give a data set's name or --data DIR, not both")
        yield own_data_set(given.data)
        return
    # Asked less, a suite shows that it works: one data set is enough.
    for name in given.dataset or suite.datasets[: 1 if given.quick else None]:
        yield data_set(name)


def _command(suite: Suite, data: DataSet, given: argparse.Namespace) -> str:
    """Return what would measure the same again; no path of this machine is in it."""
    words = ["python", "-m", "benchmarks", suite.name]
    words += ["--data", "DIR"] if given.data is not None else [data.name]
    if given.protocol is not None:
        words += ["--protocol", given.protocol]
    if given.labels is not None:
        words += ["--labels", str(given.labels)]
    words += ["--quick"] if given.quick else []
    for one in given.set:
        words += ["--set", one]
    for option in suite.options:
        value = getattr(given, option.name.replace("-", "_"))
        if value != option.default:
            words += [f"--{option.name}", *([] if value is True else [str(value)])]
    words += ["--cells", given.cells] if given.cells else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
