"""The examples run as they stand."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

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
