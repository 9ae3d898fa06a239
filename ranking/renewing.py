"""A ranker over items that came or were changed: what is known of the others is copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from twofold.indexing.progress import Progress
from twofold.ranking.items import ItemTables, compute_states, numbered, tokenise_items
from twofold.ranking.ranker import Ranker
from twofold.ranking.stored import ByteRows, Form, Rows, spliced

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
LEAST_TOKENS = 4  # of a block, however short the texts


def renewed(
    ranker: Ranker,
    items: Int64s,
    changed: Bools,
    texts: Sequence[str],
    vectors: npt.NDArray[np.float32],
    *,
    progress: Progress | None = None,
) -> Ranker:
    """Return a ranker with the tokens and states of other items, made where texts changed alone.

    Its factors are those it had, zeros for items that came; its relations and digests are none of
    these items', until a stage one that was fitted with them is put in.

    Parameters
    ----------
    ranker
        The ranker, as it was saved.
    items
        What number each item had for `ranker`, -1 for those that came, ``int64 (n,)``.
    changed
        Which texts `ranker` has not read, those of items that came among them, ``bool (n,)``.
    texts
        All texts.
    vectors
        All text vectors, ``float32 (n, d)``.
    progress
        Told of the steps.
    """
    tables, shape = ranker.tables, ranker.model.shape
    old = tables.tokens
    distinct, which = numbered(texts)
    sources = np.full(len(distinct), -1, dtype=np.int64)
    sources[which[~changed]] = items[~changed]
    unread = np.flatnonzero(sources < 0)
    fresh = tokenise_items(
        ranker.tokenizer,
        [distinct[text] for text in unread.tolist()],
        _longest(ranker),
        shape.backbone.max_tokens,
        causal=shape.backbone.traits.causal,
    )
    end = len(old.tokens)
    both = replace(
        old,
        tokens=np.concatenate([old.tokens, fresh.tokens]),
        starts=np.concatenate([old.starts, end + fresh.starts]),
        ends=np.concatenate([old.ends, end + fresh.ends]),
    )
    sources[unread] = len(old) + np.arange(len(fresh))
    tokens, places = both.taken(sources[which])
    states: Rows | None = None
    if tables.states is not None:
        form: Form = "int8" if isinstance(tables.states, ByteRows) else "half"
        made = compute_states(ranker.model.backbone, fresh, form=form, progress=progress)
        states = spliced(tables.states, made, places)
    factors = np.zeros((len(items), tables.factors.shape[1]), dtype=np.float32)
    factors[items >= 0] = tables.factors[items[items >= 0]]
    return replace(
        ranker,
        tables=ItemTables(tokens, vectors, factors, tables.relations, states),
        digests=None,
    )


def _longest(ranker: Ranker) -> int:
    """Return how many tokens of a text are read: as many as of the longest that there was."""
    wanted = ranker.settings.max_item_tokens
    read = ranker.tables.tokens.longest
    return wanted or max(LEAST_TOKENS, read)
