"""Runtimes: in which precision the encoder's products are computed when serving.

Every runtime computes g's heads in one pass, keeps norms, attention and g in single precision, and
gives a candidate the same score whatever stands beside it in a batch. Training, digests and
artefacts know only single precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twofold.indexing.errors import InputError
from twofold.ranking.fused_head import FusedHeads
from twofold.ranking.layers import FeedForward
from twofold.ranking.model import RankerModel

LARGEST_BYTE = 127
# A layer's products beside the feed-forward part.
PRODUCTS = ("query", "key_value", "out")


class Runtime(Protocol):
    """Computes what a classifier says."""

    @property
    def name(self) -> str:
        """Name of the runtime, as in `RUNTIMES`."""
        ...

    def prepare(self, model: RankerModel) -> RankerModel:
        """Return a model that scores as `model` does; that stays as it is, and lends its weights.

        Parameters
        ----------
        model
            A classifier in single precision.
        """
        ...


class SinglePrecision:
    """Everything in single precision."""

    name = "float32"

    def prepare(self, model: RankerModel) -> RankerModel:
        """Return the model with its heads fused."""
        return _sharing(model)


@dataclass(frozen=True)
class LowPrecision:
    """The products of all layers in less precision.

    Parameters
    ----------
    name
        Name of the runtime.
    product
        Makes the low product of a linear layer.
    feed
        Makes the low form of a feed-forward part.
    """

    name: str
    product: Callable[[nn.Linear], nn.Module]
    feed: Callable[[FeedForward], FeedForward]

    def prepare(self, model: RankerModel) -> RankerModel:
        """Return a model that multiplies in this precision.

        Raises
        ------
        InputError
            If the model holds adapters that are not merged.
        """
        if hasattr(model.backbone, "peft_config"):
            # Their own weights would be left out, and the scores be the plain encoder's.
            raise InputError(f"the runtime '{self.name}' reads merged weights; merge the adapter")
        out = _sharing(model)
        for layer in (*out.backbone.lower, *out.backbone.joint):
            for name in PRODUCTS:
                setattr(layer, name, self.product(getattr(layer, name)))
            layer.feed = self.feed(layer.feed)
        return out


class HalfProduct(nn.Linear):
    """A linear layer that multiplies in bfloat16 and adds up in single precision.

    Its weights in single precision stay readable.
    """

    low: Tensor
    low_bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("low", linear.weight.detach().bfloat16())
        bias = linear.bias
        self.register_buffer("low_bias", None if bias is None else bias.detach().bfloat16())

    def forward(self, states: Tensor) -> Tensor:
        """Return ``float32 (..., out)`` from ``float32 (..., in)``."""
        return F.linear(states.bfloat16(), self.low, self.low_bias).float()


class HalfFeedForward(FeedForward):
    """Both products and the activation between them in bfloat16."""

    def __init__(self, feed: FeedForward) -> None:
        nn.Module.__init__(self)
        self.up = copy.deepcopy(feed.up).bfloat16()
        self.down = copy.deepcopy(feed.down).bfloat16()
        self.gated, self.activation = feed.gated, feed.activation

    def forward(self, states: Tensor) -> Tensor:
        """Return ``float32 (..., d)`` from ``float32 (..., d)``."""
        return super().forward(states.bfloat16()).float()


class ByteProduct(nn.Linear):
    """A linear layer of 8-bit integers; its weights in single precision stay readable.

    Weights have a scale an output, fixed here; what they are multiplied with has a scale a row,
    taken as it comes, so that no row's result depends on another's. Sums have 32 bits.
    """

    low: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        low, scales = _as_bytes(linear.weight.detach())
        self.register_buffer("low", low.t().contiguous())
        self.register_buffer("scales", scales.squeeze(1))

    def forward(self, states: Tensor) -> Tensor:
        """Return ``float32 (..., out)`` from ``float32 (..., in)``."""
        rows, scales = _as_bytes(states.flatten(0, -2))
        summed = torch._int_mm(rows, self.low)
        out = summed.float() * scales
        plain = self.bias is None
        out = out * self.scales if plain else torch.addcmul(self.bias, out, self.scales)
        return out.view(*states.shape[:-1], -1)


class ByteFeedForward(FeedForward):
    """Both products in 8-bit integers, the activation between them in single precision."""

    def __init__(self, feed: FeedForward) -> None:
        nn.Module.__init__(self)
        self.up, self.down = ByteProduct(feed.up), ByteProduct(feed.down)
        self.gated, self.activation = feed.gated, feed.activation


def _as_bytes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows ``(n, d)`` as ``int8``, and what each must be multiplied with, ``(n, 1)``."""
    scales = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LARGEST_BYTE
    return torch.round(rows / scales).to(torch.int8), scales


def _sharing(model: RankerModel) -> RankerModel:
    """Return a copy of the modules over the same weights, its heads fused."""
    out = copy.deepcopy(model, {id(one): one for one in (*model.parameters(), *model.buffers())})
    out.g = FusedHeads(out.g)
    return out


RUNTIMES: Mapping[str, Runtime] = {
    one.name: one
    for one in (
        SinglePrecision(),
        LowPrecision("bfloat16", HalfProduct, HalfFeedForward),
        LowPrecision("int8", ByteProduct, ByteFeedForward),
    )
}


def runtime_of(name: str) -> Runtime:
    """Return the runtime of that name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in RUNTIMES:
        raise InputError(f"runtime must be 'auto' or one of {', '.join(RUNTIMES)}, not '{name}'")
    return RUNTIMES[name]
