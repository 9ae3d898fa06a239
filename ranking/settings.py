"""Settings of stage two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from twofold.indexing.errors import SettingsError
from twofold.indexing.ranges import require
from twofold.ranking.training_settings import TrainingSettings


@dataclass(frozen=True)
class RankerSettings:
    """How the cross-encoder classifier is shaped, stored and trained.

    Parameters
    ----------
    train
        Whether to train a ranker; without one, recommendations are stage one's.
    model
        Hub id or local folder of a BERT, RoBERTa, XLM-RoBERTa or ModernBERT encoder, or of a Qwen3
        decoder.
    revision
        Hub revision of the model; ``None`` takes what is at hand.
    joint_layers
        How many upper layers read history and candidate together, from 1 to all of them
        (``"all"``). The layers below read the item alone, once, when the index is built.
    rerank
        How many of stage one's best candidates are reranked.
    history
        ``"vectors"``: one soft token a history item. ``"text"``: the item's text, token by token.
    max_history
        At most this many latest items of a history are read.
    max_item_tokens
        Item texts are cut to this many tokens, [CLS] and [SEP] included; ``None`` takes the length
        that 95 % of the item texts fit into, at most 64.
    item_states
        ``"half"`` stores what requests need of every item in half precision: with one joint layer
        its digest, with more the lower layers' states of its tokens. ``"int8"`` stores them in
        bytes, in half of the space. ``"off"`` computes them when they are needed, and keeps the
        latest. ``"auto"`` is ``"half"`` unless all layers are joint, where there is nothing to
        store but embeddings.
    item_cache_mb
        With `item_states` off, how many megabytes of them are kept.
    history_cache_mb
        How many megabytes are kept of what was made of the histories of earlier requests.
    training
        How it is trained and calibrated.
    """

    train: bool = True
    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    joint_layers: int | Literal["all"] = 1
    rerank: int = 100
    history: Literal["vectors", "text"] = "vectors"
    max_history: int = 20
    max_item_tokens: int | None = None
    item_states: Literal["auto", "half", "int8", "off"] = "auto"
    item_cache_mb: int = 64
    history_cache_mb: int = 32
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        require(
            self,
            "ranker",
            at_least_one=("rerank", "max_history"),
            natural=("item_cache_mb", "history_cache_mb"),
        )
        if self.joint_layers != "all" and self.joint_layers < 1:
            raise SettingsError(
                f"ranker.joint_layers must be at least 1 or 'all', not {self.joint_layers}"
            )
        if self.max_item_tokens is not None and self.max_item_tokens < 4:
            raise SettingsError(
                f"ranker.max_item_tokens must be at least 4, not {self.max_item_tokens}"
            )
