"""What a GPU did beside the processor of its machine, as pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.harness.records import commands, latest_cells, ran_on, recorded

Rows = Sequence[dict[str, Any]]


def gpu_pages() -> Iterator[str]:
    """Return what the suite measured, a section a data set and GPU: the latest run of each cell."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for told in recorded("gpu"):
        key = told["dataset"], str(told["hardware"]["gpu"])
        found.setdefault(key, []).append(told)
    for (dataset, gpu), rows in found.items():
        lines = latest_cells(rows)
        yield f"## {dataset}: a GPU, {gpu}\n"
        yield commands("gpu", lines)
        cells = dict.fromkeys(one["cell"] for one in lines)
        for cell in cells:
            own = [one for one in lines if one["cell"] == cell]
            yield f"{cell}:\n"
            yield from _PARTS[_kind(cell)](own)
            yield ""
        yield ran_on({**lines[0], "threads": lines[0]["hardware"]["threads"]})


def _kind(cell: str) -> str:
    """Return which table a cell's rows make."""
    if cell in _PARTS:
        return cell
    return "reranking" if cell.startswith("reranking") else "search"


def _embedding(rows: Rows) -> Iterator[str]:
    yield from _head("device", "precision", "texts a second", "times the CPU's", "lowest cosine")
    for one in rows:
        yield (
            f"| {one['device']} | {one['dtype']} | {one['texts_per_s']:,.0f} | "
            f"{_times(one)} | {_number(one, 'lowest_cosine', '.6f')} |"
        )


def _search(rows: Rows) -> Iterator[str]:
    yield from _head(
        *("items", "index", "queries at once", "system", "device", "queries a second", "p50 ms"),
        *("times the CPU's", "recall@100", "share of the bandwidth"),
    )
    for one in rows:
        yield (
            f"| {one['n_items']:,} | {one['index']} | {one['batch']:,} | {one['system']} | "
            f"{one['device']} | {one['qps']:,.0f} | {one['p50_ms']:.2f} | {_times(one)} | "
            f"{one['recall']:.4f} | {_number(one, 'share_of_bandwidth', '.1%')} |"
        )


def _reranking(rows: Rows) -> Iterator[str]:
    yield from _head(
        *("users at once", "candidates each", "runtime", "p50 ms", "p99 ms"),
        *("candidates a second", "times the CPU's", "share of the peak", "device busy ms"),
    )
    for one in rows:
        yield (
            f"| {one['users']:,} | {one['candidates']:,} | {one['runtime']} | "
            f"{one['p50_ms']:.2f} | {one['p99_ms']:.2f} | {one['candidates_per_s']:,.0f} | "
            f"{_times(one)} | {_number(one, 'share_of_peak', '.2%')} | "
            f"{_number(one, 'device_busy_ms', '.2f')} |"
        )


def _tuning(rows: Rows) -> Iterator[str]:
    yield from _head("device", "seconds an epoch", "times the CPU's", "NDCG@10")
    for one in rows:
        yield (
            f"| {one['device']} | {one['epoch_seconds']:.1f} | {_times(one)} | "
            f"{one['ndcg10']:.4f} |"
        )


def _head(*names: str) -> Iterator[str]:
    """Return the two lines that a table begins with."""
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"


def _times(row: dict[str, Any]) -> str:
    """Return how many times as fast as the CPU a row is, where it was told beside it."""
    return _number(row, "speedup_vs_cpu", ".1f")


def _number(row: dict[str, Any], name: str, form: str) -> str:
    return format(row[name], form) if name in row else "–"


_PARTS = {
    "embedding": _embedding,
    "search": _search,
    "reranking": _reranking,
    "fine-tuning": _tuning,
}
