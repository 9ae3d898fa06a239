"""How good and how fast both stages are, on what was held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.embedding import embedded
from twofold.evaluation.classification import classify, loss_differences
from twofold.evaluation.hardware import describe_hardware, library_versions, source_commit
from twofold.evaluation.held_out import history_groups
from twofold.evaluation.intervals import Interval
from twofold.evaluation.judgements import Judgements
from twofold.evaluation.latency import measure_stages
from twofold.evaluation.leaks import Border, known_of_split
from twofold.evaluation.metrics import Truth, judge
from twofold.evaluation.quality import (
    Ranked,
    UserValues,
    ceiling_row,
    compare_with_all,
    measure_users,
    quality_rows,
)
from twofold.evaluation.report import Circumstances, Row
from twofold.evaluation.slices import (
    history_slices,
    item_slices,
    popularity_slices,
    slice_rows,
)
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.splits import Protocol, Split, choose_split, leave_last_n
from twofold.indexing.tables import Source
from twofold.learning import Learned, learn
from twofold.ranking.calibration import calibrate, levelled
from twofold.ranking.lists import pooled, share_of_hits, stacked
from twofold.ranking.making import Groups, deal
from twofold.ranking.members import Workplace
from twofold.ranking.ranker import Ranker
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries
from twofold.retrieval.retriever import Retriever
from twofold.settings import Settings
from twofold.systems import DEPTH, FUSED, RERANKED, Asked, ask, systems_of
from twofold.threads import torch_threads

LATENCY_QUERIES = 100
CEILING = "ceiling of the served candidates"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Parameters
    ----------
    rows
        One row a system and group of users.
    probabilities
        Measures of the calibrated probabilities over served lists, and their paired differences;
        empty without a ranker.
    comparisons
        ``"reranked - logistic: ndcg@10"`` and the like, paired over users.
    p_values
        Of the same comparisons, by sign flips over users, adjusted for how many they are; see
        :mod:`twofold.evaluation.significance`.
    circumstances
        What the rows must share with others to be comparable.
    learned
        How both stages were learned.
    users
        The values of every user, for metrics and pairs that nobody has asked for yet.
    lists
        System -> its lists of the test's users, in the order of `truth`.
    truth, test_users
        What each of them holds out, and their numbers, ``int64 (n_users,)``.
    border
        Where what is known ends and the test begins.
    slices
        One row a slice of users or labels, for stage one and for both stages; see
        :mod:`twofold.evaluation.slices`.
    """

    rows: tuple[Row, ...]
    probabilities: Mapping[str, Interval]
    comparisons: Mapping[str, Interval]
    p_values: Mapping[str, float]
    circumstances: Circumstances
    learned: Mapping[str, Any]
    users: UserValues
    lists: Mapping[str, Ranked]
    truth: Truth
    test_users: npt.NDArray[np.int64]
    border: Border
    slices: tuple[Row, ...] = ()


def evaluate(
    interactions: Source,
    items: Source | None,
    settings: Settings,
    *,
    protocol: Protocol = "auto",
    n: int = 5,
    skip: int = 0,
    ks: Sequence[int] = (10,),
    name: str = "data",
    quick: bool = False,
    most: int | None = None,
    cache: Path | None = None,
    work: Workplace | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Learn both stages without the held-out part, and measure them on it.

    Full ranking, never sampled. History at test is train and validation; what is seen in it is
    excluded. All choices of the learning are made inside the history.

    Parameters
    ----------
    interactions, items
        Paths or tables; see :func:`twofold.indexing.dataset.load_dataset`.
    settings
        All settings.
    protocol
        How to hold out.
    n
        Labels a user for leave-last-n.
    skip
        Every user's last `skip` labels are left out altogether (leave-last-n and leave-one-out):
        with ``skip=n`` the same protocol runs one step earlier, for tuning.
    ks
        Lengths of lists to measure.
    name
        Name of the data for people.
    quick
        Whether the feature-only rerankers get one setting each instead of a search; their rows then
        say little of what such rerankers can do.
    most
        Test at most so many users, drawn by the seed; ``None`` tests all.
    cache
        Folder of an artefact's cache, whose text vectors are then used and added to.
    work
        Where the ranker's training keeps checkpoints, to go on from if it is cut off.
    progress
        Told of every step.
    """
    progress = progress or Silent()
    dataset = load_dataset(
        interactions, items, settings.data, seed=settings.seed, progress=progress
    )
    split = _split(dataset, protocol, n, skip)
    log = dataset.interactions
    known, border = known_of_split(log, split, has_times=dataset.has_times)
    with torch_threads(settings.threads):
        index, _ = embedded(dataset, settings, cache, progress)
        learned = learn(dataset, known, index, settings, progress, work)
    asked = ask(learned, dataset, split, known, index.vectors, settings, most, progress)
    dealt = deal(learned.lists, settings.ranker.training, settings.seed)
    systems = systems_of(learned, asked, dealt, settings, quick=quick, progress=progress)
    baseline = RERANKED if learned.ranker is not None else FUSED
    lists = {name: Ranked(one.items, one.scores) for name, one in systems.items()}
    values = measure_users(lists, asked.truth, asked.surroundings, ks)
    groups = history_groups(log, split.known_at_test, asked.users)
    rows = quality_rows(values, groups=groups, baseline=baseline, seed=settings.seed)
    rows.append(ceiling_row(asked.served.items, asked.truth, name=CEILING))
    rows += _latency_rows(asked.retriever, learned.ranker, asked.queries, settings)
    comparisons, p_values = compare_with_all(values, baseline, f"ndcg@{ks[0]}", seed=settings.seed)
    return Evaluation(
        rows=tuple(rows),
        probabilities=_probabilities(learned, asked, dealt, settings),
        comparisons=comparisons,
        p_values=p_values,
        circumstances=_circumstances(name, dataset, split, settings),
        learned=learned.about,
        users=values,
        lists=lists,
        truth=asked.truth,
        test_users=asked.users,
        border=border,
        slices=tuple(_slices(systems, asked, dataset, split, settings.seed)),
    )


def _slices(
    systems: Mapping[str, Candidates], asked: Asked, dataset: Dataset, split: Split, seed: int
) -> list[Row]:
    """Return the quality of stage one, and of both stages where there are two, slice by slice."""
    log = dataset.interactions
    known, held_out = log.take(split.known_at_test), log.take(split.test)
    by_age = item_slices(known, held_out, asked.users, has_times=dataset.has_times)
    return slice_rows(
        {
            name: Ranked(systems[name].items, systems[name].scores)
            for name in (FUSED, RERANKED)
            if name in systems
        },
        asked.truth,
        history_slices(known, asked.users),
        by_age | popularity_slices(known, held_out, asked.users),
        depth=min(DEPTH, asked.served.k),
        seed=seed,
    )


def _split(dataset: Dataset, protocol: Protocol, n: int, skip: int) -> Split:
    if skip and protocol in ("leave-last-n", "leave-one-out"):
        held_out = 1 if protocol == "leave-one-out" else n
        reason = f"asked for, one step before each user's last {skip} labels"
        return leave_last_n(dataset, held_out, skip=skip, reason=reason)
    return choose_split(dataset, protocol, n=n)


def _probabilities(
    learned: Learned, asked: Asked, dealt: Groups, settings: Settings
) -> dict[str, Interval]:
    """Return how good the probabilities are, beside the base rate's and calibrated stage one's."""
    ranker = learned.ranker
    if ranker is None or asked.logits is None:
        return {}
    read = np.flatnonzero(ranker.reads(asked.queries))
    served, truth = asked.served.take(read), asked.truth.take(read)
    labels, valid = judge(served.items, truth).hits > 0, served.items >= 0
    told = ranker.calibration.probabilities(asked.logits[read])
    judged = Judgements.of_lists(told, labels, valid)
    # Stage one's scores are calibrated as the ranker's logits are.
    base, unseen = share_of_hits(learned.lists), dealt.unseen()
    scores = stacked([part.candidates.scores for part in unseen], -np.inf)
    stage_one = calibrate(scores, pooled(unseen).labels, dealt.recency(), seed=settings.seed)
    stage_one = levelled(stage_one, served.scores, base)
    others = {
        "base rate": np.full(len(judged.labels), base),
        "stage one": stage_one.probabilities(served.scores)[valid].astype(np.float64),
    }
    found = classify(judged, settings.seed, n=500, n_ranked=100)
    return {**found, **loss_differences(judged, others, settings.seed)}


def _latency_rows(
    retriever: Retriever, ranker: Ranker | None, queries: Queries, settings: Settings
) -> list[Row]:
    """Return the latency of each stage, one query at a time."""
    rng = np.random.default_rng(settings.seed)
    which = rng.permutation(len(queries))[:LATENCY_QUERIES]
    singles = [queries.take(np.array([one])) for one in which]

    def first(query: Queries) -> tuple[Queries, Candidates]:
        return query, retriever.retrieve(query, settings.ranker.rerank)

    stages: dict[str, Any] = {"stage one latency": first}
    if ranker is not None:
        stages["stage two latency"] = lambda found: ranker.rerank(found[0], found[1], 10)
    measured = measure_stages(stages, singles)
    return [
        Row(name, "all", len(singles), {}, latency_ms=latency.percentiles())
        for name, latency in measured.items()
    ]


def _circumstances(name: str, dataset: Dataset, split: Split, settings: Settings) -> Circumstances:
    return Circumstances(
        dataset=name,
        fingerprint=dataset.fingerprint,
        split=split.name,
        split_reason=split.reason,
        protocol="full ranking over all items, items seen before excluded, ties counted half, "
        "ideal DCG over min(k, held out), unknown items count as misses",
        seed=settings.seed,
        commit=source_commit(),
        versions=library_versions(),
        hardware=describe_hardware(threads=settings.threads),
        settings=asdict(settings),
    )
