"""Kept machine code goes once a source that it may hold is newer."""

from __future__ import annotations

import os
from pathlib import Path

from tests.machine_code import forget_old


def _write(path: Path, when: int, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (when, when))
    return path


def test_machine_code_older_than_a_compiled_source_goes(tmp_path: Path) -> None:
    caller, called = tmp_path / "caller", tmp_path / "called"
    kept = _write(caller / "__pycache__" / "a.f-1.py311.nbi", 200)
    code = _write(caller / "__pycache__" / "a.f-1.py311.1.nbc", 200)
    bytecode = _write(caller / "__pycache__" / "a.cpython-311.pyc", 100)
    _write(caller / "a.py", 100, "@compiled\ndef f(): ...\n")
    source = _write(called / "b.py", 150, "@compiled\ndef g(): ...\n")
    _write(called / "c.py", 300, "x = 1\n")
    assert forget_old([caller, called]) == 0
    os.utime(source, (250, 250))
    assert forget_old([caller, called]) == 2
    assert not kept.exists()
    assert not code.exists()
    assert bytecode.exists()
