"""Training lists that stand for free text queries: some items' texts are said, and they answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from twofold.ranking.batches import history_as_text
from twofold.ranking.items import ItemTables
from twofold.ranking.labelled import Drawn
from twofold.retrieval.queries import Queries

LONGEST = 3


class TextRows(NamedTuple):
    """A batch in which some lists are text queries.

    Parameters
    ----------
    tokens
        What each list says, an empty row where it says nothing.
    drawn
        The batch, with the items that are said among the hits.
    likeness
        Cosine of what is said and the candidate's text, NaN in lists that say nothing, ``float32
        (B, m)``.
    """

    tokens: tuple[npt.NDArray[np.int32], ...]
    drawn: Drawn
    likeness: npt.NDArray[np.float32]


def text_rows(
    queries: Queries,
    drawn: Drawn,
    which: npt.NDArray[np.bool_],
    items: ItemTables,
    *,
    limit: int,
    rng: np.random.Generator,
) -> TextRows:
    """Return a batch whose lists at `which` say their latest items in place of the history.

    One to three items are said, and become hits beside what their user took next: somebody who
    names a film wants that film first and then what goes with it. They take the places of drawn
    misses.

    Parameters
    ----------
    queries
        ``B`` histories.
    drawn
        Their drawn candidates.
    which
        Lists that shall be text queries, ``bool (B,)``.
    items
        Tokens and text vectors.
    limit
        Most tokens a row.
    rng
        Draws how many items are said.
    """
    few = int(rng.integers(1, LONGEST + 1))
    said = history_as_text(queries, which, items, limit=limit, max_history=few)
    candidates, labels = drawn.items.copy(), drawn.labels.clone()
    weights = drawn.weights.clone()
    likeness = np.full(candidates.shape, np.nan, dtype=np.float32)
    for row, tokens in enumerate(said.rows):
        if not len(tokens):
            continue
        told = np.unique(queries.items[queries.indptr[row] : queries.indptr[row + 1]][-few:])
        told = told[-candidates.shape[1] :]
        # Where repeats are recommended, what is said may be a candidate already.
        twice = np.isin(candidates[row], told)
        candidates[row, twice] = -1
        weights[row, torch.from_numpy(twice)] = 0.0
        candidates[row, -len(told) :] = told
        labels[row, -len(told) :] = weights[row, -len(told) :] = 1.0
        likeness[row] = _cosines(items.texts[told], items.texts[np.maximum(candidates[row], 0)])
    return TextRows(
        said.rows, drawn._replace(items=candidates, labels=labels, weights=weights), likeness
    )


def _cosines(
    said: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the cosine of the mean of some vectors and each of others, 0 where one has none."""
    query = said.mean(axis=0)
    lengths = np.linalg.norm(texts, axis=1) * np.linalg.norm(query)
    return np.asarray(texts @ query / np.where(lengths > 0, lengths, 1), dtype=np.float32)
