"""Pretrained models of transformers, read into a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from twofold.indexing.errors import EncoderError
from twofold.ranking.backbone import Backbone
from twofold.ranking.layers import ACTIVATIONS, FAMILIES, BackboneShape

Weights = Mapping[str, Tensor]


def backbone_from_pretrained(folder: str, joint_layers: int, dropout: float) -> Backbone:
    """Return a pretrained model taken apart.

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
        If the model is of another family, or of a form of its family that is not read.
    """
    from transformers import AutoConfig

    shape = _shape_of(AutoConfig.from_pretrained(folder))
    backbone = Backbone(shape, joint_layers or shape.layers, dropout)
    state = _thirds(_weights(folder, shape))
    names = _NAMES.get(shape.family, _NAMES["bert"])
    backbone.load_state_dict(names.renamed(state, shape))
    return backbone


def _weights(folder: str, shape: BackboneShape) -> Weights:
    """Return a model's weights under the names that transformers gives the bare model."""
    file = Path(folder) / "model.safetensors"
    if file.is_file():
        # Read directly: transformers would write a report of unused heads to standard error.
        state = load_file(file)
    else:
        from transformers import AutoModel

        state = AutoModel.from_pretrained(folder, dtype=torch.float32).state_dict()
    # Encoders first saved from TensorFlow call the weight and bias of their norms gamma and beta.
    return {
        name.removeprefix(shape.traits.prefix)
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): one.float()
        for name, one in state.items()
    }


def _shape_of(config: Any) -> BackboneShape:
    family = str(config.model_type)
    if family not in FAMILIES:
        raise EncoderError(
            f"the ranker reads models of the families {', '.join(FAMILIES)}, not '{family}'; "
            "set ranker.model to one of those"
        )
    shape = _SHAPES.get(family, _bert_shape)(config)
    if shape.activation not in ACTIVATIONS:
        raise EncoderError(f"the ranker knows {', '.join(ACTIVATIONS)}, not '{shape.activation}'")
    return shape


def _sizes(config: Any) -> dict[str, Any]:
    """Return what all families call by the same names."""
    return {
        "family": str(config.model_type),
        "hidden": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "intermediate": config.intermediate_size,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
    }


def _bert_shape(config: Any) -> BackboneShape:
    kind = getattr(config, "position_embedding_type", "absolute") or "absolute"
    if kind != "absolute":
        raise EncoderError(f"the ranker needs absolute position embeddings, not '{kind}'")
    return BackboneShape(
        **_sizes(config),
        types=config.type_vocab_size,
        first_position=0 if config.model_type == "bert" else int(config.pad_token_id) + 1,
        norm_eps=config.layer_norm_eps,
        activation=config.hidden_act,
    )


def _modernbert_shape(config: Any) -> BackboneShape:
    bases = {kind: _base(one) for kind, one in config.rope_parameters.items()}
    local = [kind == "sliding_attention" for kind in config.layer_types]
    return BackboneShape(
        **_sizes(config),
        types=0,
        first_position=0,
        norm_eps=config.norm_eps,
        activation=config.hidden_activation,
        rotations=tuple(bases[kind] for kind in config.layer_types),
        windows=tuple(config.sliding_window if one else 0 for one in local),
        attention_bias=config.attention_bias,
        feed_bias=config.mlp_bias,
        norm_bias=config.norm_bias,
    )


def _qwen3_shape(config: Any) -> BackboneShape:
    if "sliding_attention" in config.layer_types:
        raise EncoderError("the ranker reads Qwen3 models without sliding windows alone")
    return BackboneShape(
        **_sizes(config),
        types=0,
        first_position=0,
        norm_eps=config.rms_norm_eps,
        activation=config.hidden_act,
        key_heads=config.num_key_value_heads,
        head_width=config.head_dim,
        rotations=(_base(config.rope_parameters),) * config.num_hidden_layers,
        attention_bias=config.attention_bias,
        feed_bias=False,
        norm_bias=False,
    )


def _base(parameters: Mapping[str, Any]) -> float:
    """Return the base of rotary positions that grow evenly."""
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise EncoderError(f"the ranker knows rotary positions of the kind 'default', not '{kind}'")
    return float(parameters["rope_theta"])


@dataclass(frozen=True)
class _Names:
    """What a family of transformers calls the weights of a backbone.

    Parameters
    ----------
    whole
        Our module -> theirs, outside of the layers.
    layer
        What stands before the number of a layer.
    parts
        Our module of a layer -> theirs, or several whose outputs ours has one after another.
    """

    whole: Mapping[str, str]
    layer: str
    parts: Mapping[str, tuple[str, ...]]

    def renamed(self, state: Weights, shape: BackboneShape) -> dict[str, Tensor]:
        """Return the weights of a backbone."""
        out: dict[str, Tensor] = {}
        for ours, theirs in self.whole.items():
            out |= _joined(state, ours, (theirs,))
        for number in range(shape.layers):
            for ours, several in self.parts.items():
                names = tuple(f"{self.layer}.{number}.{theirs}" for theirs in several)
                out |= _joined(state, f"layers.{number}.{ours}", names)
        return out


def _joined(state: Weights, ours: str, theirs: Sequence[str]) -> dict[str, Tensor]:
    """Return the weight and, where there is one, the bias of modules one after another."""
    return {
        f"{ours}.{part}": torch.cat([state[f"{one}.{part}"] for one in theirs])
        for part in ("weight", "bias")
        if f"{theirs[0]}.{part}" in state
    }


def _thirds(state: Weights) -> Weights:
    """Return ModernBERT's weights, its one product for queries, keys and values in three."""
    out = dict(state)
    for name, one in state.items():
        before, found, part = name.partition("attn.Wqkv.")
        if found:
            for own, third in zip(("query", "key", "value"), one.chunk(3), strict=True):
                out[f"{before}attn.{own}.{part}"] = third
    return out


_NAMES = {
    "bert": _Names(
        whole={
            "embeddings.words": "embeddings.word_embeddings",
            "embeddings.positions": "embeddings.position_embeddings",
            "embeddings.types": "embeddings.token_type_embeddings",
            "embeddings.norm": "embeddings.LayerNorm",
        },
        layer="encoder.layer",
        parts={
            "query": ("attention.self.query",),
            "key_value": ("attention.self.key", "attention.self.value"),
            "out": ("attention.output.dense",),
            "attention_norm": ("attention.output.LayerNorm",),
            "feed.up": ("intermediate.dense",),
            "feed.down": ("output.dense",),
            "feed_norm": ("output.LayerNorm",),
        },
    ),
    "modernbert": _Names(
        whole={
            "embeddings.words": "embeddings.tok_embeddings",
            "embeddings.norm": "embeddings.norm",
            "final": "final_norm",
        },
        layer="layers",
        parts={
            "query": ("attn.query",),
            "key_value": ("attn.key", "attn.value"),
            "out": ("attn.Wo",),
            "attention_norm": ("attn_norm",),
            "feed.up": ("mlp.Wi",),
            "feed.down": ("mlp.Wo",),
            "feed_norm": ("mlp_norm",),
        },
    ),
    "qwen3": _Names(
        whole={"embeddings.words": "embed_tokens", "final": "norm"},
        layer="layers",
        parts={
            "query": ("self_attn.q_proj",),
            "key_value": ("self_attn.k_proj", "self_attn.v_proj"),
            "query_norm": ("self_attn.q_norm",),
            "key_norm": ("self_attn.k_norm",),
            "out": ("self_attn.o_proj",),
            "attention_norm": ("input_layernorm",),
            "feed.up": ("mlp.gate_proj", "mlp.up_proj"),
            "feed.down": ("mlp.down_proj",),
            "feed_norm": ("post_attention_layernorm",),
        },
    ),
}
_SHAPES: Mapping[str, Callable[[Any], BackboneShape]] = {
    "modernbert": _modernbert_shape,
    "qwen3": _qwen3_shape,
}
