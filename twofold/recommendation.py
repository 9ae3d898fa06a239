"""What the engine answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import polars as pl

    from twofold.indexing.vocabulary import Vocabulary
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


class Listed(NamedTuple):
    """The items of one list, in its order.

    Parameters
    ----------
    items
        Item numbers, ``int64 (n,)``.
    scores
        The ranker's logits, or stage one's scores where it did not come to an item.
    probabilities
        NaN where there is none, ``float32 (n,)``.
    sources
        Bit ``s`` is set where source ``s`` proposed the item, ``uint32 (n,)``.
    """

    items: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    sources: npt.NDArray[np.uint32]

    def part(self, which: slice | Sequence[int]) -> Listed:
        """Return some of the items, in that order."""
        return Listed(
            self.items[which], self.scores[which], self.probabilities[which], self.sources[which]
        )


class ManyListed(NamedTuple):
    """The lists of many queries, one after another.

    Parameters
    ----------
    lengths
        How many items each list has, ``int64 (n,)``.
    every
        All items, list after list.
    """

    lengths: npt.NDArray[np.int64]
    every: Listed


def joined_lists(lists: Sequence[Listed]) -> Listed:
    """Return several lists, at least one, as one: each begins where the one before it ends."""
    return Listed(
        np.concatenate([one.items for one in lists]),
        np.concatenate([one.scores for one in lists]),
        np.concatenate([one.probabilities for one in lists]),
        np.concatenate([one.sources for one in lists]),
    )


@dataclass(frozen=True)
class Names:
    """Turns the numbers that the stages work with into what the caller knows.

    Parameters
    ----------
    items
        The items' ids.
    stage_one
        Knows what spoke for an item.
    sources
        Names of the sources in order of their bits.
    """

    items: Vocabulary
    stage_one: StageOne
    sources: tuple[str, ...]

    def told(self, queries: Queries, listed: Listed) -> list[Recommendation]:
        """Return the list of one query with ids and reasons.

        Parameters
        ----------
        queries
            The query.
        listed
            Its items.
        """
        if not len(listed.items):
            return []
        ids, out = self.items.decode, []
        speakers = self.stage_one.spoke_most(queries, listed.items, N_REASONS)
        values = zip(*(part.tolist() for part in listed), speakers.tolist(), strict=True)
        told = zip(ids(listed.items.tolist()), values, strict=True)
        # Many items have the same sources.
        by_bits = {bits: self._named(bits) for bits in set(listed.sources.tolist())}
        for rank, (item, (_, score, chance, bits, reasons)) in enumerate(told, start=1):
            out.append(
                Recommendation(
                    item_id=item,
                    score=score,
                    probability=None if math.isnan(chance) else chance,
                    rank=rank,
                    sources=by_bits[bits],
                    reasons=tuple(ids(reasons)),
                )
            )
        return out

    def _named(self, bits: int) -> tuple[str, ...]:
        return tuple(name for bit, name in enumerate(self.sources) if bits >> bit & 1)

    def frame(self, users: Sequence[str], lists: ManyListed) -> pl.DataFrame:
        """Return the lists of several users as one table.

        Parameters
        ----------
        users
            Ids of the users.
        lists
            Their lists.

        Returns
        -------
        polars.DataFrame
            ``user_id, item_id, score, probability, rank``.
        """
        import polars as pl

        lengths, every = lists
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        whose = np.repeat(np.arange(len(lengths)), lengths)
        distinct = np.flatnonzero(np.bincount(every.items))
        which = np.zeros(int(every.items.max(initial=-1)) + 1, dtype=np.int64)
        which[distinct] = np.arange(len(distinct))
        out = {
            "user_id": pl.Series(users, dtype=pl.String).gather(whose),
            "item_id": pl.Series(self.items.decode(distinct), dtype=pl.String).gather(
                which[every.items]
            ),
            "score": every.scores,
            "probability": every.probabilities,
            "rank": np.arange(1, len(every.items) + 1) - starts,
        }
        return pl.DataFrame(out).with_columns(pl.col("probability").fill_nan(None))
