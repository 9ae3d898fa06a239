"""An engine tells a tracer of the parts of each request, and answers as it would without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.twofold import small_world
from twofold.engine import Engine
from twofold.indexing.tracing import UNTRACED
from twofold.settings import Settings


class Heard:
    """A tracer that remembers what it was told, and how deep."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, tuple[int, ...]]] = []
        self._depth = 0

    @contextmanager
    def span(self, part: str, sources: Sequence[int] = ()) -> Iterator[None]:
        """Remember a part."""
        self.told.append((self._depth, part, tuple(sources)))
        self._depth += 1
        yield
        self._depth -= 1

    def at(self, depth: int) -> list[str]:
        """Return the parts at a depth, in the order they began."""
        return [part for here, part, _ in self.told if here == depth]


def test_a_request_is_told_part_by_part_and_answered_the_same(small_artefact: Path) -> None:
    heard = Heard()
    with (
        Engine.load(small_artefact, runtime="float32", tracer=heard) as traced,
        Engine.load(small_artefact, runtime="float32") as alone,
    ):
        assert traced.recommend("u1", 5) == alone.recommend("u1", 5)
        n_sources = len(traced.stages.retriever.sources)
    assert heard.at(0) == ["history", "rules", "answer together"]
    assert heard.at(1) == ["stage one", "stage two", "naming"]
    # Every source answers, proposes, and is looked up once, by itself or with its like.
    for part in ("answer", "propose", "look up"):
        of = sorted(one for _, name, sources in heard.told if name == part for one in sources)
        assert of == list(range(n_sources))
    assert heard.at(2)[-3:] == ["features", "fusion", "order"]


def test_who_has_no_history_is_answered_by_a_single_source(small_artefact: Path) -> None:
    heard = Heard()
    with Engine.load(small_artefact, runtime="float32", tracer=heard) as engine:
        engine.recommend("nobody", 5)
    assert heard.at(2) == ["single source"]


def test_a_tracer_goes_along_to_the_next_generation(
    tmp_path: Path, small_settings: Settings
) -> None:
    small_world.build_small(tmp_path / "one", small_settings)
    heard = Heard()
    with Engine.load(tmp_path / "one", runtime="float32", tracer=heard) as engine:
        engine.add_events([{"user_id": "new", "item_id": "i3", "timestamp": 1_800_000_000}])
        engine.compact()
        heard.told.clear()
        engine.recommend("u1", 5)
    assert "stage two" in heard.at(1)


def test_nobody_is_told_nothing() -> None:
    with UNTRACED.span("outer"), UNTRACED.span("inner", [1]) as told:
        assert told is None
