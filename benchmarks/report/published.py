"""Numbers that others have published on the same data and protocol, to stand beside ours.

Nothing here was run by this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published system.

    Parameters
    ----------
    system
        Its name, as published.
    numbers
        Column -> number; what was not published is not there.
    source
        Who published it.
    """

    system: str
    numbers: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Table:
    """Published rows of one data set and protocol.

    Parameters
    ----------
    columns
        Name as published -> the metric that is ours.
    rows
        The systems.
    compared
        Columns that are measured as ours are.
    notes
        What differs from what is measured here, in sentences.
    beside
        Further systems of ours to show: those that follow the published recipe.
    """

    columns: Mapping[str, str]
    rows: tuple[Published, ...]
    compared: tuple[str, ...]
    notes: tuple[str, ...]
    beside: tuple[str, ...] = ()


BY_TEXT = ("text alone", "text alone, reranked")
S3REC = "Zhou et al., S3-Rec, CIKM 2020"
REPRO = "Petrov and Macdonald, bert4rec_repro re-runs"
IF_RECOMMENDER = "NOTES.md of ehenestroza/if-recommender"

# One label is held out of each user, so that a hit rate and a recall are the same number.
_BEAUTY_COLUMNS = {
    "HR@5": "recall@5",
    "NDCG@5": "ndcg@5",
    "HR@10": "recall@10",
    "NDCG@10": "ndcg@10",
    "HR@20": "recall@20",
    "NDCG@20": "ndcg@20",
}
_TEN = {"HR@10": "recall@10", "NDCG@10": "ndcg@10"}
_IFDB_COLUMNS = {"Recall@10": "recall@10", "NDCG@10": "ndcg@10", "MRR": "mrr@10"}


def _row(
    system: str, columns: Mapping[str, str], numbers: tuple[float, ...], source: str
) -> Published:
    return Published(system, dict(zip(columns, numbers, strict=True)), source)


BEAUTY = Table(
    _BEAUTY_COLUMNS,
    (
        _row("PopRec", _BEAUTY_COLUMNS, (0.0080, 0.0044, 0.0152, 0.0068, 0.0217, 0.0084), S3REC),
        _row("GRU4Rec", _BEAUTY_COLUMNS, (0.0164, 0.0099, 0.0283, 0.0137, 0.0479, 0.0187), S3REC),
        _row("SASRec", _BEAUTY_COLUMNS, (0.0387, 0.0249, 0.0605, 0.0318, 0.0902, 0.0394), S3REC),
        _row("S3-Rec", _BEAUTY_COLUMNS, (0.0387, 0.0244, 0.0647, 0.0327, 0.0994, 0.0414), S3REC),
        _row("MF-BPR", _TEN, (0.0185, 0.0090), REPRO),
        _row("BERT4Rec (RecTools)", _TEN, (0.0434, 0.0242), REPRO),
        _row("SASRec (RecTools, softmax)", _TEN, (0.0595, 0.0359), REPRO),
    ),
    tuple(_BEAUTY_COLUMNS),
    (
        "Leave-one-out, ranked among all items, seen ones left out; HR is the share of users "
        "whose one held-out item is among the first k.",
    ),
)

IFDB = Table(
    _IFDB_COLUMNS,
    (
        _row("two-tower MiniLM", _IFDB_COLUMNS, (0.3606, 0.2743, 0.2574), IF_RECOMMENDER),
        _row("+ cross-encoder rerank", _IFDB_COLUMNS, (0.4315, 0.3097, 0.2847), IF_RECOMMENDER),
    ),
    ("Recall@10", "NDCG@10"),
    (
        "Published on the same 1,887 test users among 10,087 games; here 6,103 games have a text, "
        "and what users took of the others counts as missed, so that the tasks are alike and not "
        "the same.",
        "MRR here looks no further than rank 10.",
    ),
    BY_TEXT,
)

PUBLISHED: Mapping[tuple[str, str, str], Table] = {
    ("quality", "amazon-beauty-2014-5core", "leave-one-out"): BEAUTY,
    ("profiles", "ifdb", "file"): IFDB,
}
"""Suite, data set and split -> what was published on them."""
