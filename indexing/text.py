"""Texts to vectors with any sentence-transformers model."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from twofold.indexing.durable import canonical_json
from twofold.indexing.errors import ArtefactError, EncoderError, SettingsError
from twofold.indexing.models import ResolvedModel, quiet_loading, resolve_model
from twofold.indexing.progress import Progress, Silent
from twofold.indexing.ranges import require
from twofold.indexing.vectors import normalised

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from twofold.indexing.embedding_cache import EmbeddingCache

Float32s = npt.NDArray[np.float32]
Role = Literal["query", "document"]
# The names under which models keep their prompts, in the order sentence-transformers tries them.
PROMPT_NAMES: dict[Role, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
# Where a vector's space does not change: the same weights under another name or precision.
INCIDENTAL = ("model", "revision", "dtype")
BYTES_PER_TOKEN = 3  # a low guess for a batch's size: Latin text has four to five, CJK three
_log = logging.getLogger("twofold.indexing")


@dataclass(frozen=True)
class TextSettings:
    """How texts become vectors; what is ``None`` is taken from the model.

    Parameters
    ----------
    model
        Hub id or local folder of a sentence-transformers model.
    revision
        Commit, tag or branch on the hub; ``None`` takes the newest at hand.
    query_prompt, document_prompt
        Text put before queries and before item texts.
    truncate_dim
        Keep only the first so many dimensions, for models trained to allow it.
    max_seq_length
        Tokens read of a text; the rest is cut off.
    dtype
        Precision of the model; ``"auto"`` is that of its files, and float32 where that is float16
        on a CPU, which has no fast arithmetic for it. Vectors are float32 in any case.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` takes a GPU where torch sees one.
    batch_tokens
        Tokens a batch, padding included, by a guess from the texts' lengths.
    trust_remote_code
        Whether code that comes with the model may run.
    cache_bytes
        Size of the vectors kept for rebuilds, in bytes.
    """

    model: str = "all-MiniLM-L6-v2"
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    truncate_dim: int | None = None
    max_seq_length: int | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    batch_tokens: int = 8192
    trust_remote_code: bool = False
    cache_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        if not self.model:
            raise SettingsError("text.model must name a model; give a hub id or a folder")
        sizes = ("truncate_dim", "max_seq_length", "batch_tokens", "cache_bytes")
        require(self, "text", at_least_one=sizes)
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise SettingsError(
                f"text.dtype must be auto, float32, bfloat16 or float16, not '{self.dtype}'"
            )


class TextEncoder:
    """Turns texts into unit vectors; made by :meth:`load`, and may be shared by threads.

    Parameters
    ----------
    model
        A loaded sentence-transformers model; it belongs to the encoder from now on.
    source
        Where it came from.
    settings
        What the user wants of it.

    Attributes
    ----------
    identity
        What shapes the vectors, as JSON values, for the manifest: model, revision, fingerprint of
        weights and tokenizer, modules with pooling, prompts, dimension, lengths and precision.
    dimension
        Length of the vectors.
    origin
        Where the model was found: ``folder``, ``cache``, ``package`` or ``hub``.
    """

    def __init__(
        self, model: SentenceTransformer, source: ResolvedModel, settings: TextSettings
    ) -> None:
        self._model, self._settings = model, settings
        # Fast tokenizers keep truncation and padding as state: two threads at once would clash.
        self._lock = threading.Lock()
        self._prompts: dict[Role, str] = {
            "query": _prompt(model, settings.query_prompt, "query"),
            "document": _prompt(model, settings.document_prompt, "document"),
        }
        self.origin = source.origin
        self.dimension = _dimension(model, settings)
        self.identity: dict[str, Any] = {
            "model": source.name,
            "revision": source.revision,
            "fingerprint": source.fingerprint,
            "modules": [_module(module) for module in model],
            "prompts": dict(self._prompts),
            "dimension": self.dimension,
            "truncate_dim": settings.truncate_dim,
            "max_seq_length": model.max_seq_length,
            "dtype": str(model.dtype).removeprefix("torch."),
        }

    @classmethod
    def load(cls, settings: TextSettings | None = None) -> TextEncoder:
        """Return the encoder of a model found by :func:`twofold.indexing.models.resolve_model`.

        Raises
        ------
        EncoderError
            If the model cannot be found or loaded, or cannot do what the settings ask.
        """
        settings = settings or TextSettings()
        source = resolve_model(settings.model, revision=settings.revision)
        device = _device(settings.device)
        _log.info("loading %s from %s on %s", source.name, source.folder, device)
        return cls(_load(source, settings, device), source, settings)

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        cache: EmbeddingCache | None = None,
        progress: Progress | None = None,
    ) -> Float32s:
        """Return unit vectors of item texts, ``float32 (n, d)``.

        Equal texts are embedded once. A text that is empty or only spaces gives a zero vector,
        which scores 0 with everything. Batches hold texts of similar length; the last bits of a
        vector may depend on what stood beside it.

        Parameters
        ----------
        texts
            Item texts; what exceeds ``max_seq_length`` is cut off.
        cache
            Where known vectors are looked up and new ones kept, batch by batch.
        progress
            Shown the texts that have to be embedded.

        Raises
        ------
        EncoderError
            If the model gives vectors that are not finite.
        """
        distinct = sorted({text for text in texts if text.strip()}, key=lambda one: (len(one), one))
        numbers = {text: number for number, text in enumerate(distinct)}
        vectors = np.zeros((len(distinct) + 1, self.dimension), dtype=np.float32)
        encoder = self.cache_key()
        known = {} if cache is None else cache.get(distinct, encoder)
        for text, vector in known.items():
            vectors[numbers[text]] = vector
        missing = [text for text in distinct if text not in known]
        with (progress or Silent()).step("embed texts", len(missing)) as task:
            # A killed build kept whole batches, so the rest falls into the batches it would have.
            for batch in self._batches(missing):
                fresh = self._encode(batch, "document")
                vectors[[numbers[text] for text in batch]] = fresh
                if cache is not None:
                    cache.put(batch, fresh, encoder)
                task.advance(len(batch))
        if cache is not None:
            cache.trim()
        # The last row, all zero, is for texts without words.
        return vectors[[numbers.get(text, len(distinct)) for text in texts]]

    def encode_queries(self, texts: Sequence[str]) -> Float32s:
        """Return unit vectors of queries, ``float32 (n, d)``; a zero vector for an empty text.

        Raises
        ------
        EncoderError
            If the model gives vectors that are not finite.
        """
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        rows = [row for row, text in enumerate(texts) if text.strip()]
        rows.sort(key=lambda row: len(texts[row]))
        for batch in self._batches([texts[row] for row in rows]):
            now, rows = rows[: len(batch)], rows[len(batch) :]
            vectors[now] = self._encode(batch, "query")
        return vectors

    def _encode(self, texts: list[str], role: Role) -> Float32s:
        embed = self._model.encode_query if role == "query" else self._model.encode_document
        with self._lock:
            raw = embed(
                texts,
                prompt=self._prompts[role],
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        vectors: Float32s = np.asarray(raw, dtype=np.float32)
        if not np.isfinite(vectors).all():
            bad = texts[int(np.argmin(np.isfinite(vectors).all(axis=1)))]
            raise EncoderError(
                f"the model gave a vector that is not finite for '{bad[:60]}'; "
                "set text.dtype to float32"
            )
        return normalised(vectors)

    def _batches(self, texts: list[str]) -> list[list[str]]:
        """Cut texts sorted by length into batches of about ``batch_tokens`` at most."""
        batches: list[list[str]] = []
        longest = 0
        for text in texts:
            length = len(text.encode()) // BYTES_PER_TOKEN + 4
            longest = max(longest, min(length, self._model.max_seq_length or length))
            if batches and (len(batches[-1]) + 1) * longest <= self._settings.batch_tokens:
                batches[-1].append(text)
            else:
                batches.append([text])
                longest = min(length, self._model.max_seq_length or length)
        return batches

    def cache_key(self) -> str:
        """Return under what vectors are kept beside their texts: the hash of what shapes them."""
        shape = {key: self.identity[key] for key in self.identity if key not in INCIDENTAL[:2]}
        return hashlib.sha256(canonical_json(shape).encode()).hexdigest()


def brought_identity(dimension: int) -> dict[str, Any]:
    """Return the identity of vectors that the user brought, for the manifest."""
    return {"model": None, "dimension": dimension}


def check_identity(built: Mapping[str, Any], encoder: TextEncoder) -> None:
    """Refuse an encoder whose vectors are not those of the artefact.

    Name, revision and precision may differ, so the same weights are accepted wherever they came
    from and whatever the hardware computes in; weights, tokenizer, modules, prompts and lengths
    may not.

    Parameters
    ----------
    built
        Identity in the artefact's manifest.
    encoder
        The encoder that is to embed queries.

    Raises
    ------
    ArtefactError
        If they differ; the message names the first difference.
    """
    if built.get("model") is None:
        raise ArtefactError(
            "the artefact holds vectors brought from outside, so no text can be compared to them; "
            "build it from item texts to search by text"
        )
    for key in sorted(set(built) | set(encoder.identity)):
        if key not in INCIDENTAL and built.get(key) != encoder.identity.get(key):
            raise ArtefactError(
                f"the artefact was built with encoder '{built['model']}' ({built['revision']}) but "
                f"'{encoder.identity['model']}' ({encoder.identity['revision']}) was loaded: "
                f"{key} differs; load the encoder it was built with or build the artefact again"
            )


def _load(source: ResolvedModel, settings: TextSettings, device: str) -> SentenceTransformer:
    import torch
    from sentence_transformers import SentenceTransformer

    try:
        with quiet_loading():
            model = SentenceTransformer(
                str(source.folder),
                device=device,
                trust_remote_code=settings.trust_remote_code,
                local_files_only=True,
                truncate_dim=settings.truncate_dim,
                model_kwargs={"dtype": settings.dtype},
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        hint = "" if settings.trust_remote_code else "; if it needs its own code, set "
        hint += "" if settings.trust_remote_code else "text.trust_remote_code after reading it"
        raise EncoderError(
            f"cannot load the model '{source.name}' from {source.folder} "
            f"({str(error).splitlines()[0]}); give a sentence-transformers model{hint}"
        ) from error
    if settings.dtype == "auto" and device == "cpu" and model.dtype == torch.float16:
        model = model.float()
    if settings.max_seq_length is not None:
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None and settings.max_seq_length > positions:
            raise EncoderError(
                f"text.max_seq_length is {settings.max_seq_length}, but '{source.name}' has "
                f"{positions} positions; give at most that"
            )
        model.max_seq_length = settings.max_seq_length
    return model.eval()


def _dimension(model: SentenceTransformer, settings: TextSettings) -> int:
    full = model.get_embedding_dimension()
    with model.truncate_embeddings(None):
        whole = model.get_embedding_dimension()
    if full is None or whole is None:
        raise EncoderError("the model does not say how long its vectors are; give another model")
    if settings.truncate_dim is not None and settings.truncate_dim > whole:
        raise EncoderError(
            f"text.truncate_dim is {settings.truncate_dim}, but the model's vectors have {whole} "
            "dimensions; give at most that"
        )
    return int(full)


def _prompt(model: SentenceTransformer, override: str | None, role: Role) -> str:
    if override is not None:
        return override
    for name in (*PROMPT_NAMES[role], model.default_prompt_name):
        if name in model.prompts:
            return model.prompts[name] or ""
    return ""


def _module(module: Any) -> dict[str, Any]:
    """Return the kind and the settings of one module of a model, such as its pooling."""
    from sentence_transformers.base.modules import Module, Transformer

    kind: dict[str, Any] = {"type": type(module).__name__}
    if isinstance(module, Transformer):
        return kind  # its weights are in the fingerprint, its length in max_seq_length
    if not isinstance(module, Module):
        return kind
    # Settings that JSON does not have, such as an activation, are told by their text.
    settings: dict[str, Any] = json.loads(json.dumps(module.get_config_dict(), default=str))
    return kind | settings


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise EncoderError(
            f"text.device is '{asked}', but torch {torch.__version__} sees no CUDA GPU; "
            "set it to auto or cpu, or install torch with CUDA"
        )
    return asked
