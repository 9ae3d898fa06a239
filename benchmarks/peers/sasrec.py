"""SASRec through RecTools, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.outside import OutsidePeer

# Above, the softmax over all items costs too much for long histories, and catalogues so large have
# short ones.
FEW_ITEMS = 4000
_USUAL = {"n_factors": 64, "n_blocks": 2, "n_heads": 2, "dropout_rate": 0.2, "batch_size": 128}


def sasrec(n_items: int) -> OutsidePeer:
    """Return SASRec as RecTools trains it, each setting bounded by a number of optimiser steps.

    Parameters
    ----------
    n_items
        Size of the catalogue: what a step costs, and so what a search can afford, hangs on it.
    """
    exact = {**_USUAL, "loss": "softmax", "lr": 0.003}
    if n_items <= FEW_ITEMS:
        grid = (
            {**exact, "session_max_len": 50, "steps": 400},
            {**exact, "session_max_len": 50, "steps": 400, "lr": 0.001},
            {**exact, "session_max_len": 50, "steps": 200},
            {**exact, "session_max_len": 50, "steps": 300, "n_factors": 128},
            {**exact, "session_max_len": 100, "steps": 200},
            {**exact, "session_max_len": 20, "steps": 800},
        )
    else:
        drawn = {**_USUAL, "loss": "sampled_softmax", "n_negatives": 128, "lr": 0.003}
        grid = (
            {**exact, "session_max_len": 10, "steps": 800},
            {**exact, "session_max_len": 10, "steps": 800, "lr": 0.001},
            {**exact, "session_max_len": 10, "steps": 400},
            {**exact, "session_max_len": 10, "steps": 600, "n_factors": 128},
            {**drawn, "session_max_len": 20, "steps": 700},
            {**drawn, "session_max_len": 20, "steps": 1500, "n_negatives": 32},
        )
    return OutsidePeer(
        name="SASRec (RecTools)",
        environment="rectools",
        script=Path(__file__).with_name("outside_rectools.py"),
        grid=grid,
    )
