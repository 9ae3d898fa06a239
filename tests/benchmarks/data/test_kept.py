"""What suites keep on disk is taken again, and made anew where what it depends on changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import catalogues, grown
from benchmarks.data.catalogues import catalogue_of, held_out_queries
from benchmarks.data.datasets import DataSet
from benchmarks.data.kept import kept, sources
from twofold.indexing.progress import Silent
from twofold.indexing.writer import GenerationWriter
from twofold.retrieval.stage_one import texts_to_ask
from twofold.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_same_key_is_made_once_and_half_a_part_is_made_again() -> None:
    made: list[int] = []

    def make(writer: GenerationWriter) -> None:
        made.append(1)
        writer.put_array("numbers", np.arange(len(made)))
        if len(made) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept("part", {"n": 1}, make, Silent())
    for _ in range(2):
        assert len(kept("part", {"n": 1}, make, Silent()).array("numbers")) == 2
    assert len(made) == 2
    assert len(kept("part", {"n": 2}, make, Silent()).array("numbers")) == 3


def test_sources_change_with_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sources((grown,))
    copied = tmp_path / "grown.py"
    copied.write_text(Path(str(grown.__file__)).read_text() + "\n# more")
    monkeypatch.setattr(grown, "__file__", str(copied))
    assert sources((grown,)) != before


def test_a_catalogue_is_grown_and_tuned_once(
    small_data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("grown_vectors", "well_searched"):
        original = getattr(catalogues, name)

        def watched(
            *given: object, _name: str = name, _original: object = original, **more: object
        ) -> object:
            steps.append(_name)
            return _original(*given, **more)  # type: ignore[operator]

        monkeypatch.setattr(catalogues, name, watched)

    def asked(*overrides: str, n_items: int = 2000) -> object:
        steps.clear()
        own = ("index.kind=IVF16,SQ8", "index.recall_target=0.9", *overrides)
        settings: Settings = load_settings(None, (*small_data.settings, *own))
        return catalogue_of(small_data, settings, n_items, Silent())

    first = asked()
    assert steps == ["grown_vectors", "well_searched"]
    again = asked()
    assert steps == []
    assert isinstance(first, catalogues.Catalogue)
    assert isinstance(again, catalogues.Catalogue)
    assert first.index.proposer is not None
    assert again.index.proposer is not None
    assert again.index.proposer.about == first.index.proposer.about
    queries = held_out_queries(again)
    for one, other in zip(
        first.index.search(queries, 9), again.index.search(queries, 9), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    tuned = texts_to_ask(
        again.log, again.exact.vectors, again.settings.stage_one, again.settings.seed
    )
    known = {row.tobytes() for row in tuned}
    assert len(queries)
    assert len(queries) == len(tuned) or not any(row.tobytes() in known for row in queries)
    asked("index.recall_target=0.8")
    assert steps == ["well_searched"]
    asked("threads=2")
    assert steps == ["well_searched"]
    asked(n_items=2500)
    assert steps == ["grown_vectors", "well_searched"]
