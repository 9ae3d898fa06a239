"""Where twofold keeps what it can fetch or find out again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for what may be fetched again: ``$XDG_CACHE_HOME/twofold``."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The specification asks to ignore a relative path.
    base = Path(home) if os.path.isabs(home) else Path.home() / ".cache"
    return base / "twofold"
