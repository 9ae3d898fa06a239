"""A pretrained BERT-like encoder, taken apart so that its layers can be run separately."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from twofold.indexing.errors import EncoderError

FAMILIES = ("bert", "roberta", "xlm-roberta")


@dataclass(frozen=True)
class BackboneShape:
    """The sizes of an encoder, enough to make one without its weights.

    Parameters
    ----------
    family
        One of `FAMILIES`.
    hidden, layers, heads, intermediate
        Width, depth, attention heads and width of the feed-forward layer.
    vocabulary, positions, types
        Rows of the word, position and token type embeddings.
    first_position
        Position number of the first token (RoBERTa counts from its padding number + 1).
    norm_eps
        Epsilon of the layer norms.
    activation
        Name of the feed-forward activation: ``gelu``, ``gelu_new`` or ``relu``.
    """

    family: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int
    first_position: int
    norm_eps: float
    activation: str

    @property
    def max_tokens(self) -> int:
        """Longest sequence that the position embeddings can number."""
        return self.positions - self.first_position

    def to_dict(self) -> dict[str, Any]:
        """Return the shape as plain values."""
        return asdict(self)


class Embeddings(nn.Module):
    """Word, position and type embeddings with their layer norm."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.first_position = shape.first_position
        self.words = nn.Embedding(shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.types = nn.Embedding(shape.types, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Return states ``(..., d)`` of tokens ``(...)`` at places counted from 0 ``(...)``."""
        summed = self.words(tokens) + self.positions(places + self.first_position)
        out: Tensor = self.norm(summed + self.types.weight[0])
        return out


class FeedForward(nn.Module):
    """The two products of a layer that read each position by itself."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.hidden, shape.intermediate)
        self.down = nn.Linear(shape.intermediate, shape.hidden)
        self.activation = shape.activation

    def forward(self, states: Tensor) -> Tensor:
        """Return ``(..., d)`` from states ``(..., d)``."""
        out: Tensor = self.down(activate(self.up(states), self.activation))
        return out


def activate(inner: Tensor, activation: str) -> Tensor:
    """Return the activation, by one of the names of :class:`BackboneShape`."""
    if activation == "relu":
        return F.relu(inner)
    return F.gelu(inner, approximate="tanh" if activation == "gelu_new" else "none")


class Layer(nn.Module):
    """One transformer layer (post-norm), its attention left to the caller.

    Attention differs between reading an item alone, a history alone, and a candidate that looks at
    a history; projections, norms and the feed-forward part are the same.
    """

    def __init__(self, shape: BackboneShape, dropout: float) -> None:
        super().__init__()
        width, self.heads = shape.hidden, shape.heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=shape.norm_eps)
        self.feed = FeedForward(shape)
        self.feed_norm = nn.LayerNorm(width, eps=shape.norm_eps)
        self.dropout = nn.Dropout(dropout)

    def finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """Return the output ``(..., d)`` from the input and what attention gathered."""
        states = self.attention_norm(states + self.dropout(self.out(attended)))
        out: Tensor = self.feed_norm(states + self.dropout(self.feed(states)))
        return out

    def attend_self(self, states: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output of plain self-attention, and the keys and values it used.

        Parameters
        ----------
        states
            ``(B, T, d)``.
        bias
            0 where a token may be looked at, very negative where it is padding, ``(B, 1, 1, T)``.

        Returns
        -------
        tuple
            Output ``(B, T, d)``, keys and values ``(B, heads, T, d / heads)``.
        """
        keys, values = self.split_heads(self.key_value(states))
        queries = heads_first(self.query(states), self.heads)
        gathered = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        out = self.finish(states, gathered.transpose(1, 2).reshape(states.shape))
        return out, keys, values

    def split_heads(self, key_value: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values ``(B, heads, T, d / heads)`` from their joint projection."""
        keys, values = key_value.chunk(2, dim=-1)
        return heads_first(keys, self.heads), heads_first(values, self.heads)


def heads_first(states: Tensor, heads: int) -> Tensor:
    """Return ``(B, T, d)`` as ``(B, heads, T, d / heads)``."""
    batch, length, width = states.shape
    return states.view(batch, length, heads, width // heads).transpose(1, 2)


class Backbone(nn.Module):
    """Embeddings and layers of an encoder.

    Parameters
    ----------
    shape
        Sizes of the encoder.
    joint_layers
        How many upper layers are joint; dropout is active only in those.
    dropout
        Dropout of the joint layers while training.
    """

    def __init__(self, shape: BackboneShape, joint_layers: int, dropout: float) -> None:
        super().__init__()
        if not 1 <= joint_layers <= shape.layers:
            raise EncoderError(
                f"joint_layers must be between 1 and {shape.layers}, the layers of this encoder, "
                f"not {joint_layers}"
            )
        self.shape = shape
        self.n_lower = shape.layers - joint_layers
        self.embeddings = Embeddings(shape)
        self.layers = nn.ModuleList(
            Layer(shape, dropout if number >= self.n_lower else 0.0)
            for number in range(shape.layers)
        )

    @property
    def lower(self) -> list[Layer]:
        """The layers that read a text alone."""
        return [layer for layer in list(self.layers)[: self.n_lower] if isinstance(layer, Layer)]

    @property
    def joint(self) -> list[Layer]:
        """The layers in which candidates look at the history."""
        return [layer for layer in list(self.layers)[self.n_lower :] if isinstance(layer, Layer)]

    def read_alone(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the lower layers' states of texts that see only themselves.

        Parameters
        ----------
        tokens
            Token numbers, padded, ``int64 (B, T)``.
        mask
            True at real tokens, ``bool (B, T)``.

        Returns
        -------
        Tensor
            ``float32 (B, T, d)``; what stands at padding means nothing.
        """
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        states: Tensor = self.embeddings(tokens, places)
        bias = padding_bias(mask)
        for layer in self.lower:
            states, _, _ = layer.attend_self(states, bias)
        return states


def padding_bias(mask: Tensor) -> Tensor:
    """Return what to add to attention scores, ``(B, 1, 1, T)`` from a mask ``bool (B, T)``.

    Very negative rather than -inf: a row of nothing but padding must stay finite, since a NaN there
    would spread through the backward pass.
    """
    bias = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    return bias.masked_fill(~mask, -1e9)[:, None, None, :]


def backbone_from_pretrained(folder: str, joint_layers: int, dropout: float) -> Backbone:
    """Return a pretrained encoder taken apart.

    Parameters
    ----------
    folder
        Folder that ``save_pretrained`` wrote.
    joint_layers
        How many upper layers are joint; 0 stands for all of them.
    dropout
        Dropout of the joint layers while training.

    Raises
    ------
    EncoderError
        If the model is of another family.
    """
    from transformers import AutoConfig

    shape = _shape_of(AutoConfig.from_pretrained(folder))
    backbone = Backbone(shape, joint_layers or shape.layers, dropout)
    backbone.load_state_dict(_renamed(_weights(folder, shape), shape))
    return backbone


def _weights(folder: str, shape: BackboneShape) -> dict[str, Tensor]:
    """Return an encoder's weights under the names that transformers gives the bare encoder."""
    file = Path(folder) / "model.safetensors"
    if file.is_file():
        # Read directly: transformers would write a report of unused heads to standard error.
        state = load_file(file)
    else:
        from transformers import AutoModel

        model = AutoModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
        state = model.state_dict()
    prefix = f"{shape.family.removeprefix('xlm-')}."
    # Encoders first saved from TensorFlow call the weight and bias of their norms gamma and beta.
    return {
        name.removeprefix(prefix)
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): one.float()
        for name, one in state.items()
    }


def _shape_of(config: Any) -> BackboneShape:
    family = str(config.model_type)
    if family not in FAMILIES:
        raise EncoderError(
            f"the ranker reads encoders of the families {', '.join(FAMILIES)}, not '{family}'; "
            "set ranker.model to one of those"
        )
    kind = getattr(config, "position_embedding_type", "absolute") or "absolute"
    if kind != "absolute":
        raise EncoderError(f"the ranker needs absolute position embeddings, not '{kind}'")
    if config.hidden_act not in ("gelu", "gelu_new", "relu"):
        raise EncoderError(f"the ranker knows gelu, gelu_new and relu, not '{config.hidden_act}'")
    return BackboneShape(
        family=family,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        intermediate=config.intermediate_size,
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings,
        types=config.type_vocab_size,
        first_position=0 if family == "bert" else int(config.pad_token_id) + 1,
        norm_eps=config.layer_norm_eps,
        activation=config.hidden_act,
    )


def _renamed(state: dict[str, Tensor], shape: BackboneShape) -> dict[str, Tensor]:
    """Return the weights of a transformers model under the names of `Backbone`."""
    out = {
        "embeddings.words.weight": state["embeddings.word_embeddings.weight"],
        "embeddings.positions.weight": state["embeddings.position_embeddings.weight"],
        "embeddings.types.weight": state["embeddings.token_type_embeddings.weight"],
        "embeddings.norm.weight": state["embeddings.LayerNorm.weight"],
        "embeddings.norm.bias": state["embeddings.LayerNorm.bias"],
    }
    names = {
        "query": "attention.self.query",
        "out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "feed.up": "intermediate.dense",
        "feed.down": "output.dense",
        "feed_norm": "output.LayerNorm",
    }
    for number in range(shape.layers):
        ours, theirs = f"layers.{number}", f"encoder.layer.{number}"
        for part in ("weight", "bias"):
            for new, old in names.items():
                out[f"{ours}.{new}.{part}"] = state[f"{theirs}.{old}.{part}"]
            pair = [state[f"{theirs}.attention.self.{one}.{part}"] for one in ("key", "value")]
            out[f"{ours}.key_value.{part}"] = torch.cat(pair)
    return out
