"""Measures in a process of its own, whose memory is its own as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.harness.fingerprints import ROOT
from twofold.indexing.errors import TwofoldError


def told_by(module: str, *arguments: str) -> dict[str, Any]:
    """Return the JSON object that a module prints as its last line, run as a program.

    Parameters
    ----------
    module
        Dotted name.
    arguments
        Of its command line.

    Raises
    ------
    TwofoldError
        If it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TwofoldError(f"the process of {module} failed: {done.stderr.strip()[-1000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
