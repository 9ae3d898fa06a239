from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twofold.ranking import precision

CPU = torch.device("cpu")


def cpuinfo(folder: Path, flags: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    return file


def test_processor_flags_are_read(tmp_path: Path) -> None:
    file = cpuinfo(tmp_path, "fpu avx512_bf16 sse")
    assert precision.cpu_flags(file) == {"fpu", "avx512_bf16", "sse"}
    assert precision.bf16_flags(file) == ("avx512_bf16",)
    assert precision.cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(("flags", "narrow"), [("fpu amx_bf16", True), ("fpu avx2", False)])
def test_bfloat16_where_the_processor_has_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, narrow: bool
) -> None:
    found = precision.bf16_flags(cpuinfo(tmp_path, flags))
    monkeypatch.setattr(precision, "bf16_flags", lambda: found)
    assert precision.in_bf16("auto", CPU) is narrow
    assert precision.in_bf16(True, CPU)
    assert not precision.in_bf16(False, CPU)


@pytest.mark.parametrize("has", [True, False])
def test_a_gpu_is_asked_itself(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    def supported(*, including_emulation: bool) -> bool:
        assert not including_emulation
        return has

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert precision.in_bf16("auto", torch.device("cuda")) is has
