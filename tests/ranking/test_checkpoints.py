"""A checkpoint is that of its very training, and whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from twofold.ranking import checkpoints
from twofold.ranking.checkpoints import NAME, Checkpoints


def _save(kept: Checkpoints, step: int) -> None:
    parts = {
        "weights": {"a/b": torch.full((2, 3), float(step)), "c": torch.tensor([step])},
        "mean": {"c": torch.tensor([0.5])},
        "adapter": {},
    }
    kept.save(parts, {"step": step, "losses": [0.1, 1 / 3], "epochs": [{"loss": None}]})


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "not" / "there", "key", 3)
    assert kept.load() is None
    _save(kept, 3)
    _save(kept, 6)
    found = kept.load()
    assert found is not None
    assert found.about == {"step": 6, "losses": [0.1, 1 / 3], "epochs": [{"loss": None}]}
    weights = found.part("weights")
    assert sorted(weights) == ["a/b", "c"]
    assert torch.equal(weights["a/b"], torch.full((2, 3), 6.0))
    assert (weights["c"].dtype, weights["c"].tolist()) == (torch.int64, [6])
    assert found.part("mean")["c"].tolist() == [0.5]
    assert found.part("adapter") == found.part("wei") == {}
    # The latest alone.
    assert [one.name for one in kept.folder.iterdir()] == [NAME]


def test_views_and_shared_tensors_are_kept_as_they_are_now(tmp_path: Path) -> None:
    whole = torch.arange(6.0, requires_grad=True)
    kept = Checkpoints(tmp_path, "key", 1)
    kept.save({"one": {"w": whole, "turned": whole.view(2, 3).T}, "other": {"w": whole}}, {})
    found = kept.load()
    assert found is not None
    assert found.part("one")["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert torch.equal(found.part("other")["w"], whole.detach())
    assert not found.part("one")["w"].requires_grad


def test_another_training_is_not_taken_up(tmp_path: Path) -> None:
    _save(Checkpoints(tmp_path, "key", 3), 3)
    other = Checkpoints(tmp_path, "other key", 3)
    assert other.load() is None
    _save(other, 9)
    found = other.load()
    assert found is not None
    assert found.about["step"] == 9
    assert Checkpoints(tmp_path, "key", 3).load() is None


def test_a_training_that_keeps_nothing_takes_nothing_up(tmp_path: Path) -> None:
    _save(Checkpoints(tmp_path, "key", 3), 3)
    assert Checkpoints(tmp_path, "key", 0).load() is None
    assert Checkpoints(tmp_path, "key", 1).load() is not None


def test_it_is_due_after_every_so_many_steps() -> None:
    every = Checkpoints(Path("unused"), "key", 3)
    assert [step for step in range(1, 10) if every.due(step)] == [3, 6, 9]
    never = Checkpoints(Path("unused"), "key", 0)
    assert not any(never.due(step) for step in range(1, 10))


@pytest.mark.parametrize(("owner", "name"), [(checkpoints, "sync_file"), (os, "replace")])
def test_one_that_is_cut_off_leaves_that_of_before(
    owner: object, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    first, kept = (
        Checkpoints(tmp_path / "first", "key", 1),
        Checkpoints(tmp_path / "later", "key", 1),
    )
    _save(kept, 1)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, cut_off)
        for one in (first, kept):
            with pytest.raises(KeyboardInterrupt):
                _save(one, 2)
    assert first.load() is None
    found = kept.load()
    assert found is not None
    assert (found.about["step"], found.part("weights")["c"].tolist()) == (1, [1])
    # What was left half done is in nobody's way.
    _save(kept, 3)
    found = kept.load()
    assert found is not None
    assert found.about["step"] == 3
    assert [one.name for one in kept.folder.iterdir()] == [NAME]


def test_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for owner, name in ((checkpoints, "sync_file"), (os, "replace"), (checkpoints, "sync_folder")):
        real = getattr(owner, name)

        def noted(*of: Path, name: str = name, real: object = real) -> None:
            done.append(f"{name} {of[0].name}")
            real(*of)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, noted)
    _save(Checkpoints(tmp_path, "key", 1), 1)
    partial = f".{NAME}.partial"
    assert done == [f"sync_file {partial}", f"replace {partial}", f"sync_folder {tmp_path.name}"]
