"""Few new weights that are trained in place of the encoder's own, through peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from twofold.indexing.errors import InputError
from twofold.ranking.adapter_files import ADAPTER, AdapterFiles, adapter_weights
from twofold.ranking.model import RankerModel
from twofold.ranking.training_settings import AdapterSettings, TrainingSettings

# AdaLoRA begins with half as many ranks again as it ends with, deals them out after the first tenth
# of the steps, and leaves them alone in the last three tenths.
MORE_RANKS, BEGUN, LEFT_ALONE = 1.5, 0.1, 0.3
# Times it deals them out, at most.
DEALS = 100
# Weight of the orthogonality among what is minimised (Zhang et al. 2023, appendix).
ORTHOGONALITY = 0.1


class Adapter:
    """What a training asks of its adapter; this one adds no matrices to the encoder's.

    Parameters
    ----------
    model
        The ranker that holds it.
    """

    def __init__(self, model: RankerModel) -> None:
        self._model = model
        self._encoder = sum(one.numel() for one in model.backbone.parameters())

    def penalty(self) -> Tensor | None:
        """Return what is to be added to the loss of each batch, a scalar; ``None`` for nothing."""
        return None

    def stepped(self, step: int) -> None:
        """Take note of a step, between the optimiser's step and ``zero_grad``.

        Parameters
        ----------
        step
            Number of the step, from 1.
        """

    def prune(self) -> None:
        """Set ranks to zero that the budget no longer holds.

        :meth:`stepped` does so with the weights themselves. A running mean of them still remembers
        such ranks: call this while it stands in.
        """

    def n_trainable(self) -> int:
        """Return how many weights of encoder, adapter and prefix are trained."""
        trained = [one for one in self._model.backbone.parameters() if one.requires_grad]
        own = sum(one.numel() for one in trained)
        prefix = self._model.prefix.numel() if self._model.shape.prefix else 0
        return own + prefix

    def share(self) -> float:
        """Return :meth:`n_trainable` as a share of the plain encoder's weights."""
        return self.n_trainable() / self._encoder

    def weights(self) -> dict[str, Tensor]:
        """Return the adapter's own tensors by name, those that are trained and not copies."""
        return {"prefix": self._model.prefix} if self._model.shape.prefix else {}

    def ranks(self) -> dict[str, int]:
        """Return how many ranks each matrix of the encoder was given, by its name."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Return what an interrupted training must know beside the weights, to be taken up."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` returned."""

    def files(self, encoder: Mapping[str, Any]) -> AdapterFiles | None:
        """Return copies of all that was trained, to be kept; ``None`` if it is the ranker itself.

        Parameters
        ----------
        encoder
            As of :meth:`~twofold.ranking.adapter_files.AdapterFiles.of`.
        """
        return None

    def merged(self) -> None:
        """Add the adapter to the encoder's matrices and take it out of the model, in place.

        The model is then of the classes that it was of before. Nothing else may be called after.
        """


class LowRankAdapter(Adapter):
    """A product of two thin matrices beside each matrix (LoRA, Hu et al. 2021, equation 3).

    Parameters
    ----------
    model
        The ranker; it is changed in place.
    config
        peft's configuration.
    seed
        Of the first weights.
    """

    def __init__(self, model: RankerModel, config: Any, seed: int) -> None:
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

        super().__init__(model)
        make: Any = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # Around the encoder alone: what the ranker adds to it is trained as it is.
            self._tuner = make(model.backbone, config, adapter_name=ADAPTER)

    def weights(self) -> dict[str, Tensor]:
        """Return the thin matrices under peft's names, and the prefix where there is one."""
        own = adapter_weights(self._model.backbone)
        return {**super().weights(), **own}

    def ranks(self) -> dict[str, int]:
        """Return the rank of each product, by the name of the encoder's matrix."""
        return {
            name.removesuffix(".lora_A.weight"): len(one)
            for name, one in adapter_weights(self._model.backbone).items()
            if name.endswith(".lora_A.weight")
        }

    def files(self, encoder: Mapping[str, Any]) -> AdapterFiles:
        """Return copies of the thin matrices and of all that was trained beside them."""
        return AdapterFiles.of(self._model, encoder)

    def merged(self) -> None:
        """Add the products to the encoder's matrices, ``W + (alpha / rank) B A``.

        Raises
        ------
        ValueError
            If a matrix would not be finite.
        """
        from peft.tuners.tuners_utils import BaseTunerLayer

        backbone = self._model.backbone
        held = [
            (name, one) for name, one in backbone.named_modules() if isinstance(one, BaseTunerLayer)
        ]
        for name, one in held:
            one.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(backbone.get_submodule(parent), own, one.get_base_layer())
        del backbone.peft_config


class DealtAdapter(LowRankAdapter):
    """Products of three, ``P diag(E) Q``, whose ranks are dealt out while training.

    AdaLoRA (Zhang et al. 2023, equation 3). It begins with half as many ranks again as there are
    to be. What a rank is worth is told by the gradients of its weights (equations 8 to 11); those
    worth least are set to zero (equation 6), until as many are left as the budget holds (equation
    12).
    """

    def penalty(self) -> Tensor:
        """Return how far P and Q are from orthogonal (equation 4), weighed.

        The mean of ``||P'P - I||`` and ``||QQ' - I||`` over all matrices: not squared, as the
        authors' own code has it, since at the start the squares would drown the loss.
        """
        off = [
            torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device))
            for gram in self._grams()
        ]
        return ORTHOGONALITY * torch.stack(off).mean()

    def _grams(self) -> list[Tensor]:
        """Return what would be the identity if all P and Q were orthogonal."""
        named = list(self._model.backbone.named_parameters())
        rows = [one @ one.T for name, one in named if f".lora_A.{ADAPTER}" in name]
        return rows + [one.T @ one for name, one in named if f".lora_B.{ADAPTER}" in name]

    def stepped(self, step: int) -> None:
        """Learn from the gradients what each rank is worth, and set those to zero that go.

        peft wants it after ``backward`` and the optimiser's step, and before ``zero_grad``: the
        gradients must be there still, and what is set to zero must not be moved by the same step.

        Parameters
        ----------
        step
            Number of the optimiser's step, from 1 to the `total_steps` that were announced.
        """
        for name, one in self._model.backbone.named_parameters():
            if ".lora_" in name and one.grad is None:
                # No token of the batch came by: its gradient is zero, which peft expects in full.
                one.grad = torch.zeros_like(one)
        self._tuner.update_and_allocate(step)

    def prune(self) -> None:
        """Set ranks to zero that the budget no longer holds."""
        pattern = self._config().rank_pattern
        if pattern:
            self._tuner.rankallocator.mask_using_rank_pattern(self._model.backbone, pattern)

    def ranks(self) -> dict[str, int]:
        """Return how many ranks of each product are not zero, by the encoder's matrix.

        At the start all of them are.
        """
        return {
            name.removesuffix(".lora_E"): int((one != 0).sum())
            for name, one in adapter_weights(self._model.backbone).items()
            if name.endswith(".lora_E")
        }

    def state(self) -> dict[str, Tensor]:
        """Return what was learned of each rank's worth, and which ranks are left."""
        allocator = self._tuner.rankallocator
        out = {
            f"{kind}/{name}": one
            for kind in ("exp_avg_ipt", "exp_avg_unc")
            for name, one in getattr(allocator, kind).items()
        }
        pattern = self._config().rank_pattern or {}
        return out | {f"left/{name}": torch.tensor(one) for name, one in pattern.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` returned."""
        allocator, left = self._tuner.rankallocator, {}
        allocator.reset_ipt()
        for key, one in state.items():
            kind, _, name = key.partition("/")
            if kind == "left":
                left[name] = one.tolist()
            else:
                getattr(allocator, kind)[name] = one.clone()
                # The latest worth is made anew at each step, but peft asks here whether it has any.
                allocator.ipt[name] = torch.zeros_like(one)
        self._config().rank_pattern = left or None

    def _config(self) -> Any:
        return self._tuner.peft_config[ADAPTER]


def adapted(
    model: RankerModel, settings: TrainingSettings, *, total_steps: int, seed: int = 0
) -> Adapter:
    """Put the adapter that the settings name into a ranker, and freeze what it is in place of.

    Without an adapter, the joint layers of the encoder are trained, or all of it. With one the
    encoder's own weights stay as they are. What the ranker adds to the encoder is left as it is, to
    be trained.

    Parameters
    ----------
    model
        The ranker; it is changed in place, and called as before. Until :meth:`Adapter.merged` its
        encoder holds modules of peft in place of linear layers.
    settings
        Of the training.
    total_steps
        Steps of the optimiser that will be made, at least 0. AdaLoRA's budget is reached near their
        end, where there are at least two.
    seed
        Of the adapter's first weights.

    Raises
    ------
    InputError
        If the model holds an adapter already, or was not made with as many tokens before each
        history as the settings ask for.
    """
    kind, backbone = settings.adapter.kind, model.backbone
    if hasattr(backbone, "peft_config"):
        raise InputError("the ranker holds an adapter already; merge it first")
    if kind == "none":
        wanted = backbone.joint_weights()
        for name, one in backbone.named_parameters():
            one.requires_grad_(settings.layers == "all" or name in wanted)
        return Adapter(model)
    backbone.requires_grad_(False)
    if kind == "prefix":
        if model.shape.prefix != settings.adapter.tokens:
            raise InputError(
                f"the ranker was made with {model.shape.prefix} tokens before each history, not "
                f"with {settings.adapter.tokens}; make it with ModelShape.prefix="
                f"{settings.adapter.tokens}"
            )
        return Adapter(model)
    if kind == "lora":
        return LowRankAdapter(model, _lora(model, settings), seed)
    return DealtAdapter(model, _adalora(model, settings, total_steps), seed)


def _lora(model: RankerModel, settings: TrainingSettings) -> Any:
    from peft import LoraConfig

    wanted = settings.adapter
    return LoraConfig(r=wanted.rank, **_common(model, settings, wanted.alpha))


def _adalora(model: RankerModel, settings: TrainingSettings, total_steps: int) -> Any:
    """Return the schedule of dealing out ranks.

    peft needs two steps at least: one that tells what ranks are worth, one that sets some to zero.
    """
    from peft import AdaLoraConfig

    wanted: AdapterSettings = settings.adapter
    first = max(wanted.rank + 1, round(MORE_RANKS * wanted.rank))
    steps = max(2, total_steps)
    begun, left_alone = int(BEGUN * steps), int(LEFT_ALONE * steps)
    return AdaLoraConfig(
        init_r=first,
        target_r=wanted.rank,
        tinit=begun,
        tfinal=left_alone,
        deltaT=max(1, (steps - begun - left_alone) // DEALS),
        orth_reg_weight=ORTHOGONALITY,
        total_step=steps,
        # peft divides by the first rank, the settings promise a division by the last.
        **_common(model, settings, wanted.alpha * first / wanted.rank),
    )


def _common(model: RankerModel, settings: TrainingSettings, alpha: float) -> dict[str, Any]:
    """Return what both kinds are told: every matrix of the layers that are trained."""
    backbone = model.backbone
    lowest = 0 if settings.layers == "all" else backbone.n_lower
    matrices = [
        f"layers.{number}.{name}"
        for number, layer in enumerate(backbone.layers)
        for name, one in layer.named_modules()
        if number >= lowest and isinstance(one, nn.Linear)
    ]
    return {
        "lora_alpha": alpha,
        "lora_dropout": settings.adapter.dropout,
        "target_modules": matrices,
        "bias": "none",
    }
