"""Settings of stage two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twofold.indexing.errors import SettingsError


@dataclass(frozen=True)
class RankerSettings:
    """How the cross-encoder classifier is shaped, trained and calibrated.

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
    text_query_share
        Share of the training lists that stand for a free text query: the texts of one to three
        items of the history in place of history and stage-one features, those items among the hits.
    objective
        ``"bce"``: binary cross-entropy over all candidates; ``"listwise"``: softmax over a list's
        candidates, calibrated afterwards.
    negatives
        Candidates without a hit drawn from a list at each epoch; 0 takes all of them.
    learning_rate, head_learning_rate
        Peak rates of AdamW for the encoder and for everything new.
    weight_decay
        AdamW's weight decay of matrices.
    warmup_ratio
        Share of all steps in which the rate rises; it then falls linearly to zero.
    max_epochs, patience
        Training ends after `max_epochs`, or when the loss on the early-stopping users has not
        fallen for `patience` epochs; the best epoch is kept.
    averaging
        Decay of the running mean of the weights, which is what is measured and kept (Polyak and
        Juditsky 1992); 0 keeps the weights as the last step left them.
    batch_lists
        Candidate lists a step.
    dropout
        Dropout in the joint layers and before the head.
    collaborative_dropout
        Share of training lists in which the collaborative part of all soft tokens is left out, so
        that items without interactions are served well.
    stop_share, calibration_share
        Shares of the labelled users set aside for early stopping and for calibration; the former
        calibrate too.
    calibration
        ``"temperature"`` (scale and shift of the logit), ``"isotonic"``, or ``"auto"``, the better
        of the two by cross-validated log-loss.
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
    text_query_share: float = 0.1
    objective: Literal["bce", "listwise"] = "bce"
    negatives: int = 31
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    max_epochs: int = 3
    patience: int = 2
    averaging: float = 0.99
    batch_lists: int = 16
    dropout: float = 0.1
    collaborative_dropout: float = 0.1
    stop_share: float = 0.1
    calibration_share: float = 0.1
    calibration: Literal["auto", "temperature", "isotonic"] = "auto"

    def __post_init__(self) -> None:
        at_least_one = ("rerank", "max_history", "max_epochs", "patience", "batch_lists")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise SettingsError(f"ranker.{name} must be at least 1, not {getattr(self, name)}")
        if self.joint_layers != "all" and self.joint_layers < 1:
            raise SettingsError(
                f"ranker.joint_layers must be at least 1 or 'all', not {self.joint_layers}"
            )
        if self.max_item_tokens is not None and self.max_item_tokens < 4:
            raise SettingsError(
                f"ranker.max_item_tokens must be at least 4, not {self.max_item_tokens}"
            )
        for name in ("negatives", "item_cache_mb", "history_cache_mb"):
            if getattr(self, name) < 0:
                raise SettingsError(
                    f"ranker.{name} must not be negative, not {getattr(self, name)}"
                )
        shares = ("text_query_share", "dropout", "collaborative_dropout", "warmup_ratio")
        for name in (*shares, "averaging", "stop_share", "calibration_share"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingsError(f"ranker.{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("learning_rate", "head_learning_rate"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"ranker.{name} must be above 0, not {getattr(self, name)}")
