"""Where a training stands, kept so that it can go on after it was cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from twofold.indexing.durable import sync_file, sync_folder
from twofold.ranking.devices import moved

NAME = "training.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors and JSON values of a training in its course.

    Parameters
    ----------
    tensors
        By name.
    about
        Everything else.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors under a name, their own names without it."""
        head = f"{name}/"
        return {key[len(head) :]: one for key, one in self.tensors.items() if key.startswith(head)}

    def on(self, device: torch.device) -> Checkpoint:
        """Return the same in the memory of a device; single numbers, read here, stay."""
        return replace(
            self,
            tensors={
                name: moved(one, device) if one.dim() else one for name, one in self.tensors.items()
            },
        )


@dataclass(frozen=True)
class Checkpoints:
    """The latest checkpoint of one training, in a folder.

    Parameters
    ----------
    folder
        Where it is kept; made when it is needed.
    key
        What the training depends on: one that stands there under another is not taken up.
    every
        Steps between two.
    """

    folder: Path
    key: str
    every: int

    def due(self, step: int) -> bool:
        """Say whether to keep what stands after step `step`, counted from 1."""
        return self.every > 0 and step % self.every == 0

    def save(self, parts: Mapping[str, Mapping[str, Tensor]], about: Mapping[str, Any]) -> None:
        """Write tensors, each under the name of its part, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{part}/{name}": one.detach().clone().contiguous()
            for part, named in parts.items()
            for name, one in named.items()
        }
        written = self.folder / f".{NAME}.partial"
        save_file(tensors, written, {"key": self.key, "about": json.dumps(about)})
        sync_file(written)
        os.replace(written, self.folder / NAME)
        sync_folder(self.folder)

    def load(self) -> Checkpoint | None:
        """Return what was kept of this very training; ``None`` where nothing was."""
        file = self.folder / NAME
        if self.every == 0 or not file.exists():
            return None
        with safe_open(file, framework="pt") as kept:
            told = kept.metadata()
            if told["key"] != self.key:
                return None
            tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
        return Checkpoint(tensors, json.loads(told["about"]))
