"""What is held out: which interactions are learnt from, tuned on and tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from twofold.indexing.dataset import Dataset
from twofold.indexing.errors import InputError
from twofold.indexing.holding_out import OneTimeError, hold_out_last, hold_out_time
from twofold.indexing.interactions import Interactions

Mask = npt.NDArray[np.bool_]
Protocol = Literal["auto", "leave-one-out", "leave-last-n", "global-time", "file"]
PROTOCOLS: tuple[Protocol, ...] = ("auto", "leave-one-out", "leave-last-n", "global-time", "file")


@dataclass(frozen=True)
class Split:
    """Parts of a data set, as masks over the rows of its interactions, ``bool (n,)``.

    No row is in two parts; a row in none must not be used at all (it lies after its user's test
    rows began).

    Parameters
    ----------
    name
        The protocol, such as ``"leave-last-5"``.
    reason
        Why it was chosen, in a sentence.
    train
        What is learnt from: labels and all other events.
    validation, test
        What is to be predicted; every row is a label.
    context
        Events that are no labels (dislikes, impressions, ...) and lie between the beginning of
        validation and the beginning of test: known at test, not at validation.
    """

    name: str
    reason: str
    train: Mask
    validation: Mask
    test: Mask
    context: Mask

    @property
    def known_at_test(self) -> Mask:
        """All that may be known when the test rows are predicted."""
        return self.train | self.validation | self.context


def leave_last_n(
    dataset: Dataset, n: int, n_validation: int | None = None, skip: int = 0, *, reason: str = ""
) -> Split:
    """Return the split that tests on each user's last `n` labels.

    The `n_validation` labels before those are for validation. A user takes part if at least one
    training label remains, that is with ``n + n_validation + 1`` labels (after skipping); all
    rows of other users are for training. Rows after a user's first test row that are not tested
    are in no part.

    Parameters
    ----------
    dataset
        The data.
    n
        Number of test labels a user.
    n_validation
        Number of validation labels a user; ``None`` for as many as `n`, 0 for none.
    skip
        Each user's last `skip` labels, and all after the first of them, are left out beforehand:
        the whole protocol shifted back, for choices that must not see the last labels.
    reason
        Why this protocol was chosen.

    Raises
    ------
    InputError
        If no user has enough labels.
    """
    rows = dataset.interactions
    n_validation = n if n_validation is None else n_validation
    tested = hold_out_last(rows, n, skip=skip, keep=n_validation + 1)
    train, validation = tested.fit, np.zeros(len(rows), dtype=bool)
    if n_validation > 0:
        has_test = np.bincount(rows.users[tested.labels], minlength=rows.n_users) > 0
        inner = hold_out_last(rows, n_validation, skip=skip + n, keep=1)
        taking_part = has_test[rows.users]
        train = np.where(taking_part, inner.fit, tested.fit)
        validation = inner.labels & taking_part
    name = "leave-one-out" if n == 1 else f"leave-last-{n}"
    return _split(rows, name, reason or "asked for", train, validation, tested.labels, tested.fit)


def leave_one_out(dataset: Dataset, skip: int = 0) -> Split:
    """Return `leave_last_n` with one test and one validation label a user."""
    return leave_last_n(dataset, 1, skip=skip)


def global_time(
    dataset: Dataset,
    test_fraction: float = 0.1,
    validation_fraction: float = 0.1,
    *,
    reason: str = "",
) -> Split:
    """Return the split at two moments that are the same for all users.

    The latest `test_fraction` of the labels is for test, the latest `validation_fraction` of all
    labels before it for validation; labels of one millisecond stay together.

    Parameters
    ----------
    dataset
        Data with real times.
    test_fraction, validation_fraction
        Shares of all labels; their sum is below 1.
    reason
        Why this protocol was chosen.

    Raises
    ------
    InputError
        If there are no times, all are the same, or the fractions are out of range.
    """
    if not dataset.has_times:
        raise InputError("global-time needs times, and the data has none; use leave-last-n")
    if test_fraction + validation_fraction >= 1:
        raise InputError(
            f"test and validation fractions must leave something to train on, came "
            f"{test_fraction} and {validation_fraction}"
        )
    rows = dataset.interactions
    tested = hold_out_time(rows, test_fraction)
    train, validation = tested.fit, np.zeros(len(rows), dtype=bool)
    if validation_fraction > 0:
        known = np.flatnonzero(tested.fit)
        earlier = rows.take(tested.fit)
        if len(np.unique(earlier.times[earlier.labels])) < 2:
            raise OneTimeError(
                "global-time finds one time only before its test labels, so nothing is left for "
                "validation; use leave-last-n, or a validation fraction of 0"
            )
        share = validation_fraction * rows.labels.sum() / earlier.labels.sum()
        inner = hold_out_time(earlier, min(float(share), 0.99))
        train, validation = np.zeros(len(rows), dtype=bool), validation.copy()
        train[known[inner.fit]] = True
        validation[known[inner.labels]] = True
    reason = reason or "asked for"
    return _split(rows, "global-time", reason, train, validation, tested.labels, tested.fit)


def file_split(dataset: Dataset, *, reason: str = "") -> Split:
    """Return the split that the file gives in its split column.

    Rows of the validation part that are no labels are context; such rows of the test part are
    left out.

    Raises
    ------
    InputError
        If the file has no split column, or no label in its train or test part.
    """
    if dataset.split is None:
        raise InputError("protocol 'file' needs a split column, and the data has none")
    labels, part = dataset.interactions.labels, dataset.split
    train = np.asarray(part == 0)
    return _split(
        dataset.interactions,
        "file",
        reason or "asked for",
        train,
        labels & (part == 1),
        labels & (part == 2),
        np.asarray(part < 2),
    )


def choose_split(
    dataset: Dataset,
    protocol: Protocol = "auto",
    *,
    n: int = 1,
    n_validation: int | None = None,
    test_fraction: float = 0.1,
    validation_fraction: float = 0.1,
) -> Split:
    """Return the split of a protocol, or of the one that suits the data.

    ``"auto"`` follows the file where it has a split column. Otherwise it splits by global time
    where there are times and at least half of the users so tested have earlier events, and leaves
    out each user's last `n` where not; ``Split.reason`` says which and why.

    Parameters
    ----------
    dataset
        The data.
    protocol
        One of `PROTOCOLS`.
    n, n_validation
        For leave-last-n.
    test_fraction, validation_fraction
        For global time.

    Raises
    ------
    InputError
        If the protocol is unknown or does not suit the data.
    """
    if protocol == "file":
        return file_split(dataset)
    if protocol == "leave-one-out":
        return leave_one_out(dataset)
    if protocol == "leave-last-n":
        return leave_last_n(dataset, n, n_validation)
    if protocol == "global-time":
        return global_time(dataset, test_fraction, validation_fraction)
    if protocol != "auto":
        raise InputError(f"protocol must be one of {', '.join(PROTOCOLS)}, came {protocol!r}")
    if dataset.split is not None:
        return file_split(dataset, reason="the file has a split column")
    reason = "the data has no times" if dataset.has_order else _UNORDERED
    if dataset.has_times:
        try:
            split = global_time(dataset, test_fraction, validation_fraction)
        except OneTimeError as error:
            reason = str(error)
        else:
            share = _share_with_history(dataset.interactions, split)
            counted = f"{share:.0%} of the users tested by global time have earlier events"
            if share >= 0.5:
                return replace(split, reason=counted)
            reason = f"only {counted}"
    return leave_last_n(dataset, n, n_validation, reason=reason)


_UNORDERED = "the data has no times and no order, so a seeded hash decides what is last"


def _split(
    rows: Interactions,
    name: str,
    reason: str,
    train: Mask,
    validation: Mask,
    test: Mask,
    before_test: Mask,
) -> Split:
    if not test.any():
        raise InputError(
            f"protocol {name} finds nothing to test: too few labels a user; use a smaller n or "
            "another protocol"
        )
    if not (train & rows.labels).any():
        raise InputError(f"protocol {name} leaves no label to learn from; use another one")
    context = before_test & ~train & ~validation & ~rows.labels
    return Split(name, reason, train, validation, test, context)


def _share_with_history(rows: Interactions, split: Split) -> float:
    tested = np.bincount(rows.users[split.test], minlength=rows.n_users) > 0
    known = np.bincount(rows.users[split.known_at_test], minlength=rows.n_users) > 0
    return float((tested & known).sum() / max(1, tested.sum()))
