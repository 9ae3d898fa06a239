"""Nested frozen dataclasses from TOML, and a commented TOML file from their docstrings."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from twofold.indexing.errors import SettingsError

S = TypeVar("S")
Tree = dict[str, Any]


def load_toml(
    kind: type[S],
    file: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    below: Mapping[str, Any] | None = None,
) -> S:
    """Return settings of a kind from a TOML file and from overrides, which win.

    Parameters
    ----------
    kind
        A frozen dataclass; fields that are dataclasses themselves are the file's sections.
    file
        TOML file, or ``None`` for the defaults.
    overrides
        ``section.key=value`` each, the value written as in TOML; a value that is not TOML is taken
        as text, and ``none`` leaves a setting out where it may be left out.
    below
        Values over which the file wins, nested as in it; an array is replaced as a whole. ``None``
        for none.

    Raises
    ------
    SettingsError
        If the file cannot be read, or a name or value cannot be used. The message has the full
        name of the setting and the nearest known name.
    FileNotFoundError
        If there is no such file.
    """
    tree = {} if file is None else _read(Path(file))
    settings = _build(kind, tree, (), "" if file is None else f"{file}: ")
    if below is not None:
        tree = _over(below, tree)
        settings = _build(kind, tree, (), "")
    if not overrides:
        return settings
    for one in overrides:
        path, value = parse_override(one)
        _put(tree, path, value, one)
    return _build(kind, tree, (), "")


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Return the path and the value of one ``section.key=value``.

    Raises
    ------
    SettingsError
        If there is no ``=`` or no name before it.

    Examples
    --------
    >>> parse_override("ranker.training.max_epochs=5")
    (('ranker', 'training', 'max_epochs'), 5)
    >>> parse_override("ranker.model=models/minilm")
    (('ranker', 'model'), 'models/minilm')
    """
    name, sign, value = text.partition("=")
    path = tuple(part.strip() for part in name.split("."))
    if not sign or not all(path):
        raise SettingsError(f"'{text}' is no setting; write section.key=value")
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value.strip()


def default_toml(kind: type[Any]) -> str:
    """Return a TOML file of all settings at their defaults, each explained by its docstring.

    Settings without a value stand commented out. What comes out loads as the defaults.
    """
    return "\n".join(_written(kind, ())).strip() + "\n"


def to_toml(settings: Any) -> str:
    """Return settings as a TOML file without explanations."""
    return "\n".join(_values(settings, ())).strip() + "\n"


def documented(kind: type[Any]) -> dict[str, str]:
    """Return what the NumPy-style docstring of a dataclass says of each field, as one paragraph."""
    text = inspect.getdoc(kind) or ""
    match = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}\n|\Z)", text, re.M | re.S)
    said: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", match[1].rstrip()) if match else []:
        names, _, body = entry.partition("\n")
        paragraph = " ".join(
            inspect.cleandoc(body).replace("``None``", '"none"').replace("``", "").split()
        )
        said.update({name.strip().split(" ")[0]: paragraph for name in names.split(",")})
    return said


def from_values(kind: type[S], values: Mapping[str, Any]) -> S:
    """Return the settings that ``dataclasses.asdict`` and JSON made `values` of.

    Raises
    ------
    SettingsError
        If a name or value cannot be used.
    """
    return _build(kind, values, (), "")


def _read(file: Path) -> Tree:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not a TOML file: {error}") from None


def _build(kind: type[S], tree: Mapping[str, Any], path: tuple[str, ...], place: str) -> S:
    known = dict(_fields(kind))
    values: Tree = {}
    for name, value in tree.items():
        if name not in known:
            raise SettingsError(f"{place}{_unknown(name, path, list(known))}")
        section = known[name][1]
        if is_dataclass(section) and isinstance(section, type):
            if not isinstance(value, Mapping):
                raise SettingsError(
                    f"{place}[{'.'.join((*path, name))}] is a section, not the value {value!r}"
                )
            values[name] = _build(section, value, (*path, name), place)
        else:
            values[name] = _value(value, section, (*path, name), place)
    try:
        return kind(**values)
    except SettingsError as error:
        raise SettingsError(f"{place}{error}") from None


def _fields(kind: type[Any]) -> Iterator[tuple[str, tuple[Field[Any], Any]]]:
    hints = typing.get_type_hints(kind)
    yield from ((field.name, (field, hints[field.name])) for field in fields(kind) if field.init)


def _unknown(name: str, path: tuple[str, ...], known: list[str]) -> str:
    where = f"[{'.'.join(path)}] {name}" if path else name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"{where}: no such setting; {hint}"


def _value(value: Any, hint: Any, path: tuple[str, ...], place: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    if value == "none" and types.NoneType in typing.get_args(hint):
        return None
    try:
        # Through JSON, where strict means strict but an array may become a tuple.
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        *section, name = path
        where = f"[{'.'.join(section)}] {name}" if section else name
        raise SettingsError(f"{place}{where}: expected {_described(hint)}, not {value!r}") from None


def _described(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in arguments)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_described(one) for one in arguments)
    if typing.get_origin(hint) is tuple:
        if arguments[-1] is Ellipsis:
            return f"an array of {_described(arguments[0])}"
        return f"an array [{', '.join(_described(one) for one in arguments)}]"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return '"none"' if hint is types.NoneType else words.get(hint, str(hint))


def _over(below: Mapping[str, Any], tree: Mapping[str, Any]) -> Tree:
    """Return the values of both trees, those of `tree` where both have one."""
    out = dict(below)
    for name, value in tree.items():
        under = out.get(name)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            out[name] = _over(under, value)
        else:
            out[name] = value
    return out


def _put(tree: Tree, path: tuple[str, ...], value: Any, text: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"'{text}' sets something inside {part}, which is no section")
    tree[path[-1]] = value


def _written(kind: type[Any], path: tuple[str, ...]) -> Iterator[str]:
    said = documented(kind)
    sections: list[tuple[str, type[Any]]] = []
    explained: str | None = None
    if path:
        yield f"[{'.'.join(path)}]"
    for name, (field, hint) in _fields(kind):
        if is_dataclass(hint) and isinstance(hint, type):
            sections.append((name, hint))
            continue
        # Fields that share an entry of the docstring share its comment.
        if said.get(name) != explained:
            explained = said.get(name)
            yield ""
            yield from _comment(explained or "")
        default = field.default_factory() if callable(field.default_factory) else field.default
        if default is None or default is MISSING:
            yield f"# {name} ="
        else:
            yield f"{name} = {_toml(default)}"
    for name, section in sections:
        yield ""
        yield from _comment(said.get(name, ""))
        yield from _written(section, (*path, name))


def _values(settings: Any, path: tuple[str, ...]) -> Iterator[str]:
    values = [(field, getattr(settings, field.name)) for field in fields(settings)]
    if path:
        yield f"[{'.'.join(path)}]"
    for field, value in values:
        if not is_dataclass(value) and not (value is None and field.default is None):
            yield f"{field.name} = {_toml('none' if value is None else value)}"
    for field, value in values:
        if is_dataclass(value):
            yield ""
            yield from _values(value, (*path, field.name))


def _comment(text: str, width: int = 98) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            yield f"# {line}"
            line = word
        else:
            line = f"{line} {word}".lstrip()
    if line:
        yield f"# {line}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A TOML basic string is a JSON string, but for DEL, which no setting holds.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return repr(value)
