"""Serve an artefact over HTTP.

TWOFOLD_ARTEFACT=movies.twofold uvicorn examples.serve:app

Every worker process loads its own engine: an engine does not survive a fork.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request

from twofold import Engine
from twofold.indexing.errors import InputError

K = Annotated[int, Query(ge=1, le=1000)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the engine as long as the app runs."""
    with Engine.load(os.environ["TWOFOLD_ARTEFACT"]) as engine:
        app.state.engine = engine
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/recommend/{user}")
async def recommend(request: Request, user: str, k: K = 10) -> list[dict[str, Any]]:
    """Return the best items for a user; somebody unknown gets what trends."""
    engine: Engine = request.app.state.engine
    return [one.to_dict() for one in await engine.arecommend(user, k)]


# Not async: FastAPI runs it in a thread of its own, so that it blocks nobody.
@app.get("/search")
def search(request: Request, q: str, k: K = 10) -> list[dict[str, Any]]:
    """Return the best items for a free text."""
    engine: Engine = request.app.state.engine
    try:
        return [one.to_dict() for one in engine.search(q, k)]
    except InputError as error:
        raise HTTPException(422, str(error)) from error
