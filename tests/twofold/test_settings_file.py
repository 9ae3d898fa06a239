"""Settings from TOML: round trips, nearest names, types, overrides."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.indexing.errors import SettingsError
from twofold.settings_file import (
    default_toml,
    documented,
    load_toml,
    parse_override,
    to_toml,
)


@dataclass(frozen=True)
class Text:
    """How texts are read.

    Parameters
    ----------
    model
        Hub id or local folder of a model,
        on as many lines as it takes.
    batch_size, truncate_dim
        Numbers of ``something``.
    decays
        Several numbers.
    dtype
        One of two.

    Raises
    ------
    SettingsError
        If the batch is empty.
    """

    model: str = "mini"
    batch_size: int = 32
    truncate_dim: int | None = None
    decays: tuple[float, ...] = (0.5, 0.9)
    dtype: Literal["float32", "float16"] = "float32"
    rules: tuple[tuple[str, int, bool], ...] = ()
    revision: str | None = "main"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SettingsError(f"text.batch_size must be at least 1, not {self.batch_size}")


@dataclass(frozen=True)
class Toy:
    """All of it.

    Parameters
    ----------
    seed
        Where chance begins.
    text
        The texts.
    """

    seed: int = 0
    share: float = 0.1
    quick: bool = False
    text: Text = field(default_factory=Text)


def write(folder: Path, text: str) -> Path:
    file = folder / "toy.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_no_file_gives_the_defaults() -> None:
    assert load_toml(Toy, None) == Toy()


def test_values_and_sections_are_read(tmp_path: Path) -> None:
    file = write(
        tmp_path, 'seed = 3\nshare = 1\n[text]\nmodel = "é"\ndecays = [1, 0.25]\nrevision = "none"'
    )
    expected = Toy(seed=3, share=1.0, text=Text(model="é", decays=(1.0, 0.25), revision=None))
    assert load_toml(Toy, file) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[text]\nbach_size = 3", r"\[text\] bach_size: no such setting; .* mean batch_size\?"),
        ("sed = 3", r"sed: no such setting; did you mean seed\?"),
        ("zzz = 3", "zzz: no such setting; known are seed, share, quick, text"),
        ("text = 3", r"\[text\] is a section, not the value 3"),
        ('[text]\nbatch_size = "3"', r"\[text\] batch_size: expected a whole number, not '3'"),
        ("[text]\nbatch_size = true", r"\[text\] batch_size: expected a whole number, not True"),
        ("seed = 1.5", "seed: expected a whole number, not 1.5"),
        ("quick = 1", "quick: expected true or false, not 1"),
        ("share = 2020-01-01", "share: expected a number, not "),
        ('[text]\ndtype = "int8"', r'dtype: expected "float32" or "float16", not \'int8\''),
        ('[text]\ndecays = ["a"]', r"decays: expected an array of a number, not \['a'\]"),
        (
            '[text]\nrules = [["a", 1]]',
            r"an array of an array \[text, a whole number, true or false",
        ),
        ("[text]\ntruncate_dim = 1.5", 'expected a whole number or "none", not 1.5'),
        ("[text]\nbatch_size = 0", r"text.batch_size must be at least 1, not 0"),
        ("seed = ", "is not a TOML file"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError, match=message) as caught:
        load_toml(Toy, file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not a TOML file"):
        load_toml(Toy, file)


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "seed = 3\n[text]\nbatch_size = 8\n")
    settings = load_toml(Toy, file, ["text.batch_size=16", "text.model=a/b-c", "quick=true"])
    assert settings == Toy(seed=3, quick=True, text=Text(model="a/b-c", batch_size=16))


def test_an_override_may_take_a_setting_away() -> None:
    assert load_toml(Toy, None, ["text.revision=none"]).text.revision is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write section.key=value"),
        ("=3", "write section.key=value"),
        ("text.=3", "write section.key=value"),
        ("text.modle=x", r"\[text\] modle: no such setting; did you mean model\?"),
        ("seed.deep=1", "which is no section"),
        ("seed=x", "seed: expected a whole number, not 'x'"),
    ],
)
def test_overrides_are_checked_like_the_file(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_toml(Toy, write(tmp_path, "seed = 1"), [override])


def test_docstrings_explain_each_field() -> None:
    said = documented(Text)
    assert said["model"] == "Hub id or local folder of a model, on as many lines as it takes."
    assert said["truncate_dim"] == said["batch_size"] == "Numbers of something."
    assert "Raises" not in said
    assert said["dtype"] == "One of two."


def test_the_default_file_explains_and_loads_as_the_defaults(tmp_path: Path) -> None:
    text = default_toml(Toy)
    assert "# Where chance begins.\nseed = 0\n" in text
    assert "# truncate_dim =\n" in text
    assert "# The texts.\n[text]\n" in text
    assert "# Numbers of something.\nbatch_size = 32\n# truncate_dim =\n\n" in text
    assert load_toml(Toy, write(tmp_path, text)) == Toy()


settings_of_any_kind = st.builds(
    Toy,
    seed=st.integers(-(2**40), 2**40),
    share=st.floats(allow_nan=False, allow_infinity=False),
    quick=st.booleans(),
    text=st.builds(
        Text,
        model=st.text(st.characters(codec="utf-8", exclude_characters="\x7f")),
        batch_size=st.integers(1, 100),
        truncate_dim=st.none() | st.integers(1, 9),
        decays=st.lists(st.floats(0, 1)).map(tuple),
        rules=st.lists(
            st.tuples(st.sampled_from(["a", "b"]), st.integers(-1, 1), st.booleans())
        ).map(tuple),
        revision=st.none() | st.sampled_from(["main", "abc"]),
    ),
)


@given(settings_of_any_kind)
def test_what_is_written_is_read_back(settings: Toy) -> None:
    text = to_toml(settings)
    tree = tomllib.loads(text)
    assert tree["seed"] == settings.seed
    overrides = [f"{name}={value}" for name, value in _lines(text)]
    assert load_toml(Toy, None, overrides) == settings


def _lines(text: str) -> list[tuple[str, str]]:
    section, found = "", []
    for line in text.split("\n"):
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif line:
            name, _, value = line.partition(" = ")
            found.append((section + name, value))
    return found


def test_the_value_of_an_override_may_hold_signs() -> None:
    assert parse_override("a.b=x=y") == (("a", "b"), "x=y")
