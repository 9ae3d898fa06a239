"""How candidates are found and merged: the settings of stage one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from twofold.indexing.collaborative import CollaborativeSettings
from twofold.indexing.errors import SettingsError
from twofold.indexing.neighbours import NeighbourSettings
from twofold.indexing.ranges import require


@dataclass(frozen=True)
class StageOneSettings:
    """How candidates are found and merged.

    Parameters
    ----------
    per_source
        Candidates that each source proposes.
    max_history
        At most this many latest items of a history are read.
    decay
        A history item with ``a`` later ones counts ``decay ** a``.
    fusion
        ``"learned"``, ``"zscore"`` or ``"reciprocal"``; ``"auto"`` learns weights where at least
        `least_hits` users of the label window have a hit among their candidates, and adds z-scores
        otherwise.
    least_hits
        See `fusion`.
    repeat
        Whether items that a user has seen may be recommended again. What users took, how often and
        when, is then known whole and has sources of its own, 'taken_often' to 'due', and label
        windows hold out whole occasions, such as baskets.
    habit_half_life_days, lately_half_life_days
        After so many days a taking counts half for the sources 'taken_long' and 'returning', and
        for 'taken_lately', with `repeat` alone. Where there are no times an occasion is a day.
    fresh_half_life_days
        After so many days an item counts half for the source 'fresh', which proposes items that
        came lately by their text, taken by anybody or not; ``None`` leaves the source out. An item
        came when it became available, or else with its first interaction.
    collaborative
        The factor model.
    neighbours
        Item-to-item relations.
    """

    per_source: int = 100
    max_history: int = 50
    decay: float = 0.7
    fusion: Literal["auto", "learned", "zscore", "reciprocal"] = "auto"
    least_hits: int = 200
    repeat: bool = False
    habit_half_life_days: float = 120.0
    lately_half_life_days: float = 21.0
    fresh_half_life_days: float | None = None
    collaborative: CollaborativeSettings = field(default_factory=CollaborativeSettings)
    neighbours: NeighbourSettings = field(default_factory=NeighbourSettings)

    def __post_init__(self) -> None:
        if self.fresh_half_life_days is not None and not self.fresh_half_life_days > 0:
            raise SettingsError(
                'stage_one.fresh_half_life_days must be above 0 or "none", not '
                f"{self.fresh_half_life_days}"
            )
        require(
            self,
            "stage_one",
            at_least_one=("per_source", "max_history", "least_hits"),
            positive=("habit_half_life_days", "lately_half_life_days"),
        )
        if not 0 < self.decay <= 1:
            raise SettingsError(f"stage_one.decay must be in (0, 1], not {self.decay}")
