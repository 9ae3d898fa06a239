"""Texts to vectors: as the model says, once a text, the same through cache, threads and order."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.indexing.tiny_models import make_sentence_model
from twofold.indexing.embedding_cache import EmbeddingCache
from twofold.indexing.errors import ArtefactError, EncoderError, InputError, SettingsError
from twofold.indexing.text import TextEncoder, TextSettings, brought_identity, check_identity

TEXTS = ["space opera", "red nail polish", "", "a war drama", "space opera", "   ", "x" * 200]


@pytest.fixture(scope="module")
def encoder(tiny_sentence_model: Path) -> TextEncoder:
    return load(tiny_sentence_model)


def load(folder: Path, **changes: Any) -> TextEncoder:
    return TextEncoder.load(TextSettings(model=str(folder), device="cpu", **changes))


def plain(folder: Path, texts: list[str], prompt: str, length: int) -> npt.NDArray[Any]:
    """Mean-pooled unit vectors by plain transformers, one text at a time."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    out = []
    for text in texts:
        tokens = tokenizer(prompt + text, return_tensors="pt", truncation=True, max_length=length)
        with torch.no_grad():
            states = model(**tokens).last_hidden_state[0]
        out.append(torch.nn.functional.normalize(states.mean(0), dim=0).numpy())
    return np.array(out)


@pytest.mark.parametrize("role", ["documents", "queries"])
def test_agrees_with_plain_transformers(
    encoder: TextEncoder, tiny_sentence_model: Path, role: str
) -> None:
    texts = ["space opera", "red nail polish", "x" * 200]
    prompt = {"documents": "item: ", "queries": "query: "}[role]
    encode = {"documents": encoder.encode_documents, "queries": encoder.encode_queries}[role]
    vectors = encode(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, plain(tiny_sentence_model, texts, prompt, 32), atol=1e-5)


def test_rows_follow_the_texts(encoder: TextEncoder) -> None:
    vectors = encoder.encode_documents(TEXTS)
    assert vectors.shape == (7, 32)
    np.testing.assert_array_equal(vectors[0], vectors[4])
    np.testing.assert_array_equal(vectors[[2, 5]], 0)
    np.testing.assert_allclose(np.linalg.norm(vectors[[0, 1, 3, 6]], axis=1), 1, atol=1e-6)
    for row, text in enumerate(TEXTS):
        alone = encoder.encode_documents([text])[0]
        np.testing.assert_allclose(alone, vectors[row], atol=1e-6)
    np.testing.assert_array_equal(encoder.encode_queries(["", " "]), 0)
    assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, 32)


def test_batches_are_bounded_and_keep_the_order(tiny_sentence_model: Path) -> None:
    texts = [f"{'space ' * (n % 7)}robot {n}" for n in range(50)]
    small, large = (load(tiny_sentence_model, batch_tokens=n) for n in (40, 100_000))
    ordered = sorted(texts, key=len)
    assert len(large._batches(ordered)) == 1
    assert max(map(len, small._batches(ordered))) < 10
    assert [text for batch in small._batches(ordered) for text in batch] == ordered
    for encode in ("encode_documents", "encode_queries"):
        one, other = getattr(small, encode)(texts), getattr(large, encode)(texts)
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_identity_tells_what_shapes_vectors(tiny_sentence_model: Path) -> None:
    identity = load(tiny_sentence_model).identity
    assert json.loads(json.dumps(identity)) == identity
    assert identity["prompts"] == {"query": "query: ", "document": "item: "}
    assert identity["dimension"] == 32
    assert identity["max_seq_length"] == 32
    assert identity["dtype"] == "float32"
    assert identity["revision"].startswith("sha256:")
    pooling = next(one for one in identity["modules"] if one["type"] == "Pooling")
    assert pooling["pooling_mode"] == "mean"


def test_settings_override_the_model(tiny_sentence_model: Path, encoder: TextEncoder) -> None:
    changed = load(
        tiny_sentence_model,
        query_prompt="",
        document_prompt="query: ",
        truncate_dim=8,
        max_seq_length=16,
        dtype="bfloat16",
    )
    assert changed.identity["prompts"] == {"query": "", "document": "query: "}
    assert changed.identity["dtype"] == "bfloat16"
    vectors = changed.encode_documents(["space opera"])
    assert vectors.shape == (1, 8)
    assert vectors.dtype == np.float32
    expected = encoder.encode_queries(["space opera"])[:, :8]
    assert float(vectors[0] @ expected[0]) / np.linalg.norm(expected) > 0.99


def test_another_encoder_is_refused(
    encoder: TextEncoder, tiny_sentence_model: Path, tmp_path: Path
) -> None:
    check_identity(encoder.identity, encoder)
    check_identity(json.loads(json.dumps(encoder.identity)), load(tiny_sentence_model))
    check_identity(encoder.identity, load(tiny_sentence_model, dtype="bfloat16"))
    other = load(make_sentence_model(tmp_path / "other", seed=1))
    with pytest.raises(ArtefactError, match="fingerprint differs"):
        check_identity(encoder.identity, other)
    with pytest.raises(ArtefactError, match="dimension differs"):
        check_identity(encoder.identity, load(tiny_sentence_model, truncate_dim=8))
    with pytest.raises(ArtefactError, match="prompts differs"):
        check_identity(encoder.identity, load(tiny_sentence_model, query_prompt=""))
    with pytest.raises(ArtefactError, match="brought from outside"):
        check_identity(brought_identity(32), encoder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truncate_dim": 64}, "vectors have 32 dimensions"),
        ({"max_seq_length": 65}, "has 64 positions"),
        ({"device": "cuda:0"}, "sees no CUDA GPU"),
    ],
)
def test_what_the_model_cannot_do(
    tiny_sentence_model: Path, changes: dict[str, Any], message: str
) -> None:
    if "device" in changes and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    settings = TextSettings(**{"model": str(tiny_sentence_model), "device": "cpu", **changes})
    with pytest.raises(EncoderError, match=message):
        TextEncoder.load(settings)


def test_a_model_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(EncoderError, match="cannot load the model") as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "changes", [{"model": ""}, {"truncate_dim": 0}, {"batch_tokens": 0}, {"dtype": "int8"}]
)
def test_settings_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        TextSettings(**changes)


def test_loading_changes_nothing_in_the_process(
    tiny_sentence_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ), torch.get_num_threads(), torch.get_rng_state().tolist()
    load(tiny_sentence_model).encode_queries(["space"])
    assert (dict(os.environ), torch.get_num_threads(), torch.get_rng_state().tolist()) == before
    assert capfd.readouterr().err == ""


def test_threads_may_share_it(encoder: TextEncoder) -> None:
    texts = [f"{'space ' * (n % 9)}robot" for n in range(48)]
    expected = encoder.encode_queries(texts)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: encoder.encode_queries([text])[0], texts))
    np.testing.assert_allclose(np.array(found), expected, atol=1e-6)


class Counted:
    """Progress that adds up what it is told."""

    def __init__(self) -> None:
        self.total, self.done = 0.0, 0.0

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Counted]:
        self.total += total or 0
        yield self

    def advance(self, amount: float = 1) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        return None


def test_a_rebuild_embeds_only_what_changed(encoder: TextEncoder, tmp_path: Path) -> None:
    first, second = Counted(), Counted()
    with EmbeddingCache(tmp_path) as cache:
        vectors = encoder.encode_documents(TEXTS, cache=cache, progress=first)
        assert len(cache) == 4
    with EmbeddingCache(tmp_path) as cache:
        again = encoder.encode_documents([*TEXTS, "new"], cache=cache, progress=second)
    np.testing.assert_array_equal(again[:-1], vectors)
    assert (first.total, first.done) == (4, 4)
    assert (second.total, second.done) == (1, 1)


def test_an_interrupted_build_keeps_its_batches(
    tiny_sentence_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{'space ' * (n % 7)}robot {n}" for n in range(40)]
    encoder = load(tiny_sentence_model, batch_tokens=60)
    expected = encoder.encode_documents(texts)
    real, calls = encoder._encode, 0

    def cut(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(encoder, "_encode", cut)
    with EmbeddingCache(tmp_path) as cache, pytest.raises(KeyboardInterrupt):
        encoder.encode_documents(texts, cache=cache)
    with EmbeddingCache(tmp_path) as cache:
        assert len(cache) > 3
        resumed = encoder.encode_documents(texts, cache=cache)
    # The same batches as without the interruption, so the same bits.
    np.testing.assert_array_equal(resumed, expected)


def test_encoders_do_not_share_vectors(
    encoder: TextEncoder, tiny_sentence_model: Path, tmp_path: Path
) -> None:
    other = load(tiny_sentence_model, truncate_dim=8)
    with EmbeddingCache(tmp_path) as cache:
        encoder.encode_documents(["space"], cache=cache)
        assert other.encode_documents(["space"], cache=cache).shape == (1, 8)
        assert len(cache) == 2


def test_the_cache_drops_what_was_not_used_longest(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    with EmbeddingCache(tmp_path) as cache:
        cache.put(["a", "b", "c"], vectors[:3], "encoder")
    with EmbeddingCache(tmp_path, max_bytes=2 * vectors[0].nbytes) as cache:
        cache.get(["b"], "encoder")
        cache.put(["d"], vectors[3:], "encoder")
        assert cache.trim() == 2
        found = cache.get(["a", "b", "c", "d"], "encoder")
    assert set(found) == {"b", "d"}
    np.testing.assert_array_equal(found["d"], vectors[3])


def test_the_cache_serves_many_threads(tmp_path: Path) -> None:
    with EmbeddingCache(tmp_path) as cache:

        def work(n: int) -> bool:
            vector = np.full((1, 4), n, dtype=np.float32)
            cache.put([str(n)], vector, "encoder")
            return bool((cache.get([str(n)], "encoder")[str(n)] == vector[0]).all())

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(64)))
        assert len(cache) == 64


def test_a_cache_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "embeddings.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(ArtefactError, match="remove it and build again"):
        EmbeddingCache(tmp_path)
    with pytest.raises(InputError):
        EmbeddingCache(tmp_path, max_bytes=0)
    with EmbeddingCache(tmp_path / "other") as cache:
        sqlite3.connect(tmp_path / "other" / "embeddings.sqlite").execute("DROP TABLE vectors")
        with pytest.raises(ArtefactError, match="no such table"):
            cache.get(["a"], "encoder")
