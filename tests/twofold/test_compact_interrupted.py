"""A compaction that is killed or fails leaves the old generation, and is taken up again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.twofold.later import LATER, REST, bring_events, bring_rest, event_of, hashes
from twofold import Engine
from twofold.compact import compact
from twofold.indexing.artefact import open_artefact, verify
from twofold.indexing.live_log import LiveLog

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def artefact(first_plain: Path, tmp_path: Path) -> Path:
    """A copy of what was there first, to write to."""
    return Path(shutil.copytree(first_plain, tmp_path / "own"))


def _run(*what: tuple[Path, int]) -> list[list[str]]:
    """Compact artefacts, each killed at a step; return how each ended."""
    told = subprocess.run(
        [
            *(sys.executable, "-m", "tests.twofold.killed_compaction"),
            *(str(one) for pair in what for one in pair),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert told.returncode == 0, told.stderr
    return [line.split() for line in told.stdout.splitlines()]


def test_a_kill_at_any_moment_leaves_the_old_generation_and_loses_nothing(
    artefact: Path, tmp_path: Path, whole_plain: Path
) -> None:
    bring_rest(artefact)
    old = open_artefact(artefact).manifest["content_hash"]
    shutil.copytree(artefact, tmp_path / "lived")
    ((how, steps),) = _run((tmp_path / "lived", 0))
    assert how == "lived"
    taken = int(steps)
    wanted = open_artefact(tmp_path / "lived").manifest["content_hash"]
    points = sorted({*np.linspace(1, taken, 7, dtype=int).tolist(), taken - 1, taken - 3})
    roots = [tmp_path / f"killed-{point}" for point in points]
    for root in roots:
        shutil.copytree(artefact, root)
    ended = _run(*zip(roots, points, strict=True))
    assert ended == [["killed", str(int(signal.SIGKILL))]] * len(points)
    resumed, published = 0, 0
    for root in roots:
        log = LiveLog(root)
        assert log.count() == REST.height
        generation = open_artefact(root)
        assert verify(generation) == []
        assert generation.manifest["content_hash"] in (old, wanted)
        if generation.name == "0001":
            resumed += any(root.glob("generations/.partial-0002/stages/*.json"))
            assert compact(root).content_hash == wanted
        else:
            published += 1
        assert hashes(open_artefact(root)) == hashes(open_artefact(whole_plain))
        assert compact(root).generation is None
        assert log.count() == REST.height  # the build is kept
        log.close()
    with Engine.load(roots[1]) as engine:
        assert engine.recommend("u1", 3)
    assert resumed > 2
    assert published > 0


def test_an_interrupted_compaction_is_taken_up_up_to_where_it_had_read(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_events(artefact, event_of("u1", "i2"))
    with monkeypatch.context() as patch:
        patch.setattr("twofold.compact.fitted_again", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compact(artefact)
    assert open_artefact(artefact).name == "0001"
    bring_events(artefact, event_of("u1", "i3", LATER + 1))
    assert compact(artefact).taken["events"] == 1
    assert open_artefact(artefact).manifest["live"]["events"] == 1
    assert compact(artefact).taken["events"] == 1
    assert open_artefact(artefact).manifest["live"]["events"] == 2
