"""Users of whom a text tells: what a reranker adds to what the text alone retrieves.

That is how many begin: a user's profile is a text, the items nearest to it are retrieved, and a
reranker orders them. Our ranker does so here, beside both stages on the same users; items without
a text count as misses. And where users refused some of what they met, rankers are asked to tell
that from what they took: ours, and a plain cross-encoder that learned from the same pairs.
"""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.data.datasets import IFDB
from benchmarks.harness.cells import Cell, Plan, Suite
from benchmarks.peers.cross_encoder import Recipe
from benchmarks.stands.by_profile import ByProfile
from benchmarks.stands.telling_apart import COMPARED, OURS, PLAIN, ToldApart

LISTS = "twofold"
USERS, SHARE = 500, 1 / 3
# Some eight thousand pairs, each a profile and a description: minutes.
RECIPE = Recipe(steps=240, max_length=192)
QUICK_USERS, QUICK_SHARE, QUICK_RECIPE = 100, 0.1, Recipe(steps=2, lists=2, max_length=64)
QUICK = (
    *("windows=1", "ranker.rerank=20", "ranker.max_item_tokens=8"),
    *("ranker.training.max_epochs=1", "ranker.training.negatives=7"),
    "ranker.training.max_lists=64",
)
DIVIDES = (
    *("indexing/splits.py", "indexing/holding_out.py", "twofold/labels_file.py"),
    *("benchmarks/stands/labelled.py", "benchmarks/stands/telling_apart.py"),
)
LEARNS = ("indexing", "retrieval", "ranking", "evaluation", "twofold/lessons.py")
RANKS = (
    *(*LEARNS, "twofold/learning.py", "twofold/systems.py", "twofold/held_out_queries.py"),
    *("benchmarks/stands/by_profile.py", "benchmarks/stands/absent.py"),
)
ASKED = ("data", "seed", "threads", "ranker.model")


def _cells(plan: Plan) -> list[Cell]:
    """Return the cell of lists, those that score labelled pairs, and the one that compares them."""
    settings = plan.settings(*(QUICK if plan.quick else ()))
    n_users, share, recipe = USERS, SHARE, RECIPE
    if plan.quick:
        n_users, share, recipe = QUICK_USERS, QUICK_SHARE, QUICK_RECIPE
    also = {"n_users": n_users, "share": share}
    lists = ByProfile(plan, settings, QUICK_USERS if plan.quick else None)
    apart = ToldApart(plan, settings, n_users, share, recipe)
    learns = (*LEARNS, "twofold/labels_file.py", *DIVIDES)
    peer = ("benchmarks/peers/cross_encoder.py", *DIVIDES)
    compares = ("evaluation/classification.py", "evaluation/intervals.py", *DIVIDES)
    return [
        Cell(LISTS, lists, settings, {}, RANKS, keeps=True),
        Cell(OURS, apart.ours, settings, also, learns, keeps=True),
        Cell(
            PLAIN,
            apart.plain,
            settings,
            {**also, "recipe": asdict(recipe)},
            peer,
            keeps=True,
            reads=ASKED,
        ),
        Cell(COMPARED, apart.compared, settings, also, compares, (OURS, PLAIN), reads=("seed",)),
    ]


PROFILES = Suite(
    "profiles",
    "users of whom a text tells: what a reranker adds to what the text alone retrieves",
    _cells,
    (IFDB,),
)
