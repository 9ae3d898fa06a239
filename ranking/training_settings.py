"""How stage two is trained: the recipe, and the techniques that may be added to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from twofold.indexing.errors import SettingsError
from twofold.indexing.ranges import require
from twofold.ranking.precision import Narrow

Objective = Literal["bce", "focal", "pairwise", "listwise"]


@dataclass(frozen=True)
class AdapterSettings:
    """Few new weights that are trained in place of the encoder's own.

    Parameters
    ----------
    kind
        ``"none"`` trains the encoder's weights. ``"lora"`` adds a product of two thin matrices to
        each of its matrices (Hu et al. 2021); ``"adalora"`` deals out their ranks while training
        (Zhang et al. 2023); ``"prefix"`` puts learned tokens before each history, for candidates
        to look at (after Li and Liang 2021).
    rank
        Rank of a product, in ``"adalora"`` on average.
    alpha
        Products are scaled by ``alpha / rank``.
    dropout
        Dropout before the first thin matrix.
    tokens
        Learned tokens of ``"prefix"``.
    """

    kind: Literal["none", "lora", "adalora", "prefix"] = "none"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    tokens: int = 8

    def __post_init__(self) -> None:
        require(
            self,
            "ranker.training.adapter",
            at_least_one=("rank", "tokens"),
            positive=("alpha",),
            shares=("dropout",),
        )


@dataclass(frozen=True)
class AdversarySettings:
    """Small changes of what enters the joint layers that raise the loss, learned against.

    Parameters
    ----------
    kind
        ``"fgm"``: one step along the gradient, its loss beside the clean one (Miyato et al. 2017).
        ``"pgd"``: several steps within a ball, the loss of the last beside the clean one (Madry et
        al. 2018). ``"freelb"``: the mean loss over several steps, which costs no more passes than
        the search for them (Zhu et al. 2020).
    radius
        How far a token's state is moved, root mean square, in units of its own length.
    steps
        Steps of ``"pgd"`` and ``"freelb"``.
    """

    kind: Literal["none", "fgm", "pgd", "freelb"] = "none"
    radius: float = 0.02
    steps: int = 3

    def __post_init__(self) -> None:
        require(self, "ranker.training.adversary", at_least_one=("steps",), positive=("radius",))


@dataclass(frozen=True)
class AugmentationSettings:
    """Other wordings of the item texts, made once before training.

    Parameters
    ----------
    variants
        Wordings of each text beside its own; 0 for none.
    share
        Share of the training batches that read one of them.
    drop_fields
        Chance of each sentence or field of a text, but never of all, to be left out.
    drop_words
        Chance of each word to be left out.
    synonyms
        Chance of each word to be replaced by a synonym; needs the package ``wn`` and a lexicon.
    lexicon
        Name of the lexicon that ``wn`` has.
    """

    variants: int = 0
    share: float = 0.5
    drop_fields: float = 0.2
    drop_words: float = 0.1
    synonyms: float = 0.0
    lexicon: str = "oewn:2024"

    def __post_init__(self) -> None:
        shares = ("drop_fields", "drop_words", "synonyms")
        require(self, "ranker.training.augmentation", natural=("variants",), shares=shares)
        if not 0 <= self.share <= 1:
            raise SettingsError(
                f"ranker.training.augmentation.share must be in [0, 1], not {self.share}"
            )


@dataclass(frozen=True)
class PseudoLabelSettings:
    """Lists without labels that the ranker labels itself where it is sure.

    Parameters
    ----------
    rounds
        How often lists are labelled and learned from; 0 for never. A round that does not lower the
        loss on the early-stopping users is undone, and is the last.
    hits, misses
        The share of all candidates of all lists with the highest logits that is taken for hits, and
        with the lowest for misses; the rest is not learned from.
    weight
        What a label of the ranker's own counts for beside a real one.
    """

    rounds: int = 0
    hits: float = 0.02
    misses: float = 0.5
    weight: float = 0.5

    def __post_init__(self) -> None:
        require(self, "ranker.training.pseudo_labels", natural=("rounds",), positive=("weight",))
        if not (self.hits > 0 and self.misses > 0 and self.hits + self.misses <= 1):
            raise SettingsError(
                "ranker.training.pseudo_labels.hits and misses must be above 0 and at most 1 "
                f"together, not {self.hits} and {self.misses}"
            )


@dataclass(frozen=True)
class TrainingSettings:
    """How the ranker is trained and calibrated.

    Parameters
    ----------
    objective
        ``"bce"``: binary cross-entropy over all candidates; ``"focal"``: the same with candidates
        that are told well already counting less (Lin et al. 2017); ``"pairwise"``: each hit above
        each miss of its list (RankNet, Burges et al. 2005); ``"listwise"``: softmax of each hit
        among the misses of its list. All are calibrated afterwards.
    order_weight
        The loss of ``"listwise"`` is added so many times to ``"bce"`` and ``"focal"``: each
        candidate's own chance and the order of the list are then learned together. 0 for nothing.
    focal_gamma
        How fast well-told candidates count less.
    positive_weight
        What a hit counts for beside a miss.
    negatives
        Candidates without a hit drawn from a list at each epoch; 0 takes all of them.
    popular_negatives
        Items drawn by popularity in addition, as misses.
    batch_negatives
        Hits of other lists of the batch in addition, as misses.
    text_query_share
        Share of the training lists that stand for a free text query: the texts of one to three
        items of the history in place of history and stage-one features, those items among the hits.
    learning_rate, head_learning_rate
        Peak rates of AdamW for the encoder, or its adapter, and for everything new.
    weight_decay
        AdamW's weight decay of matrices.
    warmup_ratio
        Share of all steps in which the rate rises; it then falls linearly to zero.
    max_epochs, patience
        Training ends after `max_epochs`, or when the loss on the early-stopping users has not
        fallen for `patience` epochs; the best epoch is kept. 0 epochs leave the weights as they
        start.
    batch_lists
        Candidate lists a batch.
    gradient_accumulation_steps
        Batches a step of the optimiser.
    max_grad_norm
        Longer gradients are shortened to this length.
    bf16
        Whether products are computed in bfloat16 (mixed precision); ``"auto"`` does so where the
        processor or GPU has instructions for it.
    device
        Where the text model is trained: ``"auto"`` takes a GPU where torch sees one, ``"cuda"``
        insists on it, ``"cpu"`` never does.
    layers
        ``"joint"`` trains the joint layers; ``"all"`` also embeddings and lower layers, whose token
        states are then made anew: many times the work.
    averaging
        Decay of the running mean of the weights, which is what is measured and kept (Polyak and
        Juditsky 1992); 0 keeps the weights as the last step left them.
    swa_epochs
        Once there are so many epochs, the plain mean of their ends is measured beside the best and
        kept if it is better (stochastic weight averaging, Izmailov et al. 2018); 0 for never.
    members
        Rankers that are trained, each with another seed; of several, their mean is kept.
    ensemble
        How several become one: ``"soup"`` averages their weights (Wortsman et al. 2022),
        ``"distil"`` teaches one what all say on average.
    dropout
        Dropout in the joint layers and before the head.
    consistency
        Weight of the distance between two passes with other dropout (R-Drop, Liang et al. 2021); 0
        for one pass.
    collaborative_dropout
        Share of training lists in which the collaborative part of all soft tokens is left out, so
        that items without interactions are served well.
    history_dropout
        Chance of each event of a history to be left out, never of all.
    history_truncation
        Share of training lists of which only some latest events are read.
    max_lists
        Train on at most so many labelled lists; ``None`` for all.
    init_from
        Folder of an artefact whose ranker the training starts from, instead of the plain encoder.
    stop_share, calibration_share
        Shares of the labelled users set aside for early stopping and for calibration; the former
        calibrate too.
    calibration
        ``"temperature"`` (scale and shift of the logit), ``"isotonic"``, or ``"auto"``, the better
        of the two by cross-validated log-loss.
    checkpoint_steps
        An interrupted training is taken up where it stood after so many steps; 0 begins it anew.
    report_to
        Where else the course is told, beside ``training.jsonl``: ``"tensorboard"``, ``"wandb"``.
    adapter
        Few new weights in place of the encoder's own.
    adversary
        Learning against small changes.
    augmentation
        Other wordings of the item texts.
    pseudo_labels
        Learning from lists without labels.
    """

    objective: Objective = "bce"
    order_weight: float = 0.6
    focal_gamma: float = 2.0
    positive_weight: float = 1.0
    negatives: int = 31
    popular_negatives: int = 0
    batch_negatives: int = 0
    text_query_share: float = 0.1
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    max_epochs: int = 3
    patience: int = 2
    batch_lists: int = 16
    gradient_accumulation_steps: int = 1
    max_grad_norm: float = 1.0
    bf16: Narrow = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    layers: Literal["joint", "all"] = "joint"
    averaging: float = 0.99
    swa_epochs: int = 0
    members: int = 1
    ensemble: Literal["soup", "distil"] = "soup"
    dropout: float = 0.1
    consistency: float = 0.0
    collaborative_dropout: float = 0.1
    history_dropout: float = 0.0
    history_truncation: float = 0.0
    max_lists: int | None = None
    init_from: str | None = None
    stop_share: float = 0.1
    calibration_share: float = 0.1
    calibration: Literal["auto", "temperature", "isotonic"] = "auto"
    checkpoint_steps: int = 200
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ()
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    adversary: AdversarySettings = field(default_factory=AdversarySettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    pseudo_labels: PseudoLabelSettings = field(default_factory=PseudoLabelSettings)

    def __post_init__(self) -> None:
        require(
            self,
            "ranker.training",
            at_least_one=(
                "patience",
                "batch_lists",
                "gradient_accumulation_steps",
                "members",
                "max_lists",
            ),
            natural=(
                "negatives",
                "popular_negatives",
                "batch_negatives",
                "max_epochs",
                "swa_epochs",
                "checkpoint_steps",
                "consistency",
                "order_weight",
                "focal_gamma",
            ),
            positive=("learning_rate", "head_learning_rate", "max_grad_norm", "positive_weight"),
            shares=(
                "text_query_share",
                "dropout",
                "collaborative_dropout",
                "history_dropout",
                "history_truncation",
                "warmup_ratio",
                "averaging",
                "stop_share",
                "calibration_share",
            ),
        )
