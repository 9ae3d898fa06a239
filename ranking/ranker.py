"""Stage two, ready to serve: candidates in, reranked candidates out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from safetensors.torch import save_file

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress
from twofold.ranking.adapter_files import AdapterFiles, read_weights
from twofold.ranking.caches import MemoryCache
from twofold.ranking.calibration import Calibration, levelled
from twofold.ranking.digests import Digests, DigestsOnDemand, ItemDigests, digest_items
from twofold.ranking.items import (
    ItemTables,
    ItemTokens,
    Marks,
    StatesOnDemand,
    tokenise_items,
)
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.placed import Placed
from twofold.ranking.recorded import SingleLists
from twofold.ranking.relations import Relations
from twofold.ranking.runtime import Runtime, SinglePrecision, runtime_of
from twofold.ranking.scoring import head_logits, logits_of, served_logits
from twofold.ranking.settings import RankerSettings
from twofold.ranking.stored import Form, open_rows
from twofold.retrieval.candidates import Candidates, rank
from twofold.retrieval.queries import Queries

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Ranker:
    """The split cross-encoder classifier with its item tables and calibration.

    It may be shared by threads.

    Parameters
    ----------
    model
        The classifier.
    tables
        What it reads of items.
    tokenizer
        Tokenizer of the encoder, used for free text queries alone.
    calibration
        From logits to probabilities.
    settings
        What it was trained with.
    digests
        Digests of the items for this model and these tables, where candidates are read from them.
    runtime
        In which the model's products are computed.
    adapter
        What was trained beside a frozen encoder, where the model's weights came about that way.
    """

    model: RankerModel
    tables: ItemTables
    tokenizer: Any
    calibration: Calibration
    settings: RankerSettings
    digests: ItemDigests | None = None
    runtime: Runtime = field(default_factory=SinglePrecision)
    adapter: AdapterFiles | None = None
    _served: RankerModel = field(init=False, repr=False)
    _placed: Placed = field(init=False, repr=False)
    _single: SingleLists | None = field(init=False, repr=False)
    # Belongs to this model, its runtime and these tables: with any other it begins anew.
    _memories: MemoryCache = field(init=False, repr=False)
    # Fast tokenizers keep truncation as state: two threads at once would clash.
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_served", self.runtime.prepare(self.model))
        object.__setattr__(self, "_placed", self.runtime.place(self.tables, self.digests))
        object.__setattr__(self, "_single", SingleLists.of(self._served, self._placed))
        n_bytes = self.settings.history_cache_mb * MEGABYTE
        object.__setattr__(self, "_memories", MemoryCache(n_bytes))

    def rerank(
        self, queries: Queries, candidates: Candidates, k: int, *, progress: Progress | None = None
    ) -> Candidates:
        """Return the best `k` of the candidates in the order of the classifier.

        Scores are logits. A query with neither history nor text gives the classifier nothing to
        read: its candidates keep stage one's order and scores.

        Parameters
        ----------
        queries
            ``n`` queries.
        candidates
            Their candidates, with features.
        k
            Length of the rows returned.
        progress
            Told of every chunk.
        """
        if len(queries) != candidates.n_queries:
            raise InputError(f"{len(queries)} queries came with {candidates.n_queries} rows")
        logits = self.logits(queries, candidates, progress=progress)
        return self.ordered(queries, candidates, logits, k)

    def ordered(
        self, queries: Queries, candidates: Candidates, logits: npt.NDArray[np.float32], k: int
    ) -> Candidates:
        """Return the best `k` candidates by logits that :meth:`logits` gave."""
        return rank(
            candidates.items,
            np.where(self.reads(queries)[:, None], logits, candidates.scores),
            k,
            features=candidates.features,
            sources=candidates.sources,
        )

    def logits(
        self, queries: Queries, candidates: Candidates, *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the logit of every candidate, ``float32 (n, m)``, ``-inf`` at padding."""
        texts = np.array([bool(text.strip()) for text in queries.texts or ()], dtype=bool)
        if not texts.any():
            return self._of_histories(queries, candidates, progress)
        out = np.full(candidates.items.shape, -np.inf, dtype=np.float32)
        for which, logits in (
            (np.flatnonzero(~texts), self._of_histories),
            (np.flatnonzero(texts), self._of_texts),
        ):
            out[which] = logits(queries.take(which), candidates.take(which))
        return out

    def _of_histories(
        self, queries: Queries, candidates: Candidates, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Return logits of users, from their histories and stage one's features."""
        form, (n, m) = self.settings.history, candidates.items.shape
        if self._single is not None and form == "vectors" and n == 1 and self._single.takes(m):
            return self._single.logits(queries, candidates)
        return served_logits(
            self._served,
            self._placed.tables,
            queries,
            candidates,
            form,
            digests=self._placed.digests,
            memories=self._memories,
            progress=progress,
        )

    def _of_texts(self, queries: Queries, candidates: Candidates) -> npt.NDArray[np.float32]:
        """Return logits of free text queries, by what is said and how like each candidate is."""
        if queries.texts is None:
            raise InputError("text queries need texts")
        return logits_of(
            self._served,
            self._placed.tables,
            queries,
            candidates.items,
            candidates.needed_features(),
            as_text=self._query_rows(queries.texts),
            likeness=np.where(candidates.items >= 0, candidates.scores, np.float32(np.nan)),
            digests=self._placed.digests,
            memories=self._memories,
        )

    def without_text(self, queries: Queries, candidates: Candidates) -> npt.NDArray[np.float32]:
        """Return the logits with the text model silenced, ``float32 (n, m)``."""
        return head_logits(self.model.g, self.tables, queries, candidates)

    def reads(self, queries: Queries) -> npt.NDArray[np.bool_]:
        """Return which queries hold something for the classifier to read, ``bool (n,)``."""
        out = queries.lengths() > 0
        if queries.texts is not None:
            out = out | np.array([bool(text.strip()) for text in queries.texts])
        return np.asarray(out)

    def probabilities(
        self, queries: Queries, scores: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities of reranked scores, ``float32 (n, k)``.

        The chance that the user's next interactions hold the item, given that stage one would serve
        it. NaN where there is no history: the classifier was calibrated on users with one.
        """
        known = (queries.lengths() > 0)[:, None]
        if queries.texts is not None:
            known = known & np.array([not text.strip() for text in queries.texts])[:, None]
        return np.where(known, self.calibration.probabilities(scores), np.float32(np.nan))

    def with_tables(self, tables: ItemTables) -> Ranker:
        """Return the same ranker over other item tables, digested where one layer is joint."""
        wanted, n_bytes = self.settings.item_states, self.settings.item_cache_mb * MEGABYTE
        if self.model.shape.joint_layers == 1:
            digests: ItemDigests
            if wanted == "off":
                digests = DigestsOnDemand(self.model, tables, n_bytes)
            else:
                form: Form = "int8" if wanted == "int8" else "half"
                digests = digest_items(self.model, tables, form=form)
            return replace(self, tables=tables, digests=digests)
        if wanted == "off":
            kept = StatesOnDemand(self.model.backbone, tables.tokens, n_bytes)
            tables = replace(tables, states=None, on_demand=kept)
        return replace(self, tables=tables, digests=None)

    def over(self, tables: ItemTables, digests: ItemDigests | None) -> Ranker:
        """Return the same ranker over tables in which items came, or a few are others.

        What is kept of earlier requests stays, for whatever changed has another edition.

        Parameters
        ----------
        tables
            The tables, with editions.
        digests
            Of these tables, where this ranker has some.
        """
        placed = self._placed.over(tables, digests)
        single = SingleLists.of(self._served, placed)
        return self._altered(tables=tables, digests=digests, _placed=placed, _single=single)

    def _altered(self, **changes: Any) -> Ranker:
        """Return the same ranker but for some fields, the model not prepared or placed anew."""
        other = copy(self)
        for name, value in changes.items():
            object.__setattr__(other, name, value)
        return other

    def tokenised(self, texts: Sequence[str], max_tokens: int) -> ItemTokens:
        """Return the tokens of item texts, each at most so many; may be called while it serves."""
        backbone = self.model.shape.backbone
        causal = backbone.traits.causal
        with self._lock:
            return tokenise_items(
                self.tokenizer, texts, max_tokens, backbone.max_tokens, causal=causal
            )

    def with_runtime(self, name: str) -> Ranker:
        """Return the same ranker in another runtime.

        Raises
        ------
        InputError
            If there is no runtime of that name.
        MissingDependencyError
            If it needs a GPU and torch sees none.
        """
        return replace(self, runtime=runtime_of(name))

    def bytes_an_item(self) -> int:
        """Return what is stored of an item for requests, on average; 0 where nothing is."""
        if isinstance(self.digests, Digests):
            return self.digests.bytes_an_item()
        if self.tables.states is None:
            return 0
        each = self.tables.states.row_bytes()
        return round(each * len(self.tables.states) / max(1, len(self.tables.tokens)))

    def forgetting(self) -> Ranker:
        """Return the same ranker, for which every history is new."""
        settings = replace(self.settings, history_cache_mb=0)
        return self._altered(settings=settings, _memories=MemoryCache(0))

    def levelled(self, queries: Queries, candidates: Candidates, rate: float) -> Ranker:
        """Return the same ranker, its probabilities of these served lists averaging to `rate`.

        See :func:`twofold.ranking.calibration.levelled`.
        """
        logits = self.logits(queries, candidates)
        return self._altered(calibration=levelled(self.calibration, logits, rate))

    def _query_rows(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        backbone = self.model.shape.backbone
        marks = Marks.of(self.tokenizer, backbone.traits.causal)
        with self._lock:
            encoded = self.tokenizer(
                list(texts), add_special_tokens=False, truncation=False, verbose=False
            ).input_ids
        return [
            np.array(marks.around(ids, backbone.max_tokens) if text.strip() else [], dtype=np.int32)
            for ids, text in zip(encoded, texts, strict=True)
        ]

    def save(self, writer: GenerationWriter) -> None:
        """Write weights, tokenizer, calibration and item tables under ``ranker/``.

        The weights are whole, an adapter is merged in them; what was trained stands beside them.
        """
        state = {name: one.contiguous() for name, one in self.model.state_dict().items()}
        save_file(state, writer.path("ranker/model.safetensors"))
        self.tokenizer.save_pretrained(str(writer.path("ranker/tokenizer")))
        writer.put_json("ranker/model", self.model.shape.to_dict())
        writer.put_json("ranker/calibration", self.calibration.to_dict())
        writer.put_array("ranker/tokens", self.tables.tokens.tokens)
        writer.put_array("ranker/starts", self.tables.tokens.starts)
        writer.put_array("ranker/ends", self.tables.tokens.ends)
        writer.put_array("ranker/factors", self.tables.factors)
        self.tables.relations.save(writer)
        if self.adapter is not None:
            self.adapter.save(writer)
        if isinstance(self.digests, Digests):
            self.digests.save(writer)
        elif self.digests is None and self.tables.states is not None:
            self.tables.states.save(writer, "ranker/states")

    @classmethod
    def open(
        cls,
        generation: Generation,
        texts: npt.NDArray[np.float32],
        relations: Sequence[sp.csr_matrix],
        settings: RankerSettings,
    ) -> Ranker:
        """Return the ranker of a generation; its tables are memory-mapped.

        Parameters
        ----------
        generation
            What :meth:`save` wrote to.
        texts
            The items' text vectors, stored with stage one.
        relations
            The relations of items, stored with stage one.
        settings
            What it was trained with.
        """
        from transformers import AutoTokenizer

        # Without random first weights: opening draws nothing from the process's generator.
        with torch.device("meta"):
            model = RankerModel(ModelShape.from_dict(generation.json("ranker/model")), 0.0)
        model.load_state_dict(
            read_weights(generation.path("ranker/model.safetensors")), assign=True
        )
        model.eval().requires_grad_(False)
        tokens = ItemTokens(
            generation.array("ranker/tokens"),
            generation.array("ranker/starts"),
            generation.array("ranker/ends"),
            opened=not model.shape.backbone.traits.causal,
        )
        states = open_rows(generation, "ranker/states", model.shape.backbone.hidden)
        digests = Digests.open(generation, model.shape)
        factors = np.asarray(generation.array("ranker/factors"))
        tables = ItemTables(tokens, texts, factors, Relations.open(generation, relations), states)
        opened = cls(
            model,
            tables,
            AutoTokenizer.from_pretrained(str(generation.path("ranker/tokenizer"))),
            Calibration.from_dict(generation.json("ranker/calibration")),
            settings,
            digests,
            adapter=AdapterFiles.open(generation),
        )
        stored = digests is not None or states is not None
        return opened if stored else opened.with_tables(tables)
