"""One order out of many sources."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.retrieval.features import VIEWS
from twofold.retrieval.hidden_layer import Layer

Floats = npt.NDArray[np.float32]
Method = Literal["learned", "zscore", "reciprocal"]
RECIPROCAL_OFFSET = 60


class Unit(NamedTuple):
    """One unit of a hidden layer: ``outward * max(0, features . weights + bias)``."""

    weights: tuple[float, ...]
    bias: float
    outward: float


@dataclass(frozen=True)
class Fusion:
    """A score of merged candidates from their features.

    Parameters
    ----------
    method
        ``"zscore"`` adds up the sources' standardised scores with `weights` (one a source).
        ``"reciprocal"`` adds up ``1 / (60 + rank)`` (Cormack et al. 2009), ranks by source within
        the merged row. ``"learned"`` is linear in all features, `weights` one a feature, plus what
        `units` say.
    weights
        See above; all 1 by default for ``"zscore"``, unused by ``"reciprocal"``.
    units
        A hidden layer over all features, of ``"learned"`` alone; it may be empty.

    Raises
    ------
    InputError
        If a unit has not one weight a feature.
    """

    method: Method
    weights: tuple[float, ...]
    units: tuple[Unit, ...] = ()

    def __post_init__(self) -> None:
        if any(len(unit.weights) != len(self.weights) for unit in self.units):
            raise InputError(f"Fusion: a unit needs {len(self.weights)} weights, one a feature")

    def score(self, features: Floats) -> Floats:
        """Return scores ``float32 (n, m)`` of features ``(n, m, n_features)``."""
        views = len(VIEWS)
        if self.method == "reciprocal":
            # Inverts the logarithmic rank that the features hold.
            log_rank = features[..., 1::views]
            place = np.expm1((0.5 - log_rank) * np.log1p(100.0))
            # No place has the logarithmic rank 0: it marks rows of equal scores.
            each = np.where(log_rank == 0, 0, 1 / (RECIPROCAL_OFFSET + 1 + place))
            return np.asarray(each.sum(axis=-1), dtype=np.float32)
        read = features[..., 0::views] if self.method == "zscore" else features
        if read.shape[-1] != len(self.weights):
            raise InputError(
                f"fusion was made for {len(self.weights)} weights, but {read.shape[-1]} came"
            )
        if self.method == "zscore":
            return np.asarray(read @ np.asarray(self.weights, dtype=np.float32), dtype=np.float32)
        rows = features.reshape(-1, features.shape[2])
        return self._layer.scores(rows).reshape(features.shape[:2])

    @cached_property
    def _layer(self) -> Layer:
        """The hidden layer, and the linear sum beside it."""
        shape = (len(self.units), len(self.weights))
        return Layer(
            np.array([unit.weights for unit in self.units], dtype=np.float32).reshape(shape),
            np.array([unit.bias for unit in self.units], dtype=np.float32),
            np.array([unit.outward for unit in self.units], dtype=np.float32),
            np.array(self.weights, dtype=np.float32),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fusion as JSON values."""
        units = [[list(unit.weights), unit.bias, unit.outward] for unit in self.units]
        return {"method": self.method, "weights": list(self.weights), "units": units}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Fusion:
        """Return the fusion that :meth:`to_dict` wrote."""
        units = tuple(Unit(tuple(one), bias, outward) for one, bias, outward in values["units"])
        return cls(values["method"], tuple(values["weights"]), units)
