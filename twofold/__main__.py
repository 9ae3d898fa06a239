"""``python -m twofold`` is ``twofold``."""

from __future__ import annotations

from twofold.cli import main

main()
