"""Write the generated pages: commands, settings, and what the suites measured.

``python docs/generate.py``, or ``make docs``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from twofold.cli import app
from twofold.evaluation.report import Circumstances, Row, markdown_table, read_line
from twofold.ranking.runtime import RUNTIMES
from twofold.settings import Settings
from twofold.settings_file import default_toml

PAGES = {"command-line.md", "settings.md", "results.md"}
RECORDED = Path(__file__).parents[1] / "benchmarks" / "results"
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
SYSTEMS = (
    "popularity",
    "collaborative",
    "neighbours",
    "covisits",
    "text",
    "fused stage one",
    "logistic regression",
    "LambdaRank",
    "same g, text zeroed",
    "reranked",
)
ALS_SHOWN = 8
README_SYSTEMS = (
    "popularity",
    "fused stage one",
    "logistic regression",
    "LambdaRank",
    "reranked",
)
METRICS = ("ndcg@10", "hit_rate@10", "recall@10", "mrr@10")


def page(name: str) -> str:
    """Return the text of one page."""
    if name == "settings.md":
        return f"{SETTINGS}{default_toml(Settings)}```\n"
    if name == "results.md":
        return RESULTS + "\n".join([*_sections()])
    group = typer.main.get_command(app)
    sections = (f"## `{path}`\n\n```text\n{text}\n```\n" for path, text in _helps(group, "twofold"))
    return "\n".join([COMMAND_LINE, *sections])


def _sections() -> Iterator[str]:
    for part in (_quality, _reranking, _layers, _retrieval, _live, _serving, _als):
        yield from part()


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


Run = tuple[Circumstances, dict[str, Row]]


def readme(text: str) -> str:
    """Return the README with its results as they stand in the records."""
    start, end = "<!-- results -->\n", "<!-- /results -->"
    before, rest = text.split(start)
    after = rest.split(end)[1]
    parts = []
    for (dataset, skipped), (about, rows) in _runs().items():
        if not skipped:
            shown = [rows[name] for name in README_SYSTEMS]
            table = markdown_table(shown, ("ndcg@10", "hit_rate@10"))
            parts.append(f"{dataset}, {about.split}, {shown[-1].n_users:,} users:\n\n{table}")
    told = "\n".join([*parts, *_speeds()])
    more = "More rows, the commands and all intervals: [results](docs/results.md)."
    return f"{before}{start}\n{told}\n{more}\n\n{end}{after}"


def _speeds() -> Iterator[str]:
    """Return a sentence on reranking for each data set, the fastest runtime beside the peer."""
    for (dataset, tokens), lines in _latest("rerank").items():
        ours = [one for one in lines if one["history"] == "vectors"]
        best = min(ours, key=lambda one: one["p50_ms"])
        peer = next(one for one in lines if one["runtime"] == "sentence-transformers float32")
        yield (
            f"{dataset}, texts of up to {tokens} tokens: reranking {best['candidates']} candidates "
            f"for a new history takes {best['p50_ms']:.1f} ms ({best['runtime']}, the history as "
            f"vectors), where sentence-transformers' cross-encoder on the same backbone, which "
            f"reads it as text, takes {peer['p50_ms']:,.0f} ms: "
            f"{best['speedup_vs_sentence_transformers']:.0f} times as long "
            f"({best['speedup_vs_fastest_sentence_transformers']:.0f} times in its own bfloat16).\n"
        )


def _runs() -> dict[tuple[str, int], Run]:
    """Return the latest run of each data set and variant on its test."""
    runs: dict[tuple[str, int], Run] = {}
    for line in (RECORDED / "quality.jsonl").read_text(encoding="utf-8").splitlines():
        row, about = read_line(line)
        key = about.dataset, int(about.settings.get("skip_labels", 0))
        if key not in runs or runs[key][0].commit != about.commit:
            runs[key] = about, {}
        if row.group == "all":
            runs[key][1][row.name] = row
    return runs


def _quality() -> Iterator[str]:
    """Return a section a run of the quality suite."""
    for (dataset, skipped), (about, rows) in _runs().items():
        variant = f" --set skip_labels={skipped}" if skipped else ""
        title = f"{dataset}, {about.split}"
        if skipped:
            title += f", stage two trained without each user's latest {skipped} labels"
        shown = [rows[name] for name in SYSTEMS]
        yield f"## {title}\n"
        yield f"```sh\npython -m benchmarks quality {dataset}{variant} --record\n```\n"
        yield markdown_table(shown, METRICS)
        yield _comparisons(rows)
        yield f"Commit {str(about.commit)[:10]}, {_machine(about)}.\n"


def _comparisons(rows: Mapping[str, Row]) -> str:
    """Return what the reranker gains and how its probabilities do, in sentences."""
    lines = []
    for name in ("fused stage one", "logistic regression", "LambdaRank", "same g, text zeroed"):
        gap = rows[name].differences["ndcg@10"]
        lines.append(
            f"- NDCG@10, reranked − {name}: {-gap.mean:+.4f} [{-gap.high:+.4f}, {-gap.low:+.4f}]"
        )
    told = rows["probabilities"].metrics
    for measure in ("log_loss", "brier"):
        for other in ("base rate", "stage one"):
            gap = told[f"{measure} - {other}"]
            spelt = f"{gap.mean:+.5f} [{gap.low:+.5f}, {gap.high:+.5f}]"
            lines.append(f"- {measure}, reranked − {other}: {spelt}")
    ece, rate = told["ece"].mean, told["base_rate"].mean
    lines.append(f"- ece {ece:.4f}, {ece / rate:.1%} of the base rate {rate:.4f}")
    ceiling = rows["ceiling of the served candidates"].metrics
    lines += [f"- ceiling: {name} {one.mean:.4f}" for name, one in sorted(ceiling.items())]
    for stage in ("stage one latency", "stage two latency"):
        times = rows[stage].latency_ms
        spelt = " / ".join(f"{times[p]:.1f}" for p in ("p50", "p95", "p99"))
        lines.append(f"- {stage}, p50 / p95 / p99: {spelt} ms a query")
    return "\n".join(lines) + "\n"


def _machine(about: Circumstances) -> str:
    hardware = about.hardware
    return f"{hardware['cores']} cores of {hardware['cpu']}, {hardware['gpu'] or 'no GPU'}"


def _latest(suite: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Return the lines of the latest run of each data set and length of item texts."""
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    file = RECORDED / f"{suite}.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        told = json.loads(line)
        key = told["dataset"], told["max_item_tokens"]
        if key not in runs or runs[key][0]["run"] != told["run"]:
            runs[key] = []
        runs[key].append(told)
    return runs


def _ran_on(told: Mapping[str, Any]) -> str:
    hardware = told["hardware"]
    return (
        f"Commit {str(told['commit'])[:10]}, {hardware['cores']} cores of {hardware['cpu']}, "
        f"{hardware['gpu'] or 'no GPU'}, torch on {told['threads']} threads.\n"
    )


def _reranking() -> Iterator[str]:
    """Return how fast stage two is beside its peer, a table a data set."""
    for (dataset, tokens), lines in _latest("rerank").items():
        yield f"## {dataset}, texts of up to {tokens} tokens: reranking one list\n"
        yield f"```sh\npython -m benchmarks rerank {lines[0]['command']} --record\n```\n"
        about = lines[0]
        yield (
            f"A new history of {about['history_events']} events, {about['candidates']} candidates, "
            "nothing cached; all systems take turns on the same lists in one run. The floor is the "
            "list's multiplications at the rate of a large matrix product in that precision.\n"
        )
        head = ["system", "history", "p50 ms", "p95 ms", "p99 ms"]
        head += ["times faster than sentence-transformers", "floor ms", "floors"]
        yield f"| {' | '.join(head)} |"
        yield "|---|---|---|---|---|---|---|---|"
        for one in lines:
            faster = "–"
            if "speedup_vs_sentence_transformers" in one:
                whole = one["speedup_vs_sentence_transformers"]
                best = one["speedup_vs_fastest_sentence_transformers"]
                faster = f"{whole:.0f} (its fastest form: {best:.0f})"
            floor = f"{one['floor_ms']:.2f}" if "floor_ms" in one else "–"
            times = f"{one['times_floor']:.1f}" if "times_floor" in one else "–"
            yield (
                f"| {one['runtime']} | {one['history']} | {one['p50_ms']:.2f} | "
                f"{one['p95_ms']:.2f} | {one['p99_ms']:.2f} | {faster} | {floor} | {times} |"
            )
        yield f"\n{_ran_on(about)}"


def _layers() -> Iterator[str]:
    """Return what layers are worth, a table a data set: the latest run of each command."""
    runs: dict[str, list[dict[str, Any]]] = {}
    file = RECORDED / "layers.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        told = json.loads(line)
        if told["command"] not in runs or runs[told["command"]][0]["run"] != told["run"]:
            runs[told["command"]] = []
        runs[told["command"]].append(told)
    for command, lines in runs.items():
        about = lines[0]
        yield f"## {about['dataset']}: what layers are worth\n"
        yield f"```sh\npython -m benchmarks layers {command} --record\n```\n"
        yield (
            f"{about['n_users']:,} users of the test, {about['windows']} label windows; "
            "milliseconds to rerank one new history's list in each runtime, and in brackets the "
            "share of float32's ten best that are among its ten best.\n"
        )
        head = ["ranker", "layers", "joint", "seed", "rate", "NDCG@10", "bytes an item"]
        yield f"| {' | '.join([*head, *RUNTIMES])} |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for one in lines:
            if "ranker" not in one:
                continue
            quality = f"{one['ndcg10']:.4f} [{one['ndcg10_low']:.4f}, {one['ndcg10_high']:.4f}]"
            told = [str(one.get(k, "–")) for k in ("layers", "joint_layers", "seed")]
            rate = f"{one['learning_rate']:g}" if "learning_rate" in one else "–"
            times = {each["runtime"]: each for each in one.get("runtimes", ())}
            found = (times.get(runtime) for runtime in RUNTIMES)
            spent = [
                "–" if t is None else f"{t['milliseconds']:.1f} ({t['same_top']:.0%})"
                for t in found
            ]
            each = f"{one['bytes_an_item']:,}" if "bytes_an_item" in one else "–"
            yield f"| {' | '.join([one['ranker'], *told, rate, quality, each, *spent])} |"
        yield ""
        for one in lines:
            if "comparison" in one:
                yield (
                    f"- {one['comparison']} joint, {one['seeds']} seed(s): NDCG@10 "
                    f"{one['relative_difference']:+.1%} "
                    f"[{one['relative_low']:+.1%}, {one['relative_high']:+.1%}] of all joint's."
                )
        threads = about["hardware"]["threads"] or about["hardware"]["cores"]
        yield f"\n{_ran_on({**about, 'threads': threads})}"


Cells = dict[str, list[dict[str, Any]]]


def _retrieval() -> Iterator[str]:
    """Return how stage one does, a section a catalogue: the latest run of each cell."""
    catalogues: dict[str, Cells] = {}
    file = RECORDED / "retrieval.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        told = json.loads(line)
        name = f"{told['dataset']}{' grown' if told['grown'] else ''}, {told['n_items']:,} items"
        cells = catalogues.setdefault(name, {})
        if told["cell"] not in cells or cells[told["cell"]][0]["run"] != told["run"]:
            cells[told["cell"]] = []
        cells[told["cell"]].append(told)
    for name, cells in catalogues.items():
        yield f"## {name}: stage one\n"
        commands = dict.fromkeys(one[0]["command"] for one in cells.values())
        runs = (f"python -m benchmarks retrieval {command} --record" for command in commands)
        yield "```sh\n" + "\n".join(runs) + "\n```\n"
        yield from _indexes(cells)
        yield from (f"- {one}" for one in _told_of_cells(cells))
        yield from _slices(cells)
        about = next(iter(cells.values()))[0]
        yield f"\n{_ran_on({**about, 'threads': about['hardware']['threads']})}"


def _indexes(cells: Cells) -> Iterator[str]:
    """Return tables of what was tried on a sample, and of peers that took turns with the choice."""
    tried = cells.get("index", [])
    if len(tried) > 1:
        yield "| tried | on items | effort | recall@100 | ms a query | bytes an item |"
        yield "|---|---|---|---|---|---|"
        for one in tried:
            chosen = f", **chosen**, {one['tuned_s']:.0f} s in all" if one["chosen"] else ""
            yield (
                f"| {one['index']}{chosen} | {one['tried_on']:,} | {one['effort']} | "
                f"{one['recall']:.4f} | {one['p50_ms']:.2f} | {one['bytes_per_item']:,.0f} |"
            )
        yield ""
    peers = [one for cell in ("faiss", "hnswlib", "usearch") for one in cells.get(cell, ())]
    if peers:
        head = "index | threads | recall@100 | queries a second | p50 ms | p99 ms | build s"
        yield f"| {head} | bytes an item | twofold's rate over it |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for one in peers:
            yield (
                f"| {one['index']} | {one['threads']} | {one['recall']:.4f} | {one['qps']:,.0f} | "
                f"{one['p50_ms']:.2f} | {one['p99_ms']:.2f} | {one['build_s']:.0f} | "
                f"{one['bytes_per_item']:,.0f} | {one['ours_over_this']:.2f} |"
            )
        yield ""


def _told_of_cells(cells: Cells) -> Iterator[str]:
    """Return sentences on whole queries, filters, batches and recall."""
    for one in cells.get("stage-one", ()):
        yield (
            f"a whole query of all sources, 100 candidates: p50 {one['p50_ms']:.1f} / p95 "
            f"{one['p95_ms']:.1f} / p99 {one['p99_ms']:.1f} ms, {one['ratio_vs_raw']:.2f} times "
            f"its bare library calls ({one['raw_ms']:.1f} ms); texts {one['index']}, factors "
            f"{one['factors']}"
        )
    for one in cells.get("filters", ())[1:]:
        came = "all k came" if one["all_k_came"] else "**fewer than k came**"
        yield (
            f"a filter that leaves {one['share']:.1%} of the items: {came}, p50 "
            f"{one['p50_ms']:.1f} / p99 {one['p99_ms']:.1f} ms, p99 {one['p99_ratio']:.2f} times "
            "that without a filter"
        )
    for one in cells.get("batch", ()):
        of = ", by an engine's calls" if one.get("system") == "engine" else ""
        yield (
            f"{one['users']:,} users at once{of}: {one['qps']:,.0f} a second, "
            f"{one['times_single']:.1f} times as many as one by one"
        )
    recalls = cells.get("recall", [])
    for one in recalls:
        if one["system"] == "fused":
            yield f"recall of the fused list at {one['depth']}: {one['recall']:.4f}"
    told = [
        f"{one['system']} {one['recall']:.3f} ({one['only_it']:.3f})"
        for one in recalls
        if one["system"] != "fused"
    ]
    if told:
        yield f"of it by source, and in brackets what it alone proposed: {', '.join(told)}"


def _slices(cells: Cells) -> Iterator[str]:
    """Return tables of slices, of rules' prices, and of items that nobody has touched."""
    if "slices" in cells:
        yield "\n| users, or held-out items | how many | union | recall@100 | ndcg@10 |"
        yield "|---|---|---|---|---|"
        for one in cells["slices"]:
            told = (_with_interval(one[name]) for name in ("recall@union", "recall@100", "ndcg@10"))
            yield f"| {one['slice']} | {one['n_users']:,} | {' | '.join(told)} |"
    if "diversity" in cells:
        yield "\n| rule for ten of stage one | ndcg@10 | − without | cosine of two |"
        yield "|---|---|---|---|"
        for one in cells["diversity"]:
            rule = f"diversity {one.get('diversity', 0)}"
            if one.get("at_most"):
                caps = one["at_most"].items()
                rule = " ".join(f"at most {most} of a {name}" for name, most in caps)
            told = (_with_interval(one[name]) for name in ("ndcg@10", "ndcg@10 - plain", "alike"))
            yield f"| {rule} | {' | '.join(told)} |"
    if "cold-items" in cells:
        yield "\n| labels | source | factors guessed | recall@100 |\n|---|---|---|---|"
        for one in cells["cold-items"]:
            guessed = "yes" if one["guessed"] else "no"
            of = one["labels"] + (f", {one['n_labels']:,}" if "n_labels" in one else "")
            reached = _with_interval(one.get("recall", one.get("recall@100")))
            yield f"| {of} | {one['system']} | {guessed} | {reached} |"


def _with_interval(told: Mapping[str, float | None] | None) -> str:
    if told is None or told["mean"] is None:
        return "–"
    return f"{told['mean']:.4f} [{told['low']:.4f}, {told['high']:.4f}]"


def _live() -> Iterator[str]:
    """Return what a catalogue that changes does, the latest run of each data set."""
    for (dataset, _), lines in _latest("live").items():
        one = lines[-1]
        yield f"## {dataset}: events and items that come while it serves\n"
        yield f"```sh\npython -m benchmarks live {one['command']} --record\n```\n"
        yield (
            f"- {one['events']:,} events and {one['item_changes']:,} changes of items while "
            f"{one['readers']} threads read, in {one['seconds']:.0f} s: {one['wrong']} wrong "
            f"answers, {one['missing']} missing, {one['wrong_after_loading']} after another start"
        )
        yield (
            f"- {one['kills']} times kill -9 while writing: {one['acknowledged']} calls "
            f"acknowledged, {one['lost']} lost, {one['half']} half there"
        )
        yield (
            "- a thousand events are in force after p50 "
            f"{one['thousand_events_quiet_p50_ms']:.1f} / p99 "
            f"{one['thousand_events_quiet_p99_ms']:.1f} ms; with {one['readers']} readers after "
            f"{one['thousand_events_p50_ms']:.1f} / {one['thousand_events_p99_ms']:.1f} ms"
        )
        yield f"\n{_ran_on(one)}"


def _serving() -> Iterator[str]:
    """Return how engines serve under load, a table a data set."""
    for (dataset, _), lines in _latest("serving").items():
        yield f"## {dataset}: a whole engine, both stages\n"
        yield f"```sh\npython -m benchmarks serving {lines[0]['command']} --record\n```\n"
        yield "| asked by | queries a second | p50 ms | p95 ms | p99 ms | reranked |"
        yield "|---|---|---|---|---|---|"
        for one in lines:
            spent = [f"{one[p]:.1f}" if p in one else "–" for p in ("p50_ms", "p95_ms", "p99_ms")]
            asked, share = one["asked"], "all"
            if asked == "budget":
                asked = f"budget of {one['budget_ms']:.0f} ms at {one['load']:.0%} of capacity"
                none = one["none_reranked_share"]
                share = f"{one['reranked_share']:.1%}, nothing for {none:.1%} of requests"
            rate = one.get("queries_a_second", one.get("arrivals_a_second"))
            yield f"| {asked} | {rate:.0f} | {' | '.join(spent)} | {share} |"
        yield f"\nServed in {lines[0]['runtime']}. {_ran_on(lines[0])}"


def _als() -> Iterator[str]:
    """Return the best of ALS's grid on validation, and what the first of them reaches on test."""
    lines = [json.loads(line) for line in (RECORDED / "als.jsonl").read_text().splitlines()]
    for dataset in dict.fromkeys(line["dataset"] for line in lines):
        yield f"## {dataset}, ALS alone, tuned on validation\n"
        yield f"```sh\npython -m benchmarks als {dataset} --record\n```\n"
        yield "| split | factors | regularization | alpha | ndcg@10 |\n|---|---|---|---|---|"
        mine = [line for line in lines if line["dataset"] == dataset]
        mine.sort(key=lambda line: (line["split"] == "test", -line["ndcg@10"]["mean"]))
        for line in [*mine[:ALS_SHOWN], mine[-1]]:
            of, reached = line["settings"], line["ndcg@10"]
            yield (
                f"| {line['split']} | {of['factors']} | {of['regularization']} | {of['alpha']} | "
                f"{reached['mean']:.4f} [{reached['low']:.4f}, {reached['high']:.4f}] |"
            )
        yield ""


def main() -> None:
    """Write all pages beside this file."""
    for name in sorted(PAGES):
        Path(__file__).with_name(name).write_text(page(name), encoding="utf-8")
        sys.stderr.write(f"wrote docs/{name}\n")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stderr.write("wrote the results of README.md\n")


if __name__ == "__main__":
    main()
