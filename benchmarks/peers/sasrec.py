"""SASRec through RecTools, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.outside import OutsidePeer

# Above, a softmax over all items costs more than a search can afford.
FEW_ITEMS = 4000
_USUAL = {"n_factors": 64, "n_blocks": 2, "n_heads": 2, "dropout_rate": 0.2, "lr": 0.001}


def sasrec(n_items: int) -> OutsidePeer:
    """Return SASRec as RecTools trains it, each setting bounded by a number of optimiser steps.

    Parameters
    ----------
    n_items
        Size of the catalogue: what a step costs, and so what a search can afford, hangs on it.
    """
    if n_items <= FEW_ITEMS:
        usual = {**_USUAL, "loss": "softmax", "batch_size": 32, "session_max_len": 50}
        grid = (
            {**usual, "steps": 1200},
            {**usual, "steps": 1200, "lr": 0.002},
            {**usual, "steps": 700, "lr": 0.002},
            {**usual, "steps": 700, "n_factors": 128},
            {**usual, "steps": 500, "session_max_len": 100},
            {**usual, "steps": 1200, "dropout_rate": 0.4},
        )
    else:
        usual = {**_USUAL, "loss": "sampled_softmax", "n_negatives": 32, "lr": 0.002}
        usual |= {"batch_size": 128, "session_max_len": 20}
        grid = (
            {**usual, "steps": 1200},
            {**usual, "steps": 1200, "lr": 0.005},
            {**usual, "steps": 600, "lr": 0.005},
            {**usual, "steps": 800, "n_factors": 128},
            {**usual, "steps": 500, "n_negatives": 128},
            {**usual, "steps": 1200, "loss": "gBCE", "gbce_t": 0.75},
        )
    return OutsidePeer(
        name="SASRec (RecTools)",
        environment="rectools",
        script=Path(__file__).with_name("outside_rectools.py"),
        grid=grid,
    )
