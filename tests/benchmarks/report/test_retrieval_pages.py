"""Pages of stage one name the indexes that are faster, with the threads that asked them."""

from __future__ import annotations

import pytest

from benchmarks.report.verdicts import index_verdicts


@pytest.mark.parametrize(("askers", "said"), [(1, "on 1 thread ("), (2, "on 2 threads (")])
def test_a_faster_index_is_named_with_the_threads_that_asked_it(askers: int, said: str) -> None:
    about = {"dataset": "toys", "n_items": 1000, "threads": 1, "recall": 0.99, "askers": askers}
    ours = {**about, "index": "ours", "peer": False, "ours_over_this": 1.0}
    other = {**about, "index": "other", "peer": True, "ours_over_this": 0.5}
    ((verdict, text),) = index_verdicts([ours, other])
    assert verdict == "behind"
    assert f"answers 2.00 times as many {said}" in text
