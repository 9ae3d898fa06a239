"""Where tensors live: in main memory, or in that of a device."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

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
        out = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    elif is_dataclass(value) and not isinstance(value, type):
        parts_by_name = {one.name: moved(getattr(value, one.name), device) for one in fields(value)}
        out = replace(value, **parts_by_name)
    return cast(Moved, out)


def device_of(asked: str) -> torch.device:
    """Return the device that a setting names.

    Parameters
    ----------
    asked
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for a GPU where torch sees one.

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
            f"'{asked}' was asked for, but torch {torch.__version__} sees no CUDA GPU; take cpu or "
            "auto, or install torch with CUDA (`twofold doctor` tells what is missing)"
        )
    return device
