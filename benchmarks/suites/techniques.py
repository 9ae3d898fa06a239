"""The cells of the training suite: which settings each changes.

With ``--set ranker.training.init_from=DIR`` the cells of few lists tell what a ranker of another
domain is worth: ``no epoch`` is then zero-shot.
"""

from __future__ import annotations

TRAINING = "ranker.training."
SEEDS = (1, 2)  # beside 0
# The default, what trains few weights, and all whose NDCG@10 on MovieLens-100k was within 1 % of
# the best one's: there a seed decides which is first.
CLOSE = (
    *("default", "LoRA", "hits count 5 times", "history dropout", "history truncation"),
    *("no text queries", "4 epochs", "pairwise"),
)


def _cells() -> dict[str, tuple[str, ...]]:
    """Return the settings of each cell beside the data set's own."""
    named = {
        "default": (),
        "LoRA": ("adapter.kind=lora",),
        "AdaLoRA": ("adapter.kind=adalora",),
        "prefix": ("adapter.kind=prefix",),
        "float32": ("bf16=false",),
        "listwise": ("objective=listwise",),
        "pairwise": ("objective=pairwise",),
        "focal": ("objective=focal",),
        "hits count 5 times": ("positive_weight=5.0",),
        "FGM": ("adversary.kind=fgm",),
        "FreeLB": ("adversary.kind=freelb",),
        "PGD": ("adversary.kind=pgd",),
        "R-Drop": ("consistency=1.0",),
        "other wordings": ("augmentation.variants=3",),
        "history dropout": ("history_dropout=0.1",),
        "history truncation": ("history_truncation=0.2",),
        "factors always there": ("collaborative_dropout=0.0",),
        "factors left out oftener": ("collaborative_dropout=0.3",),
        "no dropout": ("dropout=0.0",),
        "no text queries": ("text_query_share=0.0",),
        "all candidates": ("negatives=0",),
        "popular negatives": ("popular_negatives=8",),
        "in-batch negatives": ("batch_negatives=8",),
        "no running mean": ("averaging=0.0",),
        "mean of epochs": ("swa_epochs=1", "averaging=0.0"),
        "soup of 3": ("members=3",),
        "3 distilled into one": ("members=3", "ensemble=distil"),
        "pseudo-labels": ("pseudo_labels.rounds=1",),
        "rate 3e-5": ("learning_rate=3e-5",),
        "rate 3e-4": ("learning_rate=3e-4",),
        "4 epochs": ("max_epochs=4",),
        "steps of 2 batches": ("gradient_accumulation_steps=2",),
        "64 lists": ("max_lists=64",),
        "256 lists": ("max_lists=256",),
        "1,024 lists": ("max_lists=1024",),
        "no epoch": ("max_epochs=0",),
        # At the default's rate, which suits one layer, nothing was learned that was kept.
        "all layers, rate 2e-5": ("layers=all", "learning_rate=2e-5"),
    }
    out = dict[str, tuple[str, ...]]()
    for name, changes in named.items():
        out[name] = tuple(TRAINING + one for one in changes)
        for seed in SEEDS if name in CLOSE else ():
            out[f"{name}, seed {seed}"] = (*out[name], f"seed={seed}")
    return out


CELLS = _cells()
