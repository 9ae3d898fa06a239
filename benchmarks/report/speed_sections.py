"""The sections of the report on how fast it answers, and what indexes and layers cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.report.charts import Chart, Dot, Point, Series, dots, scatter, waterfall
from benchmarks.report.markup import Part, joined, table, tag
from benchmarks.report.parts import Section, figure, made, nothing_yet, outdated
from benchmarks.report.recorded import PEERS, Recorded, Row, by_dataset, circumstances, command_of
from benchmarks.report.verdicts import n_threads, spelt
from twofold.evaluation.intervals import Interval

PERCENTILES = ("p50", "p95", "p99")


def speed_sections(recorded: Recorded) -> Iterator[Section]:
    """Yield all of them; one without rows says how they would be measured."""
    yield _indexes(recorded)
    yield _serving(recorded)
    yield _reranking(recorded)
    yield _layers(recorded)


def _indexes(recorded: Recorded) -> Section:
    catalogues: dict[str, list[Row]] = {}
    for row in recorded.indexes():
        if row["cell"] in (*PEERS, "index"):
            name = f"{row['dataset']}{' grown' if row['grown'] else ''}, {row['n_items']:,} items"
            catalogues.setdefault(name, []).append(row)
    parts: list[Part] = [outdated(recorded.stale("retrieval"))]
    for name, rows in catalogues.items():
        tried = [row for row in rows if row["cell"] == "index" and "recall" in row]
        peers = [row for row in rows if row["cell"] != "index"]
        if not tried and not peers:
            continue  # a small catalogue is looked at whole, and nothing was tried
        parts.append(tag("h3", name))
        if tried:
            parts.append(_tried(name, tried))
        if peers:
            parts.append(_peers(name, peers))
        parts.append(made(circumstances(rows)))
    if len(parts) == 1:
        parts.append(nothing_yet("indexes", "python -m benchmarks retrieval DATASET --record"))
    return Section("indexes", "Recall and time of vector indexes", joined(parts))


def _tried(name: str, rows: Sequence[Row]) -> Part:
    """Return what the choice of an index was made from."""
    sizes: dict[int, list[Row]] = {}
    for row in rows:
        sizes.setdefault(row["tried_on"], []).append(row)
    series = [
        Series(
            f"tried on {size:,} items",
            tuple(
                Point(
                    row["recall"],
                    row["p50_ms"],
                    f"{row['index']}{' (chosen)' if row['chosen'] else ''}",
                    told=f"{row['index']}, effort {row['effort']}: recall {row['recall']:.4f}, "
                    f"{row['p50_ms']:.3f} ms, {row['bytes_per_item']:,.0f} bytes an item",
                )
                for row in sorted(mine, key=lambda row: float(row["recall"]))
            ),
        )
        for size, mine in sizes.items()
    ]
    alt = f"Milliseconds against recall of indexes tried on {name}"
    chart = scatter(alt, series, "recall@100", "p50, milliseconds", log_y=True)
    see = "Down is faster, right finds more. One number each: of one timing, without an interval."
    return figure(chart, see, command_of("retrieval", rows[0]))


def _peers(name: str, rows: Sequence[Row]) -> Part:
    """Return twofold's index and others that took turns with it, a figure over its numbers."""
    least = min(row["threads"] for row in rows)
    shown = [row for row in rows if row["threads"] == least]
    ours = {row["index"]: row for row in shown if not row["peer"]}
    theirs = {row["index"]: row for row in shown if row["peer"]}

    def point(row: Row) -> Point:
        told = f"{row['index']}: recall {row['recall']:.4f}, {row['qps']:,.0f} queries a second"
        return Point(row["recall"], row["qps"], row["index"], told=told)

    series = [
        Series("twofold's choice", tuple(map(point, ours.values())), ours=True),
        Series("other indexes, tuned to the same recall", tuple(map(point, theirs.values()))),
    ]
    chart = scatter(
        f"Queries a second against recall on {name}, {n_threads(least)}",
        [one for one in series if one.points],
        "recall@100",
        "queries a second",
    )
    see = f"Up answers more, right finds more; {n_threads(least)}, taking turns in one process."
    head = ["index", "threads", "recall@100", "queries/s", "p50 ms", "p99 ms", "twofold's rate/it"]
    lines = [
        [
            row["index"],
            str(row["threads"]),
            f"{row['recall']:.4f}",
            f"{row['qps']:,.0f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['ours_over_this']:.2f}",
        ]
        for row in rows
    ]
    return [figure(chart, see, command_of("retrieval", rows[0])), table(head, lines)]


def _serving(recorded: Recorded) -> Section:
    loads = recorded.latest("endtoend", lambda row: (row["dataset"], row["cell"]))
    older = recorded.latest("serving", lambda row: (row["dataset"], row.get("max_item_tokens")))
    parts: list[Part] = [outdated(recorded.stale("endtoend") + recorded.stale("serving"))]
    for suite, rows in (("endtoend", loads), ("serving", older)):
        for dataset, mine in by_dataset(rows).items():
            parts += _load(suite, dataset, mine)
    if not loads:
        parts.append(
            nothing_yet("whole requests", "python -m benchmarks endtoend DATASET --record")
        )
    return Section("serving", "How fast whole requests are", joined(parts))


def _load(suite: str, dataset: str, rows: Sequence[Row]) -> Iterator[Part]:
    """Yield the percentiles under load of one data set, and where the time goes."""
    clients = [r for r in rows if _clients(r) is not None and r.get("cell") != "twice"]
    command = command_of(suite, rows[0])
    yield tag("h3", f"{dataset} (suite {suite})")
    if clients:
        shown = [_percentile(row, p) for row in clients for p in PERCENTILES]
        alt = f"Latency percentiles under load on {dataset}"
        chart = dots(alt, shown, "milliseconds a request", form=milliseconds, log=True)
        known = any(math.isfinite(one.low) for one in shown)
        bars = "Bars are 95 % intervals." if known else "Recorded without intervals."
        see = f"How long clients wait that ask again as soon as they are answered. {bars}"
        yield figure(chart, see, command)
        head = ["clients", "histories", "queries/s", *(f"{p} ms" for p in PERCENTILES)]
        lines = [
            [
                str(_clients(row)),
                row.get("histories", "–"),
                _rate(row),
                *(_timed(row, p) for p in PERCENTILES),
            ]
            for row in clients
        ]
        yield table(head, lines)
    yield from _parts(dataset, [row for row in rows if "part" in row], command)
    for row in (row for row in rows if row.get("cell") == "memory"):
        yield _memory(row)
    yield from _other_loads(rows)
    yield made(circumstances(rows))


def _parts(dataset: str, rows: Sequence[Row], command: str) -> Iterator[Part]:
    """Yield where the time of a request goes: means, which add up."""
    parts = [row for row in rows if row["part"] != "whole"]
    if not parts:
        return
    chart = waterfall(
        f"Where a request's time goes on {dataset}",
        [(_part(row), float(row["mean_ms"])) for row in parts],
        "ms",
    )
    see = "Means over requests, one client: each part begins where the one above it ends."
    yield figure(chart, see, command)
    lines = [
        [row["stage"], _part(row), *(f"{row[f'{name}_ms']:.2f}" for name in PART_TIMES)]
        for row in rows
    ]
    yield table(["stage", "part", *(f"{name} ms" for name in PART_TIMES)], lines)


def _part(row: Row) -> str:
    of = f" ({', '.join(row['of'])})" if row["of"] else ""
    return f"{row['part']}{of}"


def _memory(row: Row) -> Part:
    """Return what an engine takes: on the disk, and loaded, from the least to the most."""
    lines = []
    for name, value in row.items():
        if isinstance(value, dict) and "median" in value:
            ends = f"[{value['low']:,.1f}, {value['high']:,.1f}]"
            lines.append([name, f"{value['median']:,.1f} {ends}"])
        elif (name.endswith("_mb") and name != "cell_peak_mb") or name.startswith("bytes_"):
            lines.append([name, f"{value:,.1f}"])
    return table(["memory and loading", "median [least, most]"], lines)


def _other_loads(rows: Sequence[Row]) -> Iterator[Part]:
    """Yield what the suite ``serving`` asked beside its clients: batches, and a budget."""
    asked = [row for row in rows if "asked" in row and _clients(row) is None]
    lines = []
    for row in asked:
        what = str(row["asked"])
        if what == "budget":
            what = f"budget of {row['budget_ms']:.0f} ms, {row['load']:.0%} of capacity"
        rate = row.get("queries_a_second", row.get("arrivals_a_second"))
        share = f"{row['reranked_share']:.1%}" if "reranked_share" in row else "all"
        p99 = f"{row['p99_ms']:.1f}" if "p99_ms" in row else "–"
        lines.append([what, f"{rate:.0f}", p99, share])
    if lines:
        yield table(["asked by", "queries/s", "p99 ms", "reranked"], lines)


def _clients(row: Row) -> int | None:
    """Return how many clients asked at once; ``None`` where a row is of something else."""
    if "clients" in row:
        return int(row["clients"])
    first = str(row.get("asked", "")).split(" client")
    if len(first) < 2:
        return None
    return 1 if first[0] == "one" else int(first[0])


def _percentile(row: Row, name: str) -> Dot:
    n = _clients(row)
    low, high = (row.get(f"{name}_ms_{e}", math.nan) for e in ENDS)
    look = {"p50": "series s0", "p95": "series s3", "p99": "series s4"}[name]
    histories = f", {row['histories']} histories" if "histories" in row else ""
    label = f"{n} client{'s' if n != 1 else ''}{histories} · {name}"
    return Dot(label, row[f"{name}_ms"], low, high, look)


ENDS = ("low", "high")
PART_TIMES = ("median", "mean", "p95")


def milliseconds(value: float) -> str:
    """Return a time as it is written."""
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _timed(row: Row, name: str) -> str:
    one = _percentile(row, name)
    return spelt(Interval(one.mean, one.low, one.high, 0), digits=1)


def _rate(row: Row) -> str:
    name = "requests_a_second" if "requests_a_second" in row else "queries_a_second"
    ends = [row.get(f"{name}_{end}", math.nan) for end in ENDS]
    return spelt(Interval(row[name], ends[0], ends[1], 0), digits=0)


def _reranking(recorded: Recorded) -> Section:
    rows = recorded.latest("rerank", lambda row: (row["dataset"], row.get("max_item_tokens")))
    parts: list[Part] = [outdated(recorded.stale("rerank"))]
    for dataset, mine in by_dataset(rows).items():
        shown = [
            Dot(
                f"{row['runtime']}, {row['history']}".replace("sentence-transformers", "s-t"),
                row["p50_ms"],
                look="" if "sentence-transformers" in row["runtime"] else "ours",
                note=f"p99 {milliseconds(row['p99_ms'])}",
            )
            for row in mine
        ]
        alt = f"Milliseconds to rerank one list on {dataset}, twofold's runtimes and its peer's"
        chart = dots(alt, shown, "p50, milliseconds a list", form=milliseconds, log=True)
        about = mine[0]
        parts.append(tag("h3", f"{dataset}: {about['candidates']} candidates, a new history"))
        see = (
            "Left is faster, a factor of ten each step of the axis. s-t is sentence-transformers' "
            "cross-encoder on the same backbone. Percentiles over lists, without intervals."
        )
        parts += [figure(chart, see, command_of("rerank", about)), made(circumstances(mine))]
    if not rows:
        parts.append(nothing_yet("reranking", "python -m benchmarks rerank DATASET --record"))
    return Section("reranking", "How fast reranking is", joined(parts))


def _layers(recorded: Recorded) -> Section:
    rows = recorded.latest("layers", lambda row: (row["dataset"], row.get("cell"), row["command"]))
    parts: list[Part] = [outdated(recorded.stale("layers"))]
    for dataset, mine in by_dataset(rows).items():
        # Of several rates that were tried one was taken, and stands there as what was taught.
        rankers = [row for row in mine if row.get("runtimes") and row["ranker"] != "tried"]
        if rankers:
            see = "Up is better, left is faster: what more layers and other precisions buy."
            chart, command = _layers_chart(dataset, rankers), command_of("layers", mine[0])
            parts += [tag("h3", dataset), figure(chart, see, command)]
            parts += [_layers_table(rankers), made(circumstances(mine))]
    if len(parts) == 1:
        parts.append(nothing_yet("layers", "python -m benchmarks layers DATASET --record"))
    return Section("layers", "What layers and precisions are worth", joined(parts))


def _shape(row: Row) -> str:
    own = "" if row["ranker"] == "taught" else f" ({row['ranker']})"
    return f"{row['layers']} layers, {row['joint_layers']} joint{own}"


def _layers_chart(dataset: str, rows: Sequence[Row]) -> Chart:
    found: dict[str, list[Point]] = {}
    for row in rows:
        quality = _quality(row)
        for one in row["runtimes"]:
            spent = f"{one['runtime']} {one['milliseconds']:.2f} ms"
            told = f"{_shape(row)}: NDCG@10 {spelt(quality)}, {spent}"
            first = one is row["runtimes"][0]  # the quality is one, and is told once
            label = _shape(row) if first else ""
            ends = (quality.low, quality.high) if first else (math.nan, math.nan)
            place = Point(one["milliseconds"], quality.mean, label, *ends, told)
            found.setdefault(one["runtime"], []).append(place)
    series = [Series(name, tuple(points)) for name, points in found.items()]
    alt = f"NDCG@10 against milliseconds of rankers with more and fewer layers on {dataset}"
    axes = "p50, milliseconds to rerank a list", "NDCG@10"
    return scatter(alt, series, *axes, log_x=True)


def _layers_table(rows: Sequence[Row]) -> Part:
    names = list(dict.fromkeys(one["runtime"] for row in rows for one in row["runtimes"]))
    lines = []
    for row in rows:
        times = {one["runtime"]: f"{one['milliseconds']:.1f}" for one in row["runtimes"]}
        told = [times.get(name, "–") for name in names]
        lines.append([_shape(row), str(row.get("seed", "–")), spelt(_quality(row)), *told])
    return table(["ranker", "seed", "NDCG@10", *(f"{name} ms" for name in names)], lines)


def _quality(row: Mapping[str, Any]) -> Interval:
    return Interval(row["ndcg10"], row["ndcg10_low"], row["ndcg10_high"], 0)
