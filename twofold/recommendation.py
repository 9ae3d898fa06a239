"""What the engine answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from twofold.indexing.dataset import Dataset
    from twofold.retrieval.candidates import Candidates
    from twofold.retrieval.queries import Queries
    from twofold.retrieval.stage_one import StageOne

N_REASONS = 3


@dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Parameters
    ----------
    item_id
        The item.
    score
        The logit of the ranker, or stage one's score where there was nothing to rerank by, or no
        time to; higher is better among items of one kind.
    probability
        The chance that the user's next interactions hold this item, given that stage one proposed
        it; ``None`` where the ranker knows no history of the user, did not come to the item, or
        there is no ranker.
    rank
        From 1.
    sources
        Names of the sources that proposed the item.
    reasons
        Ids of the user's own items that spoke for it most, the strongest first.
    """

    item_id: str
    score: float
    probability: float | None
    rank: int
    sources: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the recommendation as JSON values."""
        return asdict(self)


class Recommendations(list[Recommendation]):
    """Recommendations, the best first, and how many candidates the ranker read for them.

    Parameters
    ----------
    found
        The recommendations.
    reranked
        How many of the candidates the ranker scored: all of them, unless there was no ranker, it
        had nothing to read, or a time budget ran out.
    candidates
        How many stage one gave.
    """

    def __init__(
        self, found: Iterable[Recommendation], *, reranked: int = 0, candidates: int = 0
    ) -> None:
        super().__init__(found)
        self.reranked, self.candidates = reranked, candidates


@dataclass(frozen=True)
class Names:
    """Turns the numbers that the stages work with into what the caller knows.

    Parameters
    ----------
    dataset
        Has the ids.
    stage_one
        Knows what spoke for an item.
    sources
        Names of the sources in order of their bits.
    """

    dataset: Dataset
    stage_one: StageOne
    sources: tuple[str, ...]

    def told(
        self,
        queries: Queries,
        candidates: Candidates,
        probabilities: npt.NDArray[np.float32] | None = None,
        *,
        first: int = 1,
    ) -> list[Recommendation]:
        """Return the candidates of one query with ids and reasons.

        Parameters
        ----------
        queries
            The query.
        candidates
            One row.
        probabilities
            Theirs, ``float32 (k,)``, NaN where one is not known; ``None`` where none is.
        first
            Rank of the first.
        """
        items, out = self.dataset.items, []
        numbers = candidates.items[0, : int(candidates.lengths()[0])]
        if not len(numbers):
            return []
        speakers = self.stage_one.spoke_most(queries, numbers, N_REASONS)
        for place, (item, reasons) in enumerate(zip(numbers.tolist(), speakers, strict=True)):
            bits = 0 if candidates.sources is None else int(candidates.sources[0, place])
            chance = math.nan if probabilities is None else float(probabilities[place])
            out.append(
                Recommendation(
                    item_id=items.ids[item],
                    score=float(candidates.scores[0, place]),
                    probability=None if math.isnan(chance) else chance,
                    rank=first + place,
                    sources=tuple(name for bit, name in enumerate(self.sources) if bits >> bit & 1),
                    reasons=tuple(items.decode(reasons)),
                )
            )
        return out
