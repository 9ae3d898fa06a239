"""A log walked forward: nothing of a window, and nothing after it, is known before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from benchmarks.harness.windows import walk_forward
from tests.twofold.small_world import small_tables
from twofold.indexing.data_settings import DataSettings
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.errors import InputError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tables")
    interactions, items = small_tables()
    # Twelve events a moment, so that borders fall among labels of one time; some are no labels.
    interactions = interactions.with_columns(
        timestamp=interactions["timestamp"] // 43_200 * 43_200,
        event_type=interactions["timestamp"].map_elements(
            lambda time: "impression" if time // 3600 % 5 == 0 else "purchase",
            return_dtype=pl.String,
        ),
    )
    interactions.write_parquet(folder / "interactions.parquet")
    items.write_parquet(folder / "items.parquet")
    return load_dataset(
        folder / "interactions.parquet", folder / "items.parquet", DataSettings(), seed=0
    )


@pytest.mark.parametrize(("n", "first"), [(1, 0.5), (4, 0.5), (3, 0.8)])
def test_windows_follow_one_another(dataset: Dataset, n: int, first: float) -> None:
    log, splits = dataset.interactions, list(walk_forward(dataset, n, first=first))
    assert 0 < log.labels.sum() < len(log)
    assert len(splits) == n
    tested = np.zeros(len(log), dtype=int)
    for split in splits:
        begin, end = log.times[split.test].min(), log.times[split.test].max()
        known = split.train | split.context
        assert log.labels[split.test].all()
        assert log.times[known].max() < begin
        # All that came before is known, whatever it is.
        assert (log.times[~known] >= begin).all()
        assert log.labels[split.train].all()
        assert not split.validation.any()
        # Labels of one time stand together.
        inside = (log.times >= begin) & (log.times <= end) & log.labels
        np.testing.assert_array_equal(split.test, inside)
        tested += split.test
    # Every label from the first window on is tested once.
    later = log.labels & (log.times >= log.times[splits[0].test].min())
    np.testing.assert_array_equal(tested, later.astype(int))
    sizes = [int(split.test.sum()) for split in splits]
    assert max(sizes) - min(sizes) <= 2 * 12
    assert abs(splits[0].train.sum() / log.labels.sum() - first) < 0.03


def test_no_times_no_windows_and_too_few_times_are_refused(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="has none"):
        next(walk_forward(replace(dataset, has_times=False), 2))
    for n, first in ((0, 0.5), (2, 0.0), (2, 1.0)):
        with pytest.raises(InputError, match="needs n >= 1"):
            next(walk_forward(dataset, n, first=first))
    log = dataset.interactions
    for times in (np.zeros_like(log.times), (np.arange(len(log)) > len(log) // 3).astype(np.int64)):
        few = replace(dataset, interactions=replace(log, times=times))
        with pytest.raises(InputError, match="too few distinct times"):
            list(walk_forward(few, 3))
