"""What was trained beside a frozen encoder, as files that people who know peft can read."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from twofold.indexing.errors import InputError
from twofold.ranking.backbone import Backbone
from twofold.ranking.model import RankerModel

if TYPE_CHECKING:
    from twofold.indexing.artefact import Generation, GenerationWriter

# peft's name of the adapter where there is one, and what its files put before a module's name.
ADAPTER, PREFIX = "default", "base_model.model."


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter by itself, with all else that was trained, and which encoder it belongs to.

    Parameters
    ----------
    config
        peft's configuration, JSON values.
    weights
        The thin matrices under peft's names, modules counted from the encoder.
    rest
        Every weight of the ranker outside of its encoder: head, soft tokens, g.
    base
        The encoder: JSON values with its ``fingerprint``, of all its weights.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    rest: Mapping[str, Tensor]
    base: Mapping[str, Any]

    @classmethod
    def of(cls, model: RankerModel, encoder: Mapping[str, Any]) -> AdapterFiles:
        """Return copies of what a model with an adapter holds; to be called before merging.

        Parameters
        ----------
        model
            A ranker with an adapter from :func:`~twofold.ranking.adapters.adapted`.
        encoder
            Which pretrained model its encoder is: ``model`` and ``revision``, as the manifest has
            them.

        Raises
        ------
        InputError
            If the model holds no adapter.
        """
        own, frozen, rest = _parted(model)
        told: Any = model.backbone.peft_config
        values = dict(told[ADAPTER].to_dict())
        # AdaLoRA's files may leave out ranks that are gone, but sums over fewer ranks round
        # otherwise. Kept as zeros, they give the very scores that were measured.
        if "rank_pattern" in values and "target_r" in values:
            values["rank_pattern"] = None
        values |= {
            "base_model_name_or_path": encoder.get("model"),
            "revision": encoder.get("revision"),
            "inference_mode": True,
        }
        config = {
            name: sorted(one) if isinstance(one, set) else one for name, one in values.items()
        }
        weights = {PREFIX + name: one.clone() for name, one in own.items()}
        base = {**encoder, "fingerprint": _fingerprint(frozen)}
        return cls(config, weights, {name: one.clone() for name, one in rest.items()}, base)

    def save(self, writer: GenerationWriter) -> None:
        """Write them under ``ranker/adapter``, the first two under peft's file names."""
        for name, state in (("adapter_model", self.weights), ("rest", self.rest)):
            whole = {key: one.contiguous() for key, one in state.items()}
            save_file(whole, writer.path(f"ranker/adapter/{name}.safetensors"))
        writer.put_json("ranker/adapter/adapter_config", dict(self.config))
        writer.put_json("ranker/adapter/base_model", dict(self.base))

    @classmethod
    def open(cls, generation: Generation) -> AdapterFiles | None:
        """Return what :meth:`save` wrote; ``None`` if there is nothing."""
        if not generation.has("ranker/adapter"):
            return None
        weights, rest = (
            read_weights(generation.path(f"ranker/adapter/{name}.safetensors"))
            for name in ("adapter_model", "rest")
        )
        config, base = (
            generation.json(f"ranker/adapter/{name}") for name in ("adapter_config", "base_model")
        )
        return cls(config, weights, rest, base)


def with_adapter(base_model: RankerModel, files: AdapterFiles) -> RankerModel:
    """Return a copy of a ranker over the plain pretrained encoder with what was trained put in.

    The adapter is not merged, and nothing is left to train: the model scores, bit for bit, as the
    one did that the files are of. States of items that adapted lower layers made are to be made
    anew.

    Parameters
    ----------
    base_model
        A ranker of the same shape; its weights outside of the encoder are not read.
    files
        What was trained.

    Raises
    ------
    InputError
        If the encoder is another one than the adapter was trained with, or weights are missing.
    """
    from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict

    found = _fingerprint(base_model.backbone.state_dict())
    if found != files.base["fingerprint"]:
        raise InputError(
            f"the adapter was trained with {files.base.get('model')} of fingerprint "
            f"{files.base['fingerprint']}, not with an encoder of fingerprint {found}"
        )
    out = copy.deepcopy(base_model)
    with torch.random.fork_rng(devices=[]):
        make: Any = PeftConfig.from_peft_type
        config = make(**files.config)
        inject_adapter_in_model(config, out.backbone, ADAPTER)
    own, _, rest = _parted(out)
    for held, given in (
        ({PREFIX + name for name in own}, files.weights),
        (set(rest), files.rest),
    ):
        if held != set(given):
            raise InputError(
                f"the adapter's files do not fit the ranker: {sorted(held ^ set(given))} are held "
                "by one of them alone; take the shape that stands in ranker/model.json"
            )
    weights = {name.removeprefix(PREFIX): one for name, one in files.weights.items()}
    set_peft_model_state_dict(out.backbone, weights, ADAPTER)
    out.load_state_dict(dict(files.rest), strict=False)
    return out.eval().requires_grad_(False)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the weights in a file, through numpy: safetensors leaks objects as torch's."""
    with safe_open(file, framework="np") as weights:
        return {name: torch.from_numpy(one) for name, one in weights.get_tensors().items()}


def adapter_weights(backbone: Backbone) -> dict[str, Tensor]:
    """Return an adapter's thin matrices under peft's names; empty where there is no adapter."""
    return {
        name.replace(f".{ADAPTER}", ""): one
        for name, one in backbone.state_dict().items()
        if ".lora_" in name
    }


def _parted(
    model: RankerModel,
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of the adapter, of the plain encoder, and of all else.

    Raises
    ------
    InputError
        If there is no adapter.
    """
    own = adapter_weights(model.backbone)
    if not own:
        raise InputError(
            "the ranker holds no adapter, or it is merged already; take its files "
            "between training and merging"
        )
    # ranknum, AdaLoRA's first rank, follows from the configuration.
    frozen = {
        name.replace(".base_layer", ""): one
        for name, one in model.backbone.state_dict().items()
        if ".lora_" not in name and ".ranknum" not in name
    }
    state = model.state_dict()
    rest = {name: one for name, one in state.items() if not name.startswith("backbone.")}
    return own, frozen, rest


def _fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights with their names."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(f"{name}{tuple(state[name].shape)}".encode())
        found.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
