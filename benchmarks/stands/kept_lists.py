"""Every user's lists as arrays, so that a new metric or pair needs no new run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from twofold.evaluation.metrics import Truth
from twofold.evaluation.quality import Ranked

DEPTH = 100  # length of the lists that are made and kept
KS = (5, 10, 20)  # lengths that metrics are told at
Arrays = Mapping[str, npt.NDArray[Any]]


def arrays_of(
    lists: Mapping[str, Ranked], truth: Truth, users: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    """Return lists as arrays by name, the first 100 of each, with their truth.

    Parameters
    ----------
    lists
        System -> lists of the same users.
    truth
        What these users hold out.
    users
        Their numbers, ``int64 (n,)``.
    """
    out: dict[str, npt.NDArray[Any]] = {
        "users": users,
        "truth_indptr": truth.indptr,
        "truth_items": truth.items,
    }
    for name, one in lists.items():
        out[f"items/{name}"] = one.items[:, :DEPTH].astype(np.int32)
        if one.scores is not None:
            out[f"scores/{name}"] = one.scores[:, :DEPTH].astype(np.float32)
    return out


def lists_of(arrays: Arrays) -> tuple[dict[str, Ranked], Truth]:
    """Return what :func:`arrays_of` was given."""
    lists = {}
    for key in arrays:
        kind, _, name = key.partition("/")
        if kind == "items":
            lists[name] = Ranked(arrays[key].astype(np.int64), arrays.get(f"scores/{name}"))
    return lists, Truth(arrays["truth_indptr"], arrays["truth_items"])
