from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.datasets import DataSet
from tests.twofold.small_world import small_tables


@pytest.fixture
def small_data(tmp_path: Path, tiny_sentence_model: Path, tiny_bert: Path) -> DataSet:
    """Return the small world as a data set, with tiny models on one thread."""
    interactions, items = small_tables()
    interactions.write_parquet(tmp_path / "interactions.parquet")
    items.write_parquet(tmp_path / "items.parquet")
    return DataSet(
        "small",
        tmp_path / "interactions.parquet",
        tmp_path / "items.parquet",
        "leave-last-n",
        1,
        (f'text.model="{tiny_sentence_model}"', f'ranker.model="{tiny_bert}"', "threads=1"),
    )
