"""Reranking within a time: as many of the best candidates as there is time for."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twofold.ranking.ranker import Ranker
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.queries import Queries

# A call is planned to take this share of the time that is left. Its pace is only known roughly; and
# where requests meet, others will have come before it ends, who must not wait for all of that time.
SHARE_ALONE, SHARE_TOGETHER = 0.8, 0.4
# Those whose time left is this many times that of the nearest deadline are worth another call.
MUCH_LATER = 4.0
FEWEST = 8


class Pace:
    """How long reranking takes, learned from how long it took.

    Seconds are taken as linear in the number of candidates; the line is fitted to all calls so far,
    each later call making the earlier ones count a tenth less. It may be shared by threads.

    Parameters
    ----------
    call, candidate
        First guess: seconds a call, and seconds a candidate.
    """

    def __init__(self, call: float = 3e-3, candidate: float = 5e-5) -> None:
        self._lock = threading.Lock()
        # Normal equations, started by the guess as two calls would have it.
        few, many = np.array([1.0, 50.0]), np.array([1.0, 150.0])
        line = np.array([call, candidate])
        self._square = 0.5 * (np.outer(few, few) + np.outer(many, many))
        self._product = self._square @ line
        self._line = line

    def note(self, candidates: int, seconds: float) -> None:
        """Learn from a call."""
        point = np.array([1.0, candidates])
        with self._lock:
            self._square = 0.9 * self._square + np.outer(point, point)
            self._product = 0.9 * self._product + point * seconds
            # A little of the last line in every direction: calls of one size alone fix no slope.
            ridge = 1e-3 * np.diag(np.diag(self._square))
            line = np.linalg.solve(self._square + ridge, self._product + ridge @ self._line)
            self._line = np.maximum(line, [1e-5, 1e-7])

    def passed_over(self) -> None:
        """Learn that there was no time for a call: what was slow once need not be slow for ever.

        Nothing is learned where nothing is called, so the guess comes down by a tenth until a call
        is dared again.
        """
        with self._lock:
            self._product = 0.9 * self._product
            self._line = 0.9 * self._line

    def seconds(self, candidates: int) -> float:
        """Return how long a call with so many candidates is expected to take."""
        with self._lock:
            return float(self._line @ [1.0, candidates])

    def fits(self, seconds: float) -> float:
        """Return how many candidates are expected to take at most so long; at least 0."""
        with self._lock:
            call, candidate = self._line
        return max(0.0, (seconds - float(call)) / float(candidate))


@dataclass(frozen=True)
class Partly:
    """Candidates of which the first few were reranked.

    Parameters
    ----------
    ranked
        The reranked ones in the ranker's order; scores are logits.
    rest
        The others in stage one's order, with its scores.
    reranked
        How many were reranked a query, ``int64 (n,)``.
    """

    ranked: Candidates
    rest: Candidates
    reranked: npt.NDArray[np.int64]


def rerank_until(
    ranker: Ranker,
    queries: Queries,
    candidates: Candidates,
    k: int,
    *,
    deadlines: npt.NDArray[np.float64],
    pace: Pace,
) -> Partly:
    """Return candidates reranked as far as time allows, stage one's best first.

    Parameters
    ----------
    ranker
        The ranker.
    queries, candidates
        ``n`` queries and their candidates, with features.
    k
        Length of the rows returned.
    deadlines
        When each answer should stand, in seconds of ``time.perf_counter``; ``inf`` for whenever,
        ``float64 (n,)``.
    pace
        What is known of the time it takes; it learns from this call.
    """
    n, width = candidates.items.shape
    logits = np.full((n, width), -np.inf, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    waiting = np.flatnonzero(ranker.reads(queries) & (candidates.lengths() > 0))
    done = 0
    while done < width and len(waiting):
        begun = time.perf_counter()
        nearest = deadlines[waiting].min()
        left = width - done
        room = nearest - begun
        share = SHARE_ALONE if len(waiting) == 1 else SHARE_TOGETHER
        fits = pace.fits(share * room) / len(waiting)
        if fits < FEWEST:
            # A few are worth all of the time: better the best than none.
            fits = min(FEWEST, pace.fits(room) / len(waiting))
        if fits < min(left, FEWEST):
            waiting = waiting[deadlines[waiting] > nearest]
            if nearest > begun and not done:
                pace.passed_over()
            continue
        columns = slice(done, done + int(min(left, fits)))
        whole = len(waiting) == n and columns == slice(0, width)
        asked = queries if len(waiting) == n else queries.take(waiting)
        part = candidates if whole else candidates.take(waiting).columns(columns)
        logits[waiting, columns] = ranker.logits(asked, part)
        pace.note(part.items.size, time.perf_counter() - begun)
        done = columns.stop
        counts[waiting] = done
        # Whoever shared this call's deadline is done: more calls would use up what is left to the
        # last millisecond, while the requests that come next wait.
        waiting = waiting[deadlines[waiting] - begun > MUCH_LATER * room]
    counts = np.minimum(counts, candidates.lengths())
    read = np.arange(width) < counts[:, None]
    return Partly(
        ranked=_only(candidates, read, logits, k),
        rest=_only(candidates, ~read & (candidates.items >= 0), candidates.scores, k),
        reranked=counts,
    )


def _only(
    candidates: Candidates,
    which: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float32],
    k: int,
) -> Candidates:
    """Return the best `k` by `scores` of the candidates that `which` marks."""
    if not which.any():
        return candidates.top(0)
    return rank(
        np.where(which, candidates.items, -1),
        np.where(which, scores, np.float32(-np.inf)),
        k,
        sources=candidates.sources,
    )
