"""Pretrained models of transformers, read into a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    renamed = _RENAMED.get(shape.family, _bert_weights)
    backbone.load_state_dict(renamed(_weights(folder, shape), shape))
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


def _bert_weights(state: Weights, shape: BackboneShape) -> dict[str, Tensor]:
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
        out |= _moved(state, ours, theirs, names)
        for part in ("weight", "bias"):
            pair = [state[f"{theirs}.attention.self.{one}.{part}"] for one in ("key", "value")]
            out[f"{ours}.key_value.{part}"] = torch.cat(pair)
    return out


def _modernbert_weights(state: Weights, shape: BackboneShape) -> dict[str, Tensor]:
    out = {
        "embeddings.words.weight": state["embeddings.tok_embeddings.weight"],
        **_moved(state, "embeddings", "embeddings", {"norm": "norm"}),
        **_moved(state, "", "", {"final": "final_norm"}),
    }
    names = {
        "out": "attn.Wo",
        "feed.up": "mlp.Wi",
        "feed.down": "mlp.Wo",
        "attention_norm": "attn_norm",
        "feed_norm": "mlp_norm",
    }
    for number in range(shape.layers):
        ours = theirs = f"layers.{number}"
        out |= _moved(state, ours, theirs, names)
        for part in ("weight", "bias"):
            if (name := f"{theirs}.attn.Wqkv.{part}") in state:
                query, *pair = state[name].chunk(3)
                out[f"{ours}.query.{part}"] = query
                out[f"{ours}.key_value.{part}"] = torch.cat(pair)
    return out


def _qwen3_weights(state: Weights, shape: BackboneShape) -> dict[str, Tensor]:
    out = {
        "embeddings.words.weight": state["embed_tokens.weight"],
        **_moved(state, "", "", {"final": "norm"}),
    }
    names = {
        "query": "self_attn.q_proj",
        "out": "self_attn.o_proj",
        "query_norm": "self_attn.q_norm",
        "key_norm": "self_attn.k_norm",
        "feed.down": "mlp.down_proj",
        "attention_norm": "input_layernorm",
        "feed_norm": "post_attention_layernorm",
    }
    pairs = {
        "key_value": ("self_attn.k_proj", "self_attn.v_proj"),
        "feed.up": ("mlp.gate_proj", "mlp.up_proj"),
    }
    for number in range(shape.layers):
        ours = theirs = f"layers.{number}"
        out |= _moved(state, ours, theirs, names)
        for new, old in pairs.items():
            for part in ("weight", "bias"):
                if f"{theirs}.{old[0]}.{part}" in state:
                    pair = [state[f"{theirs}.{one}.{part}"] for one in old]
                    out[f"{ours}.{new}.{part}"] = torch.cat(pair)
    return out


def _moved(state: Weights, ours: str, theirs: str, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return weights and, where there are some, biases of modules under other names."""
    out = {}
    for new, old in names.items():
        for part in ("weight", "bias"):
            name = f"{theirs}.{old}.{part}".removeprefix(".")
            if name in state:
                out[f"{ours}.{new}.{part}".removeprefix(".")] = state[name]
    return out


_SHAPES: Mapping[str, Callable[[Any], BackboneShape]] = {
    "modernbert": _modernbert_shape,
    "qwen3": _qwen3_shape,
}
_RENAMED: Mapping[str, Callable[[Weights, BackboneShape], dict[str, Tensor]]] = {
    "modernbert": _modernbert_weights,
    "qwen3": _qwen3_weights,
}
