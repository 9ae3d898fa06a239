"""Which precision products are computed in while a ranker is trained."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Narrow = bool | Literal["auto"]
CPUINFO = Path("/proc/cpuinfo")
# What makes bfloat16 faster than float32 on a processor, rather than slower.
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


@cache
def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Return the processor's feature flags, empty where the system does not tell them."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M)
    return frozenset(match[1].split()) if match else frozenset()


def bf16_flags(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Return the processor's instructions for bfloat16, none where it would be slower."""
    return tuple(flag for flag in BF16_FLAGS if flag in cpu_flags(cpuinfo))


def in_bf16(asked: Narrow, device: torch.device) -> bool:
    """Return whether products are computed in bfloat16.

    Parameters
    ----------
    asked
        ``"auto"`` for where the device has instructions for it, without which it is slower.
    device
        What computes.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        # Settings and `doctor` are read where torch need not be there.
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(bf16_flags())


def in_single(device: torch.device) -> AbstractContextManager[object]:
    """Return what products are computed within in single precision, narrow as others may be.

    Parameters
    ----------
    device
        What computes; some know no narrow products at all.
    """
    import torch

    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
