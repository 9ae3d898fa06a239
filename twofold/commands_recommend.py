"""Commands that ask an artefact: retrieve, recommend, search, similar."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twofold.indexing.errors import InputError
from twofold.options import (
    Allow,
    Artefact,
    At,
    AtMost,
    Budget,
    Deny,
    Diversity,
    Json,
    K,
    RuntimeName,
    Threads,
    Where,
    begin,
    rules_from,
)
from twofold.terminal import say, say_rows

if TYPE_CHECKING:
    import polars as pl

    from twofold.engine import Engine
    from twofold.recommendation import Recommendation, Recommendations

logger = logging.getLogger("twofold.commands")

app = typer.Typer()
OneUser = Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="One user.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Where --all-users writes: csv or parquet."),
]


@app.command()
def retrieve(
    artefact: Artefact,
    user: OneUser = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Candidates of every user of the build.")
    ] = False,
    out: Out = None,
    k: K = 100,
    where: Where = None,
    allow: Allow = None,
    deny: Deny = None,
    at: At = None,
    at_most: AtMost = None,
    diversity: Diversity = 0.0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show stage one's candidates for a user, before reranking, or write those of all users."""
    progress = begin(as_json=as_json)
    _check_target("retrieve", user, out, all_users=all_users)
    rules = rules_from(where, allow, deny, at, at_most, diversity)
    with _engine(artefact, threads) as engine:
        if user is not None:
            _say(engine, engine.retrieve(user, k, **rules), as_json=as_json)
            return
        frame = engine.retrieve_batch(None, k, progress=progress, **rules)
    _write(frame, out, "candidates")


@app.command()
def recommend(
    artefact: Artefact,
    user: OneUser = None,
    all_users: Annotated[
        bool, typer.Option("--all-users", help="Recommend to every user of the build.")
    ] = False,
    out: Out = None,
    k: K = 10,
    where: Where = None,
    allow: Allow = None,
    deny: Deny = None,
    at: At = None,
    at_most: AtMost = None,
    diversity: Diversity = 0.0,
    threads: Threads = None,
    runtime: RuntimeName = "auto",
    budget_ms: Budget = None,
    as_json: Json = False,
) -> None:
    """Recommend items to one user, or to all users into a file.

    A user that the build never saw gets what trends.
    """
    progress = begin(as_json=as_json)
    _check_target("recommend", user, out, all_users=all_users)
    if all_users and budget_ms is not None:
        raise InputError("--budget-ms is for one --user; --all-users takes the time it needs")
    rules = rules_from(where, allow, deny, at, at_most, diversity)
    with _engine(artefact, threads, runtime) as engine:
        if user is not None:
            found = engine.recommend(user, k, budget_ms=budget_ms, **rules)
            _note_budget(found, budget_ms)
            _say(engine, found, as_json=as_json)
            return
        frame = engine.recommend_batch(None, k, progress=progress, **rules)
    _write(frame, out, "recommendations")


@app.command()
def search(
    artefact: Artefact,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, in words.")],
    k: K = 10,
    where: Where = None,
    allow: Allow = None,
    deny: Deny = None,
    at: At = None,
    at_most: AtMost = None,
    diversity: Diversity = 0.0,
    threads: Threads = None,
    runtime: RuntimeName = "auto",
    budget_ms: Budget = None,
    as_json: Json = False,
) -> None:
    """Find items by a free text, retrieved by vectors and reranked by the cross-encoder."""
    begin(as_json=as_json)
    rules = rules_from(where, allow, deny, at, at_most, diversity)
    with _engine(artefact, threads, runtime) as engine:
        found = engine.search(text, k, budget_ms=budget_ms, **rules)
        _note_budget(found, budget_ms)
        _say(engine, found, as_json=as_json)


@app.command()
def similar(
    artefact: Artefact,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="Id of an item.")],
    k: K = 10,
    where: Where = None,
    allow: Allow = None,
    deny: Deny = None,
    at: At = None,
    at_most: AtMost = None,
    diversity: Diversity = 0.0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show the items most like one, by their users and their texts."""
    begin(as_json=as_json)
    rules = rules_from(where, allow, deny, at, at_most, diversity)
    with _engine(artefact, threads) as engine:
        _say(engine, engine.similar_items(item, k, **rules), as_json=as_json)


def _check_target(command: str, user: str | None, out: Path | None, *, all_users: bool) -> None:
    """Refuse what is neither one user nor all of them into a file."""
    if (user is None) == (not all_users):
        raise InputError(f"{command} needs either --user ID or --all-users")
    if all_users and (out is None or out.suffix not in (".csv", ".parquet")):
        raise InputError("--all-users needs --out FILE ending in .csv or .parquet")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder; give --out a file in one that exists")


def _write(frame: pl.DataFrame, out: Path | None, what: str) -> None:
    """Write a table; a reader never sees half a file, and an interrupted run leaves the old one."""
    if out is None:
        return
    partial = out.with_name(f".{out.name}.partial")
    try:
        frame.write_parquet(partial) if out.suffix == ".parquet" else frame.write_csv(partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    say(f"{len(frame):,} {what} in {out}")


def _engine(artefact: Path, threads: int | None, runtime: str = "float32") -> Engine:
    """Return the engine; commands that do not rerank need not measure runtimes."""
    from twofold.engine import Engine

    return Engine.load(artefact, threads=threads, runtime=runtime)


def _note_budget(found: Recommendations, budget_ms: float | None) -> None:
    if budget_ms is not None:
        logger.info("reranked=%d/%d", found.reranked, found.candidates)


def _say(engine: Engine, found: Iterable[Recommendation], *, as_json: bool) -> None:
    say_rows(recommendation_rows(engine, found, ids=as_json), as_json=as_json)


def recommendation_rows(
    engine: Engine, found: Iterable[Recommendation], *, ids: bool
) -> list[Mapping[str, Any]]:
    """Return recommendations as rows: with ids alone, or with short item texts for people."""
    if ids:
        return [one.to_dict() for one in found]
    return [
        {
            "rank": one.rank,
            "item_id": one.item_id,
            "item": _short(engine.text(one.item_id), 44),
            "score": one.score,
            "probability": one.probability,
            "because of": "; ".join(_short(engine.text(item), 24) for item in one.reasons[:2]),
            "sources": len(one.sources),
        }
        for one in found
    ]


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
