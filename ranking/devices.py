"""Where tensors live: in main memory, or in that of a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from twofold.indexing.errors import MissingDependencyError

CPU = torch.device("cpu")
Moved = TypeVar("Moved")


def moved(value: Moved, device: torch.device) -> Moved:
    """Return a tensor, or what is made of tensors, in the memory of a device.

    What is there already is not copied. The call does not wait for the device.

    Parameters
    ----------
    value
        A tensor, or a tuple or dataclass of such; anything else within them stays as it is.
    device
        Where it is to be.
    """
    out: Any = value
    if isinstance(value, Tensor):
        out = value if value.device == device else value.to(device, non_blocking=True)
    elif isinstance(value, tuple):
        parts = [moved(one, device) for one in value]
        if any(new is not old for new, old in zip(parts, value, strict=True)):
            out = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    elif is_dataclass(value) and not isinstance(value, type):
        own = {name: getattr(value, name) for name in value.__dataclass_fields__}
        new = {name: moved(one, device) for name, one in own.items()}
        if any(new[name] is not one for name, one in own.items()):
            out = replace(value, **new)
    return cast(Moved, out)


def device_of(asked: str, setting: str) -> torch.device:
    """Return the device that a setting names.

    Parameters
    ----------
    asked
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for a GPU where torch sees one.
    setting
        Name of the setting, for the error.

    Raises
    ------
    MissingDependencyError
        If it names a GPU and torch sees none.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(asked)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError(
            f"{setting} is '{asked}', but torch {torch.__version__} sees no CUDA GPU; take "
            "another, or install torch with CUDA (`twofold doctor` tells what is missing)"
        )
    return device


@contextmanager
def lent(model: nn.Module, device: torch.device) -> Iterator[torch.device]:
    """Move a model to a device for the length of a ``with`` block, and then to main memory."""
    model.to(device)
    try:
        yield device
    finally:
        model.to(CPU)
