"""One list at a time on a device, by replaying what was recorded once.

Scoring a hundred candidates takes a device a fraction of a millisecond, and the processor several
to tell it the hundred and more things that it has to do. A CUDA graph tells them all at once. It
has fixed shapes, so lists are padded: to a few lengths, each recorded when it is first needed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twofold.ranking.batches import gap_buckets
from twofold.ranking.blocks import Blocks
from twofold.ranking.cross import Digest
from twofold.ranking.devices import moved
from twofold.ranking.head import Events, Evidence, TextQueries
from twofold.ranking.items import ItemTokens
from twofold.ranking.model import History, RankerModel, SoftItems
from twofold.ranking.placed import DeviceRows, Placed, PlacedDigests, PlacedItems
from twofold.ranking.relations import Relations
from twofold.retrieval.candidates import Candidates
from twofold.retrieval.queries import Queries

Int64s = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
LEAST_CANDIDATES, LEAST_EVENTS = 64, 8
MOST_TOKENS = 1 << 16


class Brought(Protocol):
    """What candidates bring, as a recording reads it."""

    @property
    def most(self) -> int:
        """Longest list that is recorded."""
        ...

    def shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the numbers that :meth:`given` gives, for `width` candidates."""
        ...

    def given(self, items: Int64s) -> dict[str, Int64s]:
        """Return the numbers by which what items bring is found on the device, by name.

        All 0 must be found, too.
        """
        ...

    def read(self, model: RankerModel, inputs: Mapping[str, Tensor]) -> Blocks | Digest:
        """Return what the model reads of candidates, from their ``items`` and what was given."""
        ...

    def soft(self, history: Tensor) -> SoftItems | Tensor:
        """Return the soft items of events ``(...)``, or the soft tokens made of them."""
        ...


@dataclass(frozen=True)
class BroughtDigests:
    """Digests of the candidates, found by their items alone."""

    digests: PlacedDigests

    @property
    def most(self) -> int:
        """Any list."""
        return sys.maxsize

    def shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """Return nothing."""
        return {}

    def given(self, items: Int64s) -> dict[str, Int64s]:
        """Return nothing."""
        return {}

    def read(self, model: RankerModel, inputs: Mapping[str, Tensor]) -> Digest:
        """Return digests."""
        vectors, masses, soft = self.digests.vectors, self.digests.masses, self.digests.soft
        items = inputs["items"]
        return Digest.parted(vectors.at(items), masses.at(items), soft.built.shape[1])

    def soft(self, history: Tensor) -> Tensor:
        """Return soft tokens."""
        return self.digests.soft.at(history)


@dataclass(frozen=True)
class BroughtTokens:
    """Token states of the candidates, every one given the room of the longest.

    Parameters
    ----------
    tokens
        Tell which states are whose.
    states
        The states.
    parts
        Text vectors and factors, of which soft tokens are made.
    """

    tokens: ItemTokens
    states: DeviceRows
    parts: tuple[DeviceRows, DeviceRows]

    @cached_property
    def room(self) -> int:
        """Rows a candidate: the tokens of the longest, and the soft token."""
        return self.tokens.longest + 1

    @property
    def most(self) -> int:
        """As many as fill the device: of longer lists the packed states are quicker."""
        return MOST_TOKENS // self.room

    def shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of rows and lengths."""
        return {"rows": (width, self.room), "lengths": (width,)}

    def given(self, items: Int64s) -> dict[str, Int64s]:
        """Return where tokens stand, any token's row where there is none, and how many they are."""
        starts, lengths = self.tokens.starts[items], self.tokens.lengths(items)
        # The soft token takes what is left: the last place, in a causal model the first.
        within = np.arange(self.room) - int(not self.tokens.opened)
        within = np.clip(within, 0, lengths[:, None] - 1)
        return {"rows": starts[:, None] + within, "lengths": lengths}

    def read(self, model: RankerModel, inputs: Mapping[str, Tensor]) -> Blocks:
        """Return blocks."""
        items, rows = inputs["items"], inputs["rows"].flatten()
        starts = torch.arange(0, len(rows), self.room, device=rows.device)
        owners = torch.arange(len(items), device=rows.device).repeat_interleave(self.room)
        lengths = inputs["lengths"] + 1
        blocks = Blocks(self.states.at(rows), starts, lengths, owners, self.room)
        return model.joined(blocks, self.soft(items))

    def soft(self, history: Tensor) -> SoftItems:
        """Return soft items."""
        texts, factors = self.parts
        return SoftItems(texts.at(history), factors.at(history))


@dataclass(frozen=True)
class SingleLists:
    """Scores single lists; may be shared by threads.

    Parameters
    ----------
    model
        The classifier, where it computes.
    brought, items
        What it reads there.
    relations
        How items go with items.
    """

    model: RankerModel
    brought: Brought
    items: PlacedItems
    relations: Relations
    _recordings: dict[tuple[int, int], _Recording] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @classmethod
    def of(cls, model: RankerModel, placed: Placed) -> SingleLists | None:
        """Return it where all that is read of items stands on a device as it was built.

        Otherwise ``None``: where it stands then changes from request to request.
        """
        items, digests, tables = placed.tables.placed, placed.digests, placed.tables
        if items is None or len(items.left.later):
            return None
        brought: Brought
        if isinstance(digests, PlacedDigests):
            brought = BroughtDigests(digests)
        elif items.states is not None and items.parts is not None:
            brought = BroughtTokens(tables.tokens, items.states, items.parts)
        else:
            return None
        return cls(model, brought, items, tables.relations)

    def takes(self, n: int) -> bool:
        """Return whether a list of `n` candidates is scored here."""
        return n <= self.brought.most

    def logits(self, queries: Queries, candidates: Candidates) -> Floats:
        """Return the logits of one query's candidates, ``float32 (1, m)``, ``-inf`` at padding.

        Parameters
        ----------
        queries
            One query, its history read as vectors.
        candidates
            Its candidates, with features, at least one place.
        """
        recent, items = queries.last(self.model.shape.max_history), candidates.items[0]
        n, m = len(recent.items), len(items)
        recording = self._recording(
            _fitting(m, LEAST_CANDIDATES),
            _fitting(n, min(LEAST_EVENTS, self.model.shape.max_history)),
        )
        there = np.ones((1, n), dtype=bool)
        given = {
            "items": np.maximum(items, 0),
            **self.brought.given(np.maximum(items, 0)),
            "served": items >= 0,
            "features": candidates.needed_features()[0],
            "entries": self.relations.entries(recent.items[None], there, items[None])[0],
            "history": recent.items,
            "ages": recent.ages(),
            "gaps": gap_buckets(recent),
            "kinds": recent.kinds,
            "present": there[0],
        }
        out = recording.run(given)[:m]
        return np.where(items >= 0, out, np.float32(-np.inf))[None]

    def _recording(self, width: int, length: int) -> _Recording:
        """Return the recording for lists and histories of a length."""
        with self._lock:
            found = self._recordings.get((width, length))
            if found is None:
                found = _Recording(self, width, length)
                self._recordings[width, length] = found
            return found


def _fitting(n: int, least: int) -> int:
    """Return the first of `least` and its doublings that is at least `n`."""
    return least << max(0, (n - 1).bit_length() - (least - 1).bit_length()) if n > least else least


class _Recording:
    """What is done for lists of one length, recorded on a device and replayed with other inputs.

    Parameters
    ----------
    lists
        Whose.
    width, length
        Candidates, and events.
    """

    def __init__(self, lists: SingleLists, width: int, length: int) -> None:
        self._lists, device = lists, lists.model.device
        self._shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "items": ((width,), int),
            "history": ((length,), int),
            "ages": ((length,), int),
            "gaps": ((length,), int),
            "kinds": ((length,), int),
            **{name: (one, int) for name, one in lists.brought.shapes(width).items()},
            "served": ((width,), float),
            "present": ((length,), float),
            "features": ((width, lists.model.shape.n_features), float),
            "entries": ((length, width, len(lists.relations.counted)), float),
        }
        sizes = {
            kind: sum(int(np.prod(one)) for one, own in self._shapes.values() if own is kind)
            for kind in (int, float)
        }
        pinned, dtypes = device.type == "cuda", {int: torch.int64, float: torch.float32}
        self._sent: dict[type, Tensor] = {
            kind: torch.zeros(size, dtype=dtypes[kind], pin_memory=pinned)
            for kind, size in sizes.items()
        }
        self._host = self._parts({kind: one.numpy() for kind, one in self._sent.items()})
        self._lock = threading.Lock()
        with torch.inference_mode():
            self._there = {kind: one.to(device) for kind, one in self._sent.items()}
            self._inputs = self._parts(self._there)
            self._nobody = moved(TextQueries.none(1, width), device)
            self._replay = _recorded(self._scored) if pinned else self._scored

    def _parts(self, whole: Mapping[type, Any]) -> dict[str, Any]:
        """Return views of the two buffers, by what stands there."""
        out: dict[str, Any] = {}
        ends = dict.fromkeys(whole, 0)
        for name, (shape, kind) in self._shapes.items():
            start = ends[kind]
            ends[kind] = start + int(np.prod(shape))
            out[name] = whole[kind][start : ends[kind]].reshape(shape)
        return out

    def run(self, given: dict[str, npt.NDArray[np.generic]]) -> Floats:
        """Return logits ``float32 (width,)`` of inputs, each no longer than what it is put into."""
        with self._lock, torch.inference_mode():
            for name, place in self._host.items():
                place[...] = 0
                place[tuple(slice(n) for n in given[name].shape)] = given[name]
            for kind, one in self._sent.items():
                self._there[kind].copy_(one, non_blocking=True)
            # Reading the result is what waits for the device, and frees the inputs.
            out: Floats = self._replay().cpu().numpy()[0]
        return out

    def _scored(self) -> Tensor:
        """Return the logits of what stands in the inputs, ``float32 (1, width)``."""
        given, lists = self._inputs, self._lists
        model, items = lists.model, lists.items
        present = given["present"][None] > 0
        ages, gaps, kinds = (given[name][None] for name in ("ages", "gaps", "kinds"))
        events = Events(ages, gaps, kinds, present)
        strengths = items.joined(
            lists.relations,
            given["entries"][None],
            items.left.at(given["history"])[None] * present[..., None],
            items.right.at(given["items"])[None] * given["served"][None, :, None],
        )
        return model.logits(
            lists.brought.read(model, given),
            model.remember(History(lists.brought.soft(given["history"][None]), events)),
            given["features"][None],
            Evidence.of(events, strengths),
            self._nobody,
        )


def _recorded(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Return what replays a call on the current CUDA device, always into the same result."""
    stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Libraries choose how to multiply, and take their memory, the first times.
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on as they like meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        out = call()

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay
