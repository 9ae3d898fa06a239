"""The main job on MovieLens-100k, from nothing to recommendations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twofold.build import build
from twofold.commands_measure import show
from twofold.commands_recommend import recommendation_rows
from twofold.engine import Engine
from twofold.evaluate import evaluate
from twofold.indexing.artefact import CACHE
from twofold.indexing.progress import Progress
from twofold.movielens import TERMS, fetch_movielens
from twofold.settings import Settings
from twofold.terminal import say, say_rows

LABELS = 5
QUICK_RERANK = 50
SOMEBODY = (("50", 5.0), ("181", 4.0), ("172", 5.0))


def demo_settings(*, quick: bool) -> Settings:
    """Return the settings of the demo; the quick form trains one short epoch on short lists."""
    settings = Settings(window_labels=LABELS)
    # Eight windows hold so many lists that a third epoch brings nothing.
    training = replace(settings.ranker.training, max_epochs=2)
    if not quick:
        return replace(settings, ranker=replace(settings.ranker, training=training))
    training = replace(training, max_epochs=1, negatives=15)
    ranker = replace(settings.ranker, rerank=QUICK_RERANK, training=training)
    return replace(settings, windows=1, ranker=ranker)


def run_demo(out: Path, *, quick: bool, as_json: bool, progress: Progress) -> None:
    """Fetch MovieLens-100k, evaluate, build into `out`, and recommend to two people.

    Parameters
    ----------
    out
        Folder of the artefact.
    quick
        Whether to train less.
    as_json
        Whether to write JSON lines.
    progress
        Told of every step.
    """
    tables = fetch_movielens()
    if not as_json:
        say(TERMS)
    settings = demo_settings(quick=quick)
    build(tables.interactions, tables.items, out, settings, progress)
    # After the build, whose cache then holds every text's vector.
    found = evaluate(
        tables.interactions,
        tables.items,
        settings,
        protocol="leave-last-n",
        n=LABELS,
        name="MovieLens-100k",
        quick=quick,
        cache=out / CACHE,
        progress=progress,
    )
    show(found, as_json=as_json)
    with Engine.load(out) as engine:
        user = engine.user_ids[len(engine.user_ids) // 2]
        for title, answer in (
            (f"User {user}:", engine.recommend(user, 5)),
            ("Somebody new, who liked three Star Wars films:", engine.recommend_for(SOMEBODY, 5)),
        ):
            if not as_json:
                say(f"\n{title}")
            say_rows(recommendation_rows(engine, answer, ids=as_json), as_json=as_json)
    if not as_json:
        say(
            f"\nNext:\n  twofold recommend {out} --user {user}\n"
            f'  twofold search {out} "space opera with robots"\n  twofold similar {out} 50'
        )
