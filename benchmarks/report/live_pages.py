"""What engines that go on for long do, as pages: catalogues that change, and hours under load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.harness.records import commands, latest_cells, ran_on, recorded


def live_pages() -> Iterator[str]:
    """Return what a catalogue that changes does, the latest run of each data set."""
    places: dict[str, list[dict[str, Any]]] = {}
    for told in recorded("live"):
        places.setdefault(told["dataset"], []).append(told)
    for dataset, rows in places.items():
        lines = latest_cells(rows)
        yield f"## {dataset}: events and items that come while it serves\n"
        yield commands("live", lines)
        # What killed writers lost is a cell of its own, without a ranker; in rows from before, both
        # stand in one.
        for one in lines:
            yield from _lived(one) if "events" in one else ()
            yield from _killed(one) if "kills" in one else ()
        yield f"\n{ran_on(lines[-1])}"


def _lived(one: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"- {one['events']:,} events and {one['item_changes']:,} changes of items while "
        f"{one['readers']} threads read, in {one['seconds']:.0f} s: {one['wrong']} wrong "
        f"answers, {one['missing']} missing, {one['wrong_after_loading']} after another start"
    )
    yield (
        "- a thousand events are in force after p50 "
        f"{one['thousand_events_quiet_p50_ms']:.1f} / p99 "
        f"{one['thousand_events_quiet_p99_ms']:.1f} ms; with {one['readers']} readers after "
        f"{one['thousand_events_p50_ms']:.1f} / {one['thousand_events_p99_ms']:.1f} ms"
    )


def _killed(one: Mapping[str, Any]) -> Iterator[str]:
    before = one.get("rows_before")
    on_top = "" if before is None else f", on top of {before:,} events and changes"
    yield (
        f"- {one['kills']} times kill -9 while writing{on_top}: {one['acknowledged']} calls "
        f"acknowledged, {one['lost']} lost, {one['half']} half there"
    )


def soak_pages() -> Iterator[str]:
    """Return what came of a long time under load, the latest run of each data set."""
    latest = {told["dataset"]: told for told in recorded("soak")}
    for dataset, one in latest.items():
        yield f"## {dataset}: a long time under load\n"
        yield commands("soak", [one])
        yield (
            f"- {one['requests']:,} requests by {one['clients']} clients in {one['minutes']:g} "
            f"minutes: {one['wrong']} wrong answers"
        )
        yield (
            f"- resident memory {one['rss_mb_first']:,.0f} MiB once the caches were full, "
            f"{one['rss_mb_last']:,.0f} at the end: {one['growth_mb_a_minute']:+.1f} a minute"
        )
        if "allocated_mb_first" in one:
            yield (
                f"- of it in use {one['allocated_mb_first']:,.1f} MiB, "
                f"{one['allocated_mb_last']:,.1f} at the end: "
                f"{one['allocated_growth_mb_a_minute']:+.2f} a minute"
            )
        yield f"\n{ran_on(one)}"
