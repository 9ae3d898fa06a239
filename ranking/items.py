"""What stage two knows of every item: tokens, token states, text vectors, aligned factors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.backbone import Backbone
from twofold.ranking.caches import RowCache
from twofold.ranking.devices import moved
from twofold.ranking.model import SoftItems
from twofold.ranking.relations import Relations
from twofold.ranking.stored import Form, Rows, empty_rows

if TYPE_CHECKING:
    from twofold.ranking.placed import PlacedItems

DEFAULT_LONGEST = 64


@dataclass(frozen=True)
class ItemTokens:
    """Token numbers of all item texts with their marks, packed; items of one text share a block.

    Parameters
    ----------
    tokens
        ``int32 (n_tokens,)``.
    starts, ends
        Tokens of item ``i`` are ``starts[i]:ends[i]``, ``int64 (n_items,)`` each.
    opened
        Whether each block begins with a mark, [CLS]; all end with one.
    """

    tokens: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    opened: bool = True

    def __len__(self) -> int:
        return len(self.starts)

    def lengths(self, items: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Return how many tokens items have, ``int64`` in their shape; of ``None`` all items."""
        if items is None:
            return self.ends - self.starts
        return self.ends[items] - self.starts[items]

    @property
    def longest(self) -> int:
        """Tokens of the longest text, 0 without items."""
        return int(self.lengths().max(initial=0))

    @property
    def opening(self) -> npt.NDArray[np.int32]:
        """What every block begins with: one token or none."""
        return self.tokens[: int(self.opened)]

    def rows(self, items: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return where the tokens of `items` stand, item after item, ``int64 (n_tokens,)``."""
        starts, lengths = self.starts[items], self.lengths(items)
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return np.asarray(np.repeat(starts, lengths) + within, dtype=np.int64)

    def distinct(
        self, items: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the first of `items` with each block, in order, and which of them each has."""
        _, first, where = np.unique(self.starts[items], return_index=True, return_inverse=True)
        order = np.argsort(first)
        return items[first[order]], np.argsort(order)[where]

    def taken(self, items: npt.NDArray[np.int64]) -> tuple[ItemTokens, npt.NDArray[np.int64]]:
        """Return the blocks of some items alone, and where each of their tokens stood here."""
        distinct, where = self.distinct(items)
        lengths = self.lengths(distinct)
        ends, rows = np.cumsum(lengths), self.rows(distinct)
        return replace(
            self, tokens=self.tokens[rows], starts=(ends - lengths)[where], ends=ends[where]
        ), rows


class Marks(NamedTuple):
    """The tokens that stand around a text: [CLS] and [SEP], or the end alone in a causal model."""

    first: tuple[int, ...]
    last: int

    @classmethod
    def of(cls, tokenizer: Any, causal: bool) -> Marks:
        """Return the marks of a tokenizer's model."""
        if causal:
            return cls((), tokenizer.eos_token_id)
        return cls((tokenizer.cls_token_id,), tokenizer.sep_token_id)

    def around(self, tokens: Sequence[int], limit: int) -> list[int]:
        """Return a text's tokens between the marks, cut so that all are at most `limit`."""
        return [*self.first, *tokens[: limit - len(self.first) - 1], self.last]


def numbered(texts: Iterable[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the distinct texts in order of appearance, and which of them each is."""
    numbers: dict[str, int] = {}
    which = [numbers.setdefault(one, len(numbers)) for one in texts]
    return list(numbers), np.array(which, dtype=np.int64)


def tokenise_items(
    tokenizer: Any,
    texts: Sequence[str],
    max_tokens: int | None,
    limit: int,
    *,
    causal: bool = False,
) -> ItemTokens:
    """Return the tokens of item texts.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers.
    texts
        Item texts in order of item numbers; an empty text is nothing but marks.
    max_tokens
        Longest block, specials included; ``None`` takes the length that 95 % of the texts fit
        into, at most 64.
    limit
        Longest sequence of the encoder.
    causal
        Whether the model reads from left to right alone.
    """
    marks, ids = Marks.of(tokenizer, causal), list[list[int]]()
    distinct, which = numbered(texts)
    for start in range(0, len(distinct), 10_000):
        part = distinct[start : start + 10_000]
        ids += tokenizer(part, add_special_tokens=False, truncation=False, verbose=False).input_ids
    lengths = np.array([len(one) + len(marks.first) + 1 for one in ids], dtype=np.int64)
    if max_tokens is None:
        fits = int(np.ceil(np.quantile(lengths[which], 0.95))) if len(which) else 4
        max_tokens = max(4, min(DEFAULT_LONGEST, fits))
    if max_tokens > limit:
        raise InputError(
            f"max_item_tokens is {max_tokens}, but this encoder reads at most {limit} tokens"
        )
    lengths = np.minimum(lengths, max_tokens)
    ends = np.cumsum(lengths)
    flat = [number for one in ids for number in marks.around(one, max_tokens)]
    return ItemTokens(
        np.array(flat, dtype=np.int32), (ends - lengths)[which], ends[which], opened=not causal
    )


@dataclass(frozen=True)
class ItemTables:
    """Everything stage two reads of items, in order of item numbers.

    Parameters
    ----------
    tokens
        Token numbers.
    texts
        Text vectors of stage one, ``float32 (n_items, text_dim)``.
    factors
        Collaborative factors in the ranker's basis, ``float32 (n_items, factor_dim)``.
    relations
        How items go with items.
    states
        Lower-layer token states beside `tokens`, ``d`` numbers a token, or ``None`` where they are
        computed when they are needed.
    on_demand
        Computes them and keeps the latest; ``None`` keeps none.
    editions
        A number for each item as it is now, that no other item and no other text of it has: what is
        kept of earlier requests is kept under it. ``int64 (n_items,)``, ``None`` for the items'
        own numbers.
    placed
        Copies of the tables in the memory of a device, which are then read in their place.
    """

    tokens: ItemTokens
    texts: npt.NDArray[np.float32]
    factors: npt.NDArray[np.float32]
    relations: Relations
    states: Rows | None = None
    on_demand: StatesOnDemand | None = None
    editions: npt.NDArray[np.int64] | None = None
    placed: PlacedItems | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.tokens), len(self.texts), len(self.factors)}
        if len(sizes) != 1:
            raise InputError(f"ItemTables: tables of one length were expected, not {sorted(sizes)}")
        if self.states is not None and len(self.states) != len(self.tokens.tokens):
            raise InputError("ItemTables: states must stand beside tokens, one row each")

    def soft(self, items: npt.NDArray[np.int64]) -> SoftItems:
        """Return the soft items of any shape of item numbers; -1 gives those of item 0."""
        safe = np.maximum(items, 0)
        if self.placed is not None and self.placed.parts is not None:
            texts, factors = self.placed.parts
            return SoftItems(texts.read(safe), factors.read(safe))
        return SoftItems(
            torch.from_numpy(np.ascontiguousarray(self.texts[safe], dtype=np.float32)),
            torch.from_numpy(np.ascontiguousarray(self.factors[safe], dtype=np.float32)),
        )

    def token_states(
        self, items: npt.NDArray[np.int64], backbone: Backbone
    ) -> tuple[Tensor, Tensor]:
        """Return packed lower-layer states ``(n_tokens, d)`` and lengths ``(n,)`` of items."""
        starts = self.tokens.starts[items]
        many = self.tokens.ends[items] - starts
        lengths = torch.from_numpy(many)
        if self.placed is not None and self.placed.states is not None:
            return self.placed.states.runs(starts, many), lengths
        if self.states is not None:
            return self.states.of(self.tokens.rows(items)), lengths
        if self.on_demand is not None:
            return self.on_demand.of(items, self.editions), lengths
        return lower_states(backbone, self.tokens, items), lengths

    def strengths(
        self,
        history: npt.NDArray[np.int64],
        there: npt.NDArray[np.bool_],
        candidates: npt.NDArray[np.int64],
    ) -> Tensor:
        """Return how history items go with candidates, as :meth:`Relations.between` does."""
        if self.placed is not None:
            return self.placed.strengths(self.relations, history, there, candidates)
        return torch.from_numpy(self.relations.between(history, there, candidates))


class StatesOnDemand:
    """Lower-layer states that are computed when they are asked for, the latest kept.

    They are those of one backbone in single precision, in whatever runtime the upper layers run.

    Parameters
    ----------
    backbone, tokens
        Whose states of what.
    n_bytes
        Most bytes of states that are kept.
    """

    def __init__(self, backbone: Backbone, tokens: ItemTokens, n_bytes: int) -> None:
        self._backbone, self._tokens = backbone, tokens
        # A row holds an item of any length.
        self._longest = tokens.longest
        width = self._longest * backbone.shape.hidden
        self._cache = RowCache(len(tokens), width, n_bytes)

    def over(self, tokens: ItemTokens) -> StatesOnDemand:
        """Return the same over other tokens, no item longer than before; what is kept is shared.

        Items whose tokens differ need another edition.
        """
        other = copy(self)
        other._tokens = tokens
        return other

    def of(
        self, items: npt.NDArray[np.int64], editions: npt.NDArray[np.int64] | None = None
    ) -> Tensor:
        """Return the states of items, packed, ``float32 (n_tokens, d)``.

        Parameters
        ----------
        items
            Item numbers, ``int64 (n,)``.
        editions
            As of :class:`ItemTables`.
        """
        rows = self._cache.of(items, self._rows, editions)
        rows = rows.reshape(len(items), self._longest, -1)
        return torch.from_numpy(rows[self._there(items)])

    def _rows(self, items: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        there = self._there(items)
        out = np.zeros((*there.shape, self._backbone.shape.hidden), dtype=np.float32)
        out[there] = lower_states(self._backbone, self._tokens, items).cpu().numpy()
        return out.reshape(len(items), -1)

    def _there(self, items: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return np.asarray(np.arange(self._longest) < self._tokens.lengths(items)[:, None])


def lower_states(backbone: Backbone, tokens: ItemTokens, items: npt.NDArray[np.int64]) -> Tensor:
    """Return what the lower layers make of items read alone, packed, ``float32 (n_tokens, d)``."""
    with torch.no_grad():
        return _read_alone(backbone, tokens, items).float()


def learned_states(
    backbone: Backbone, tokens: ItemTokens, items: npt.NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Return states and lengths as of :meth:`ItemTables.token_states`, for the layers to learn by.

    A text that stands in several places is read once.
    """
    distinct, where = tokens.distinct(items)
    states = _read_alone(backbone, tokens, distinct)
    packed, _ = tokens.taken(distinct)
    rows = moved(torch.from_numpy(packed.rows(where)), states.device)
    return states[rows], torch.from_numpy(tokens.lengths(items))


def _read_alone(backbone: Backbone, tokens: ItemTokens, items: npt.NDArray[np.int64]) -> Tensor:
    lengths = tokens.lengths(items)
    longest = int(lengths.max()) if len(lengths) else 0
    mask = np.arange(longest)[None, :] < lengths[:, None]
    padded = np.zeros(mask.shape, dtype=np.int64)
    padded[mask] = tokens.tokens[tokens.rows(items)]
    given = (torch.from_numpy(one) for one in (padded, mask, np.flatnonzero(mask)))
    numbers, there, packed = moved(tuple(given), backbone.device)
    return backbone.read_alone(numbers, there).flatten(0, 1)[packed]


def compute_states(
    backbone: Backbone,
    tokens: ItemTokens,
    *,
    form: Form = "half",
    batch_tokens: int = 8192,
    progress: Progress | None = None,
) -> Rows:
    """Return the lower-layer token states of all items, ``d`` numbers a token.

    Each text is read once, in order of length, so that batches hold little padding.
    """
    out = empty_rows(len(tokens.tokens), backbone.shape.hidden, form)
    texts, _ = tokens.distinct(np.arange(len(tokens)))
    lengths = tokens.lengths()
    order = texts[np.argsort(lengths[texts], kind="stable")]
    with (progress or Silent()).step("item states", total=len(order)) as task:
        start = 0
        while start < len(order):
            # Sorted ascending: the batch's last item is its longest.
            size = np.arange(1, len(order) - start + 1) * lengths[order[start:]]
            count = max(1, int(np.searchsorted(size, batch_tokens, side="right")))
            items = order[start : start + count]
            out.put(tokens.rows(items), lower_states(backbone, tokens, items).cpu().numpy())
            start += count
            task.advance(count)
    return out
