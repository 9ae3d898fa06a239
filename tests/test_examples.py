"""The examples run as they stand."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from fastapi.testclient import TestClient

from twofold.engine import Engine

SERVE = Path(__file__).parents[1] / "examples" / "serve.py"


@pytest.fixture
def client(small_artefact: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("TWOFOLD_ARTEFACT", str(small_artefact))
    with TestClient(runpy.run_path(str(SERVE))["app"]) as running:
        yield running


def test_the_server_recommends_and_searches(client: TestClient, small_artefact: Path) -> None:
    with Engine.load(small_artefact) as engine:
        expected = [one.item_id for one in engine.recommend("u0", 3)]
        found = [one.item_id for one in engine.search("space robot", 4)]
    answer = client.get("/recommend/u0", params={"k": 3})
    assert answer.status_code == 200
    assert [one["item_id"] for one in answer.json()] == expected
    answer = client.get("/search", params={"q": "space robot", "k": 4})
    assert [one["item_id"] for one in answer.json()] == found


def test_the_server_answers_for_unknown_users(client: TestClient) -> None:
    answer = client.get("/recommend/nobody", params={"k": 2}).json()
    assert [one["probability"] for one in answer] == [None, None]


@pytest.mark.parametrize("path", ["/recommend/u0?k=0", "/search?q=%20", "/search"])
def test_the_server_refuses_what_makes_no_sense(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 422


@contextmanager
def _gunicorn(app: str, folder: Path, artefact: Path, *options: str) -> Iterator[str]:
    """Run two real worker processes, and end them as a supervisor would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "gunicorn", app, "--workers=2", "--worker-class=asgi"]
    environment = {**os.environ, "TWOFOLD_ARTEFACT": str(artefact), "OMP_NUM_THREADS": "1"}
    log = folder / "server.log"
    with log.open("w") as told:
        server = subprocess.Popen(
            [*command, f"--bind={address}", *options], cwd=folder, env=environment, stderr=told
        )
        try:
            yield f"http://{address}"
        finally:
            server.terminate()
            status = server.wait(timeout=30)
    assert status == 0, log.read_text()


def _answer(url: str) -> tuple[int, str]:
    """Return status and body, waiting for the server to come up."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(url) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn forks")
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["each loads", "preload"])
def test_gunicorn_serves_it_with_and_without_preload(
    small_artefact: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "serve.py").write_text(SERVE.read_text())
    with Engine.load(small_artefact) as engine:
        expected = [one.item_id for one in engine.recommend("u0", 3)]
    with _gunicorn("serve:app", tmp_path, small_artefact, *options) as url:
        for _ in range(10):
            status, body = _answer(f"{url}/recommend/u0?k=3")
            assert (status, [one["item_id"] for one in json.loads(body)]) == (200, expected)


LOADED_BEFORE_THE_FORK = """
import os
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from twofold import Engine

engine = Engine.load(os.environ["TWOFOLD_ARTEFACT"])
app = FastAPI()


@app.get("/recommend/{user}")
async def recommend(user: str) -> PlainTextResponse:
    try:
        await engine.arecommend(user)
    except Exception as error:
        return PlainTextResponse(str(error), 500)
    return PlainTextResponse("answered")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn forks")
def test_an_engine_loaded_before_gunicorn_forks_says_so(
    small_artefact: Path, tmp_path: Path
) -> None:
    (tmp_path / "early.py").write_text(LOADED_BEFORE_THE_FORK)
    with _gunicorn("early:app", tmp_path, small_artefact, "--preload") as url:
        status, body = _answer(f"{url}/recommend/u0")
        assert status == 500
        assert "after a fork; call Engine.load in each worker" in body
