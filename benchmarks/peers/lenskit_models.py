"""LensKit's models that implicit has not, in an environment of their own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.outside import OutsidePeer

_SCRIPT = Path(__file__).with_name("outside_lenskit.py")


def lenskit_neighbours() -> OutsidePeer:
    """Return LensKit's item neighbours: only the nearest of an item that the user took count."""
    usual = {"model": "item-knn", "feedback": "implicit"}
    sizes = (20, 5, 10, 50, 100, 200)
    return OutsidePeer(
        name="LensKit item-item",
        environment="lenskit",
        script=_SCRIPT,
        grid=tuple({**usual, "max_nbrs": size} for size in sizes),
    )


def lenskit_factors() -> OutsidePeer:
    """Return LensKit's FlexMF under a logistic loss, with biases and negatives drawn by chance.

    Its WARP preset is not among the settings: in this version it stops after one draw.
    """
    usual = {"model": "flexmf", "loss": "logistic", "embedding_size": 64, "epochs": 10}
    return OutsidePeer(
        name="LensKit FlexMF",
        environment="lenskit",
        script=_SCRIPT,
        grid=(
            usual,
            {**usual, "epochs": 30},
            {**usual, "negative_count": 4},
            {**usual, "regularization": 0.1},
            {**usual, "regularization": 0.001},
            {**usual, "embedding_size": 32},
        ),
    )
