"""What a ranker's training starts from: a pretrained model, or the ranker of another artefact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twofold.indexing.artefact import open_artefact
from twofold.indexing.errors import InputError
from twofold.indexing.generation import Generation
from twofold.indexing.models import resolve_model
from twofold.indexing.progress import Progress
from twofold.ranking.adapter_files import read_weights
from twofold.ranking.backbone import Backbone
from twofold.ranking.items import ItemTokens, compute_states, tokenise_items
from twofold.ranking.model import ModelShape, RankerModel
from twofold.ranking.pretrained import backbone_from_pretrained
from twofold.ranking.settings import RankerSettings
from twofold.ranking.stored import Form, Rows

# Weights under these names mean something of the data: in which basis factors are, which kind of
# event has which number. They begin anew in another domain, those of g too.
OWN = frozenset(("factors", "kinds"))


class Read(NamedTuple):
    """A pretrained model, and what it reads of the items.

    Parameters
    ----------
    encoder
        Which model it is: JSON values for the manifest.
    backbone
        The model.
    tokenizer
        Its tokenizer.
    tokens
        The items' tokens.
    states
        What lower layers make of them; ``None`` where no layer is lower, or all are trained.
    known
        Weights of the ranker that the training starts from; ``None`` where it is the plain encoder.
    """

    encoder: dict[str, Any]
    backbone: Backbone
    tokenizer: Any
    tokens: ItemTokens
    states: Rows | None
    known: dict[str, Tensor] | None


def read_items(texts: Sequence[str], settings: RankerSettings, progress: Progress) -> Read:
    """Return the pretrained model that the settings name and what it reads of item texts.

    Where the training starts from another artefact's ranker, the encoder has its weights.
    """
    from transformers import AutoTokenizer

    source = resolve_model(settings.model, revision=settings.revision)
    joint = 0 if settings.joint_layers == "all" else settings.joint_layers
    backbone = backbone_from_pretrained(str(source.folder), joint, settings.training.dropout)
    about = {"model": source.name, "revision": source.revision, "origin": source.origin}
    other, known = settings.training.init_from, None
    if other is not None:
        generation = open_artefact(other)
        known = _known(generation, other, backbone)
        head = "backbone."
        encoder = {n.removeprefix(head): one for n, one in known.items() if n.startswith(head)}
        backbone.load_state_dict(encoder)
        about["init_from"] = str(generation.manifest["content_hash"])
    tokenizer = AutoTokenizer.from_pretrained(str(source.folder))
    limit, causal = backbone.shape.max_tokens, backbone.shape.traits.causal
    tokens = tokenise_items(tokenizer, texts, settings.max_item_tokens, limit, causal=causal)
    # A training of all layers makes states anew at every batch: these would be no use to it.
    whole = settings.training.layers == "all"
    states = None if whole else read_states(backbone, tokens, settings, progress)
    return Read(about, backbone, tokenizer, tokens, states, known)


def read_states(
    backbone: Backbone, tokens: ItemTokens, settings: RankerSettings, progress: Progress
) -> Rows | None:
    """Return what lower layers make of items, for training; ``None`` where no layer is lower.

    Training reads them many times, whatever is stored in the end.
    """
    if not backbone.n_lower:
        return None
    form: Form = "int8" if settings.item_states == "int8" else "half"
    return compute_states(backbone, tokens, form=form, progress=progress)


@dataclass(frozen=True)
class Started:
    """A model before its first step.

    Parameters
    ----------
    model
        The model.
    knows_g
        Whether g has the weights of a ranker that was trained before.
    """

    model: RankerModel
    knows_g: bool


def start(shape: ModelShape, read: Read, settings: RankerSettings, seed: int) -> Started:
    """Return a model with a pretrained backbone, new weights drawn by `seed`.

    Where the training starts from another artefact's ranker, all of its weights that mean the same
    here are taken over: those of the same shape, without what depends on the data. Collaborative
    factors are then silent at first.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RankerModel(shape, settings.training.dropout)
    model.backbone.load_state_dict(read.backbone.state_dict())
    known, own = read.known, model.state_dict()
    if known is None:
        return Started(model, knows_g=False)
    taken = {
        name: known[name]
        for name, one in own.items()
        if not name.startswith("backbone.")
        and not OWN & set(name.split("."))
        and name in known
        and known[name].shape == one.shape
    }
    model.load_state_dict({**own, **taken})
    with torch.no_grad():
        model.factors.weight.zero_()
    shared = [one for one in own if one.startswith("g.") and not OWN & set(one.split("."))]
    return Started(model, knows_g=all(name in taken for name in shared))


def _known(generation: Generation, artefact: str, backbone: Backbone) -> dict[str, Tensor]:
    """Return the weights of an artefact's ranker.

    Raises
    ------
    InputError
        If it has no ranker, or one of another encoder.
    """
    if not generation.has("ranker/model.json"):
        raise InputError(
            f"ranker.training.init_from names {artefact}, an artefact without a ranker; name one "
            "with a ranker"
        )
    theirs = ModelShape.from_dict(generation.json("ranker/model")).backbone
    if theirs != backbone.shape:
        raise InputError(
            f"ranker.training.init_from names {artefact}, whose encoder ({theirs.family}, "
            f"{theirs.layers} layers of {theirs.hidden}) is another than ranker.model "
            f"({backbone.shape.family}, {backbone.shape.layers} layers of {backbone.shape.hidden});"
            " set ranker.model to the one it was trained from"
        )
    return read_weights(generation.path("ranker/model.safetensors"))
