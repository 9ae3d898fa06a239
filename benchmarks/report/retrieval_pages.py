"""What the suite of stage one measured, as pages."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.harness.records import commands, ran_on, recorded
from benchmarks.report.verdicts import askers_of

Cells = dict[str, list[dict[str, Any]]]


def retrieval_pages() -> Iterator[str]:
    """Return how stage one does, a section a catalogue: the latest run of each cell."""
    catalogues: dict[str, Cells] = {}
    for told in recorded("retrieval"):
        name = f"{told['dataset']}{' grown' if told['grown'] else ''}, {told['n_items']:,} items"
        cells = catalogues.setdefault(name, {})
        if told["cell"] not in cells or cells[told["cell"]][0]["run"] != told["run"]:
            cells[told["cell"]] = []
        cells[told["cell"]].append(told)
    for name, cells in catalogues.items():
        yield f"## {name}: stage one\n"
        yield commands("retrieval", [_as_now(one[0]) for one in cells.values()])
        yield from _indexes(cells)
        yield from (f"- {one}" for one in _told_of_cells(cells))
        yield from _slices(cells)
        about = next(iter(cells.values()))[0]
        yield f"\n{ran_on({**about, 'threads': about['hardware']['threads']})}"


def _as_now(told: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its command as it is given today: once commas stood between cells."""
    if "fingerprint" in told or "," not in told["command"]:
        return told
    words = [word.replace(",", ";") for word in shlex.split(told["command"])]
    return {**told, "command": shlex.join(words)}


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
                f"| {one['index']} | {askers_of(one)} | {one['recall']:.4f} | {one['qps']:,.0f} | "
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
    if told["low"] is None:  # of one label
        return f"{told['mean']:.4f}"
    return f"{told['mean']:.4f} [{told['low']:.4f}, {told['high']:.4f}]"
