"""A pretrained encoder or decoder, taken apart so that its layers can be run separately."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twofold.indexing.errors import EncoderError
from twofold.ranking.layers import HIDDEN, BackboneShape, Embeddings, Layer, make_norm


class Backbone(nn.Module):
    """Embeddings and layers of a pretrained model.

    Parameters
    ----------
    shape
        Sizes of the model.
    joint_layers
        How many upper layers are joint; dropout is active only in those.
    dropout
        Dropout of the joint layers while training.
    """

    def __init__(self, shape: BackboneShape, joint_layers: int, dropout: float) -> None:
        super().__init__()
        if not 1 <= joint_layers <= shape.layers:
            raise EncoderError(
                f"joint_layers must be between 1 and {shape.layers}, the layers of this encoder, "
                f"not {joint_layers}"
            )
        self.shape = shape
        self.n_lower = shape.layers - joint_layers
        self.embeddings = Embeddings(shape)
        self.layers = nn.ModuleList(
            Layer(shape, number, dropout if number >= self.n_lower else 0.0)
            for number in range(shape.layers)
        )
        self.final = make_norm(shape, shape.hidden) if shape.traits.pre_norm else nn.Identity()

    @property
    def lower(self) -> list[Layer]:
        """The layers that read a text alone."""
        return [layer for layer in list(self.layers)[: self.n_lower] if isinstance(layer, Layer)]

    @property
    def joint(self) -> list[Layer]:
        """The layers in which candidates look at the history."""
        return [layer for layer in list(self.layers)[self.n_lower :] if isinstance(layer, Layer)]

    @property
    def device(self) -> torch.device:
        """Where the weights are, and what is read has to be."""
        return self.embeddings.words.weight.device

    def joint_weights(self) -> set[str]:
        """Return the names of the weights that candidates and history are read with together."""
        joint = tuple(f"layers.{n}." for n in range(self.n_lower, self.shape.layers))
        return {n for n, _ in self.named_parameters() if n.startswith((*joint, "final."))}

    def read_alone(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the lower layers' states of texts that see only themselves.

        Parameters
        ----------
        tokens
            Token numbers, padded, ``int64 (B, T)``.
        mask
            True at real tokens, ``bool (B, T)``.

        Returns
        -------
        Tensor
            ``float32 (B, T, d)``; what stands at padding means nothing.
        """
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        states: Tensor = self.embeddings(tokens, places)
        bias = padding_bias(mask)
        for layer in self.lower:
            states, _, _ = layer.attend_self(states, bias, places)
        return states


def padding_bias(mask: Tensor) -> Tensor:
    """Return what to add to attention scores, ``(B, 1, 1, T)`` from a mask ``bool (B, T)``."""
    bias = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    return bias.masked_fill(~mask, HIDDEN)[:, None, None, :]
