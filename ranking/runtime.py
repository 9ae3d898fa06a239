"""Runtimes: where and in which precision the encoder's products are computed when serving.

Every runtime computes g's heads in one pass, and keeps norms and g in single precision; attention,
too, but for that of several joint layers on a GPU. In main memory a candidate has the same score
whatever stands beside it in a batch; on a GPU, which adds up in another order for other shapes,
nearly the same. Training, digests and artefacts know only single precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twofold.indexing.errors import InputError
from twofold.ranking.cross import read_candidates
from twofold.ranking.devices import device_of
from twofold.ranking.digests import ItemDigests
from twofold.ranking.fused_head import FusedHeads
from twofold.ranking.items import ItemTables
from twofold.ranking.layers import FeedForward, Layer
from twofold.ranking.model import RankerModel, Reader
from twofold.ranking.placed import Placed

RUNTIME = "runtime"  # the setting
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

    def place(self, tables: ItemTables, digests: ItemDigests | None) -> Placed:
        """Return what the model reads of items where it computes.

        Parameters
        ----------
        tables, digests
            As of a ranker.
        """
        ...


class InMemory:
    """Reads tables where they are."""

    def place(self, tables: ItemTables, digests: ItemDigests | None) -> Placed:
        """Return the tables themselves."""
        return Placed(tables, digests)


class SinglePrecision(InMemory):
    """Everything in single precision."""

    name = "float32"

    def prepare(self, model: RankerModel) -> RankerModel:
        """Return the model with its heads fused."""
        return _sharing(model)


@dataclass(frozen=True)
class LowPrecision(InMemory):
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
        out = _sharing(_merged(model, self.name))
        _lower(out, self.product, self.feed)
        return out


@dataclass(frozen=True)
class OnDevice:
    """Everything on a device, the products of all layers in half precision.

    Parameters
    ----------
    name
        Name of the runtime.
    device
        The device, as torch names it.
    low
        Precision of the products.
    """

    name: str
    device: str
    low: torch.dtype = torch.float16

    def prepare(self, model: RankerModel) -> RankerModel:
        """Return a model on the device, which shares nothing with this one.

        Raises
        ------
        InputError
            If the model holds adapters that are not merged.
        MissingDependencyError
            If torch sees no such device.
        """
        device = device_of(self.device, RUNTIME)
        out = copy.deepcopy(_merged(model, self.name))
        out.g = FusedHeads(out.g)
        _lower(out, partial(HalfProduct, low=self.low), partial(HalfFeedForward, low=self.low))
        layers, several = out.backbone.joint, len(out.backbone.joint) > 1
        for layer in (*out.backbone.lower, *layers):
            # What is added to states in single precision need not be made as wide before.
            narrow = [layer.out, layer.feed]
            # Nor what attention reads. Norms of heads read all of a number, and so do digests.
            if layer.query_norm is None and (several or layer is not layers[-1]):
                narrow += [layer.query, layer.key_value]
            for one in narrow:
                if isinstance(one, HalfProduct | HalfFeedForward):
                    one.narrow = True
        if several and device.type == "cuda" and self.low == torch.float16:
            out.reader = _kernel_reader(layers)
        return out.to(device)

    def place(self, tables: ItemTables, digests: ItemDigests | None) -> Placed:
        """Return copies of the tables in the memory of the device."""
        return Placed.on(device_of(self.device, RUNTIME), tables, digests)


def _kernel_reader(layers: list[Layer]) -> Reader:
    """Return what reads candidates in several layers on a GPU: a kernel, where there can be one."""
    if find_spec("triton") is None:
        return read_candidates
    # A compiler of a CUDA build's, which no other build brings.
    from twofold.ranking.block_attention import read_in_one, supports

    return read_in_one if supports(layers) else read_candidates


class HalfProduct(nn.Linear):
    """A linear layer that multiplies in 16 bits and adds up in single precision.

    Its weights in single precision stay readable. A narrow one's results have 16 bits.
    """

    low: Tensor
    low_bias: Tensor | None

    def __init__(self, linear: nn.Linear, low: torch.dtype = torch.bfloat16) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.narrow = False
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("low", linear.weight.detach().to(low))
        bias = linear.bias
        self.register_buffer("low_bias", None if bias is None else bias.detach().to(low))

    def forward(self, states: Tensor) -> Tensor:
        """Return ``(..., out)`` from ``float32 (..., in)``."""
        out = F.linear(states.to(self.low.dtype), self.low, self.low_bias)
        return out if self.narrow else out.float()


class HalfFeedForward(FeedForward):
    """Both products and the activation between them in 16 bits; a narrow one's results too."""

    def __init__(self, feed: FeedForward, low: torch.dtype = torch.bfloat16) -> None:
        nn.Module.__init__(self)
        self.narrow = False
        self.up = copy.deepcopy(feed.up).to(low)
        self.down = copy.deepcopy(feed.down).to(low)
        self.gated, self.activation = feed.gated, feed.activation

    def forward(self, states: Tensor) -> Tensor:
        """Return ``(..., d)`` from ``float32 (..., d)``."""
        out = super().forward(states.to(self.up.weight.dtype))
        return out if self.narrow else out.float()


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


def _merged(model: RankerModel, runtime: str) -> RankerModel:
    """Return the model itself, or refuse one whose scores would be the plain encoder's."""
    if hasattr(model.backbone, "peft_config"):
        raise InputError(f"the runtime '{runtime}' reads merged weights; merge the adapter")
    return model


def _lower(
    model: RankerModel,
    product: Callable[[nn.Linear], nn.Module],
    feed: Callable[[FeedForward], FeedForward],
) -> None:
    """Put the low forms of all layers' products in the place of their own."""
    for layer in (*model.backbone.lower, *model.backbone.joint):
        for name in PRODUCTS:
            setattr(layer, name, product(getattr(layer, name)))
        layer.feed = feed(layer.feed)


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


# Those that need what not every machine has.
DEVICE_RUNTIMES: Mapping[str, Runtime] = {"cuda": OnDevice("cuda", "cuda")}


def runtime_of(name: str) -> Runtime:
    """Return the runtime of that name.

    Raises
    ------
    InputError
        If there is none.
    MissingDependencyError
        If it needs a GPU and torch sees none.
    """
    known = {**RUNTIMES, **DEVICE_RUNTIMES}
    if name not in known:
        raise InputError(f"runtime must be 'auto' or one of {', '.join(known)}, not '{name}'")
    if name in DEVICE_RUNTIMES:
        device_of(name, RUNTIME)
    return known[name]


def runnable(device: str = "auto") -> tuple[str, ...]:
    """Return the names of the runtimes that this machine can compute in.

    Parameters
    ----------
    device
        ``"cpu"`` leaves out those of other devices.
    """
    there = () if device == "cpu" or not torch.cuda.is_available() else tuple(DEVICE_RUNTIMES)
    return (*RUNTIMES, *there)
