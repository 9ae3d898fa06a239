"""The tests that peers are given: what may be known, whom to answer, and what was held out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.harness.cells import Plan
from benchmarks.peers.task import Task
from benchmarks.stands.kept_lists import DEPTH
from twofold.evaluation.held_out import truth_of
from twofold.evaluation.leaks import Border, checked_known
from twofold.evaluation.metrics import Truth
from twofold.held_out_queries import held_out_queries
from twofold.indexing.splits import Split, choose_split
from twofold.lessons import n_threads
from twofold.settings import Settings


@dataclass(frozen=True)
class HeldOut:
    """A task with its truth, which no peer is shown.

    Parameters
    ----------
    task
        What a peer is given.
    truth
        What each user of the task holds out.
    border
        Where what is known ends and the test begins.
    """

    task: Task
    truth: Truth
    border: Border


def split_of(plan: Plan) -> Split:
    """Return the split of a plan's data."""
    return choose_split(plan.dataset, plan.data.protocol, n=plan.data.n_labels)


def final_of(plan: Plan, settings: Settings, *, most: int | None = None) -> HeldOut:
    """Return the test of a plan, with at most so many of its users, drawn by the seed."""
    split = split_of(plan)
    return _held_out(plan, settings, split, most)


def validation_of(plan: Plan, settings: Settings, *, most: int | None = None) -> HeldOut:
    """Return the validation part as a test: nothing that comes after it is known."""
    split = split_of(plan)
    nothing = np.zeros_like(split.test)
    # Context lies between the beginnings of validation and test: it may know validation.
    earlier = replace(split, validation=nothing, test=split.validation, context=nothing)
    return _held_out(plan, settings, earlier, most)


def _held_out(plan: Plan, settings: Settings, split: Split, most: int | None) -> HeldOut:
    dataset, log = plan.dataset, plan.dataset.interactions
    known, border = checked_known(
        log,
        split.known_at_test,
        split.test,
        has_times=dataset.has_times,
        by_time=split.name == "global-time",
    )
    queries = held_out_queries(dataset, known, split.test, settings, most=most)
    task = Task(
        known,
        tuple(dataset.texts),
        queries.users,
        queries.excluded,
        queries.asked_at,
        settings.stage_one.repeat,
        DEPTH,
        settings.seed,
        n_threads(settings),
    )
    return HeldOut(task, truth_of(log, split.test, queries.users), border)
