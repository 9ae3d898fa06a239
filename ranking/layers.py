"""The parts of a pretrained encoder or decoder: embeddings, feed-forward parts, layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Family:
    """What the models of a family have in common.

    Parameters
    ----------
    prefix
        What stands before the names of the weights in a model with a head.
    pre_norm
        Whether what enters attention and the feed-forward part is normed, instead of what leaves
        them; the last layer is then followed by one more norm.
    rms
        Whether norms divide by the root mean square alone (Zhang and Sennrich 2019).
    gated
        Whether the feed-forward part has a gate (GLU, Shazeer 2020).
    causal
        Whether tokens see only what stands before them; a text is then read off its last token
        instead of its first.
    head_norms
        Whether queries and keys are normed head by head.
    """

    prefix: str
    pre_norm: bool = False
    rms: bool = False
    gated: bool = False
    causal: bool = False
    head_norms: bool = False


FAMILIES = {
    "bert": Family("bert."),
    "roberta": Family("roberta."),
    "xlm-roberta": Family("roberta."),
    "modernbert": Family("model.", pre_norm=True, gated=True),
    "qwen3": Family("model.", pre_norm=True, rms=True, gated=True, causal=True, head_norms=True),
}
# What is added to the scores of what must not be seen. Very negative rather than -inf: a row of
# nothing but padding must stay finite, since a NaN there would spread through the backward pass.
HIDDEN = -1e9
ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")


@dataclass(frozen=True)
class BackboneShape:
    """The sizes of a pretrained model, enough to make one without its weights.

    Parameters
    ----------
    family
        One of `FAMILIES`.
    hidden, layers, heads, intermediate
        Width, depth, attention heads and width of the feed-forward layer.
    vocabulary, positions, types
        Rows of the word, position and token type embeddings; where layers rotate, there are no
        others than the words', and `positions` is the longest text.
    first_position
        Position number of the first token (RoBERTa counts from its padding number + 1).
    norm_eps
        Epsilon of the norms.
    activation
        Name of the feed-forward activation, one of `ACTIVATIONS`.
    key_heads
        Heads of keys and values, each shared by several of the queries'; 0 for as many as those.
    head_width
        Width of a head; 0 for `hidden` / `heads`.
    rotations
        Base of each layer's rotary positions (Su et al. 2021); empty for absolute positions.
    windows
        How far each layer's tokens see, 0 for everywhere; empty where all see everywhere.
    attention_bias, feed_bias, norm_bias
        Which parts add a bias.
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
    key_heads: int = 0
    head_width: int = 0
    rotations: tuple[float, ...] = ()
    windows: tuple[int, ...] = ()
    attention_bias: bool = True
    feed_bias: bool = True
    norm_bias: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_heads", self.key_heads or self.heads)
        object.__setattr__(self, "head_width", self.head_width or self.hidden // self.heads)
        # As JSON gives them back, they are lists.
        object.__setattr__(self, "rotations", tuple(self.rotations))
        object.__setattr__(self, "windows", tuple(self.windows))

    @property
    def traits(self) -> Family:
        """What the model's family has in common."""
        return FAMILIES[self.family]

    @property
    def attention_width(self) -> int:
        """Width of what all heads gather together."""
        return self.heads * self.head_width

    @property
    def max_tokens(self) -> int:
        """Longest sequence that positions can number."""
        return self.positions - self.first_position

    def with_layers(self, kept: Sequence[int]) -> BackboneShape:
        """Return the shape of the same model with some of its layers, in their order."""
        return replace(
            self,
            layers=len(kept),
            rotations=tuple(self.rotations[n] for n in kept) if self.rotations else (),
            windows=tuple(self.windows[n] for n in kept) if self.windows else (),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the shape as plain values."""
        return asdict(self)


def make_norm(shape: BackboneShape, width: int) -> nn.Module:
    """Return a norm of the model's kind."""
    if shape.traits.rms:
        return nn.RMSNorm(width, eps=shape.norm_eps)
    return nn.LayerNorm(width, eps=shape.norm_eps, bias=shape.norm_bias)


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Return what queries gather, in the precision of the values, ``(..., T, size)``.

    Parameters
    ----------
    queries, keys, values
        ``(..., T, size)`` and ``(..., S, size)``; values in half precision make all be read so.
    bias
        Added to their scores, 0 or very negative, to be spread over ``(..., T, S)``.
    """
    if values.dtype == torch.float16:
        queries, keys = queries.half(), keys.half()
        bias = bias.clamp(min=torch.finfo(torch.float16).min).half()
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)


class Embeddings(nn.Module):
    """Word embeddings; with absolute positions also those and the first token type's."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.first_position = shape.first_position
        self.numbered = not shape.rotations
        self.words = nn.Embedding(shape.vocabulary, shape.hidden)
        if self.numbered:
            self.positions = nn.Embedding(shape.positions, shape.hidden)
            self.types = nn.Embedding(shape.types, shape.hidden)
        bare = shape.traits.causal
        self.norm = nn.Identity() if bare else make_norm(shape, shape.hidden)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Return states ``(..., d)`` of tokens ``(...)`` at places counted from 0 ``(...)``."""
        states = self.words(tokens)
        if self.numbered:
            states = states + self.positions(places + self.first_position) + self.types.weight[0]
        out: Tensor = self.norm(states)
        return out


class FeedForward(nn.Module):
    """The two products of a layer that read each position by itself."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.gated, self.activation = shape.traits.gated, shape.activation
        inner = shape.intermediate * (2 if self.gated else 1)
        self.up = nn.Linear(shape.hidden, inner, bias=shape.feed_bias)
        self.down = nn.Linear(shape.intermediate, shape.hidden, bias=shape.feed_bias)

    def forward(self, states: Tensor) -> Tensor:
        """Return ``(..., d)`` from states ``(..., d)``."""
        out: Tensor = self.down(self.activated(self.up(states)))
        return out

    def activated(self, inner: Tensor) -> Tensor:
        """Return what the second product reads of what the first gave."""
        if not self.gated:
            return _activate(inner, self.activation)
        value, gate = inner.chunk(2, dim=-1)
        return _activate(value, self.activation) * gate


def _activate(inner: Tensor, activation: str) -> Tensor:
    """Return the activation, by one of the names of :class:`BackboneShape`."""
    if activation == "relu":
        return F.relu(inner)
    if activation == "silu":
        return F.silu(inner)
    return F.gelu(inner, approximate="tanh" if activation == "gelu_new" else "none")


class Layer(nn.Module):
    """One transformer layer, its attention left to the caller.

    Attention differs between reading an item alone, a history alone, and a candidate that looks at
    a history; projections, norms and the feed-forward part are the same. A caller norms states with
    :meth:`enter`, projects them with :meth:`queries` and :meth:`keys_values`, attends, and ends
    with :meth:`finish`.

    Parameters
    ----------
    shape
        Sizes of the model.
    number
        Which of its layers.
    dropout
        Dropout while training.
    """

    def __init__(self, shape: BackboneShape, number: int, dropout: float) -> None:
        super().__init__()
        traits, width = shape.traits, shape.hidden
        self.heads, self.size = shape.heads, shape.head_width
        self.shared_by = shape.heads // shape.key_heads
        self.pre_norm, self.causal = traits.pre_norm, traits.causal
        self.window = shape.windows[number] if shape.windows else 0
        keys = shape.key_heads * shape.head_width
        self.query = nn.Linear(width, shape.attention_width, bias=shape.attention_bias)
        self.key_value = nn.Linear(width, 2 * keys, bias=shape.attention_bias)
        self.out = nn.Linear(shape.attention_width, width, bias=shape.attention_bias)
        # ModernBERT's embeddings end with the norm that its first layer would begin with.
        normed = shape.family == "modernbert" and number == 0
        self.attention_norm = nn.Identity() if normed else make_norm(shape, width)
        self.feed = FeedForward(shape)
        self.feed_norm = make_norm(shape, width)
        self.dropout = nn.Dropout(dropout)
        self.query_norm = self.key_norm = None
        if traits.head_norms:
            self.query_norm = make_norm(shape, shape.head_width)
            self.key_norm = make_norm(shape, shape.head_width)
        self.base = shape.rotations[number] if shape.rotations else None

    @property
    def plain(self) -> bool:
        """Whether queries and keys are projections with a bias and nothing else."""
        alone = self.base is None and self.query_norm is None and self.shared_by == 1
        return alone and self.key_value.bias is not None

    def enter(self, states: Tensor) -> Tensor:
        """Return what the projections read of states ``(..., d)``."""
        out: Tensor = self.attention_norm(states) if self.pre_norm else states
        return out

    def queries(self, entered: Tensor, places: Tensor | None) -> Tensor:
        """Return queries ``(..., heads, size)`` at places ``(...)``; see :meth:`keys_values`."""
        queries = self.query(entered).unflatten(-1, (self.heads, self.size))
        if self.query_norm is not None:
            queries = self.query_norm(queries)
        return self._rotated(queries, places)

    def keys_values(self, entered: Tensor, places: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return keys and values ``(..., heads, size)``.

        Parameters
        ----------
        entered
            From :meth:`enter`, ``(..., d)``.
        places
            Where the tokens stand, read by layers that rotate; only differences matter, ``int64
            (...)``.
        """
        both = self.key_value(entered).unflatten(-1, (2, -1, self.size))
        keys, values = both.unbind(-3)
        if self.key_norm is not None:
            keys = self.key_norm(keys)
        keys = self._rotated(keys, places)
        if self.shared_by > 1:
            keys = keys.repeat_interleave(self.shared_by, -2)
            values = values.repeat_interleave(self.shared_by, -2)
        return keys, values

    def key_value_products(self, entered: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the weights that give keys and values, each with the states that it reads.

        Keys and values are the sum of the products, and the bias. There is one product, and a
        second while the projection holds an adapter, which reads states with dropout of its own.

        Parameters
        ----------
        entered
            From :meth:`enter`, ``(..., d)``.
        """
        projection: Any = self.key_value
        out = [(projection.weight, entered)]
        if not isinstance(projection, nn.Linear):
            (name,) = projection.active_adapters
            read = projection.lora_dropout[name](entered)
            out.append((projection.get_delta_weight(name), read))
        return out

    def _rotated(self, heads: Tensor, places: Tensor | None) -> Tensor:
        """Return queries or keys turned by their places (RoPE, Su et al. 2021, equation 34)."""
        if self.base is None:
            return heads
        if places is None:
            raise ValueError("a layer with rotary positions needs places")
        half = torch.arange(0, self.size, 2, device=heads.device, dtype=torch.float32)
        angles = places[..., None].float() * self.base ** -(half / self.size)
        cos, sin = angles.cos()[..., None, :], angles.sin()[..., None, :]
        first, second = heads.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """Return the output ``(..., d)`` from the input and what attention gathered."""
        states = states + self.dropout(self.out(attended))
        out: Tensor
        if self.pre_norm:
            out = states + self.dropout(self.feed(self.feed_norm(states)))
        else:
            states = self.attention_norm(states)
            out = self.feed_norm(states + self.dropout(self.feed(states)))
        return out

    def attend_self(
        self, states: Tensor, bias: Tensor, places: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output of plain self-attention, and the keys and values it used.

        Parameters
        ----------
        states
            ``(B, T, d)``.
        bias
            0 where a token may be looked at, very negative where it is padding, ``(B, 1, 1, T)``.
        places
            Where the tokens stand, ``int64 (B, T)``; ``None`` will do for layers that neither
            rotate nor have a window.

        Returns
        -------
        tuple
            Output ``(B, T, d)``, keys and values ``(B, heads, T, size)``.
        """
        entered = self.enter(states)
        queries = self.queries(entered, places).transpose(1, 2)
        keys, values = (one.transpose(1, 2) for one in self.keys_values(entered, places))
        if self.causal or self.window:
            bias = bias + self.hidden_from(states.shape[1], places)
        gathered = attend(queries, keys, values, bias)
        out = self.finish(states, gathered.transpose(1, 2).flatten(2))
        return out, keys, values

    def hidden_from(self, length: int, places: Tensor | None) -> Tensor:
        """Return what hides tokens of one text from each other, ``(1 or B, 1, T, T)``.

        Causal layers go by the order in which tokens stand, windows by their places.
        """
        ahead = torch.ones(length, length, dtype=torch.bool, device=self.query.weight.device)
        ahead = ahead.triu(1) if self.causal else torch.zeros_like(ahead)
        out = torch.zeros(ahead.shape, device=ahead.device).masked_fill(ahead, HIDDEN)
        return out + self.out_of_sight(places, places) if self.window else out[None, None]

    def out_of_sight(self, asking: Tensor | None, asked: Tensor | None) -> Tensor:
        """Return what hides tokens beyond the layer's window, ``(B, 1, T, S)``.

        Parameters
        ----------
        asking, asked
            Places of the tokens that look and of those looked at, ``int64 (B, T)`` and ``(B, S)``.
        """
        if asking is None or asked is None:
            raise ValueError("a layer with a window needs places")
        far = (asking[:, :, None] - asked[:, None, :]).abs() > self.window
        out = torch.zeros(far.shape, dtype=torch.float32, device=far.device).masked_fill(
            far, HIDDEN
        )
        return out[:, None]
