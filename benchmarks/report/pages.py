"""What the suites measured, as pages and for the README."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.harness.records import commands, latest, latest_cells, ran_on, recorded
from benchmarks.report.gpu_pages import gpu_pages
from benchmarks.report.live_pages import live_pages, soak_pages
from benchmarks.report.profiles_pages import profiles_pages
from benchmarks.report.quality_pages import quality_pages, readme_quality
from benchmarks.report.recorded import Recorded
from benchmarks.report.retrieval_pages import retrieval_pages
from benchmarks.report.training_pages import training_pages
from twofold.ranking.runtime import RUNTIMES

ALS_SHOWN = 8


def sections() -> Iterator[str]:
    yield from quality_pages(Recorded())
    yield from profiles_pages(Recorded())
    parts = (training_pages, _reranking, _layers, retrieval_pages)
    for part in (*parts, live_pages, soak_pages, _serving, gpu_pages, _als):
        yield from part()


def readme(text: str) -> str:
    """Return the README with its results as they stand in the records."""
    start, end = "<!-- results -->\n", "<!-- /results -->"
    before, rest = text.split(start)
    after = rest.split(end)[1]
    told = "\n".join([*readme_quality(Recorded()), *_speeds()])
    more = (
        "More rows, the commands and all intervals: [results](docs/results.md). As one page of "
        "drawings: `python -m benchmarks report --out report.html`."
    )
    return f"{before}{start}\n{told}\n{more}\n\n{end}{after}"


def _speeds() -> Iterator[str]:
    """Return a sentence on reranking for each data set, the fastest runtime beside the peer."""
    for (dataset, tokens), lines in latest("rerank").items():
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


def _reranking() -> Iterator[str]:
    """Return how fast stage two is beside its peer, a table a data set."""
    for (dataset, tokens), lines in latest("rerank").items():
        yield f"## {dataset}, texts of up to {tokens} tokens: reranking one list\n"
        yield commands("rerank", lines)
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
        yield f"\n{ran_on(about)}"


def _layers() -> Iterator[str]:
    """Return what layers are worth, a table a data set and way of asking."""
    ways: dict[str, list[dict[str, Any]]] = {}
    for told in recorded("layers"):
        way = [told[part] for part in ("dataset", "protocol", "overrides", "options")]
        ways.setdefault(repr(way), []).append(told)
    for rows in ways.values():
        lines = latest_cells(rows)
        about = lines[0]
        yield f"## {about['dataset']}: what layers are worth\n"
        yield commands("layers", lines)
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
            shape = [str(one.get(k, "–")) for k in ("layers", "joint_layers", "seed")]
            rate = f"{one['learning_rate']:g}" if "learning_rate" in one else "–"
            times = {each["runtime"]: each for each in one.get("runtimes", ())}
            found = (times.get(runtime) for runtime in RUNTIMES)
            spent = [
                "–" if t is None else f"{t['milliseconds']:.1f} ({t['same_top']:.0%})"
                for t in found
            ]
            each = f"{one['bytes_an_item']:,}" if "bytes_an_item" in one else "–"
            yield f"| {' | '.join([one['ranker'], *shape, rate, quality, each, *spent])} |"
        yield ""
        for one in lines:
            if "comparison" in one:
                yield (
                    f"- {one['comparison']} joint, {one['seeds']} seed(s): NDCG@10 "
                    f"{one['relative_difference']:+.1%} "
                    f"[{one['relative_low']:+.1%}, {one['relative_high']:+.1%}] of all joint's."
                )
        threads = about["hardware"]["threads"] or about["hardware"]["cores"]
        yield f"\n{ran_on({**about, 'threads': threads})}"


def _serving() -> Iterator[str]:
    """Return how engines serve under load, a table a data set."""
    for (dataset, _), lines in latest("serving", old="asked").items():
        yield f"## {dataset}: a whole engine, both stages\n"
        yield commands("serving", lines)
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
        yield f"\nServed in {lines[0]['runtime']}. {ran_on(lines[0])}"


def _als() -> Iterator[str]:
    """Return the best of ALS's grid on validation, and what the first of them reaches on test."""
    lines = recorded("als")
    for dataset in dict.fromkeys(line["dataset"] for line in lines):
        yield f"## {dataset}, ALS alone, tuned on validation\n"
        mine = latest_cells([line for line in lines if line["dataset"] == dataset])
        yield commands("als", mine)
        yield "| split | factors | regularization | alpha | ndcg@10 |\n|---|---|---|---|---|"
        mine.sort(key=lambda line: (line["split"] == "test", -line["ndcg@10"]["mean"]))
        for line in [*mine[:ALS_SHOWN], mine[-1]]:
            # In rows of the harness "settings" are those of the whole cell.
            of, reached = line.get("model", line["settings"]), line["ndcg@10"]
            yield (
                f"| {line['split']} | {of['factors']} | {of['regularization']} | {of['alpha']} | "
                f"{reached['mean']:.4f} [{reached['low']:.4f}, {reached['high']:.4f}] |"
            )
        yield ""
