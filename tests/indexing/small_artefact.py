"""A small artefact, for tests of how artefacts are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from twofold.indexing.artefact import (
    Generation,
    begin_generation,
    stage_key,
)

ABOUT = {"settings": {"factors": 8}, "seed": 7, "counts": {"items": 3}}
FRAME = pl.DataFrame({"item_id": ["a", "b", "c"], "tags": [["x"], [], None]})


def build(
    root: Path, values: int = 3, *, about: dict[str, Any] = ABOUT, keep: int = 2
) -> Generation:
    with begin_generation(root, keep=keep) as writer:
        writer.put_array("factors/users", np.arange(values, dtype=np.float32))
        writer.put_frame("items", FRAME)
        writer.finish("data", stage_key(values))
        writer.put_json("kinds", ["view", "purchase"])
        writer.path("ranker/model.bin").write_bytes(b"weights")
        return writer.commit(about, measurements={"seconds": 1.5})
