"""Item texts: no debris where values are missing."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.indexing.errors import SettingsError
from twofold.indexing.text_template import default_template, render


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        (
            "{title}. {genres}",
            {"title": "Heat", "genres": ["Crime", "Drama"]},
            "Heat. Crime, Drama",
        ),
        ("{title}. {genres}", {"title": "Heat", "genres": None}, "Heat"),
        ("{title}. {genres}", {"title": None, "genres": ["Crime"]}, "Crime"),
        ("{title}. {genres}", {"title": "Heat Co.", "genres": ["Crime"]}, "Heat Co. Crime"),
        ("{title}. {genres}", {"title": " ", "genres": []}, ""),
        ("{title} ({year})", {"title": "Heat", "year": 1995}, "Heat (1995)"),
        ("{title} ({year})", {"title": "Heat", "year": 1995.0}, "Heat (1995)"),
        ("{title} ({year})", {"title": "Heat", "year": None}, "Heat"),
        ("{a}, {b}, {c}", {"a": "1", "b": None, "c": "3"}, "1, 3"),
        ("Title: {a}. By {b}.", {"a": "x", "b": None}, "Title: x."),
        ("Title: {a}. By {b}.", {"a": None, "b": "y"}, "By y."),
        ("{{{a}}}", {"a": "x"}, "{x}"),
        ("{t:token}", {"t:token": "x"}, "x"),
        ("fixed", {"a": "x"}, ""),
    ],
)
def test_known_answers(template: str, row: dict[str, object], text: str) -> None:
    types: dict[str, Any] = {
        "genres": pl.List(pl.String),
        "title": pl.String,
        "a": pl.String,
        "b": pl.String,
    }
    frame = pl.DataFrame([row], schema_overrides={k: v for k, v in types.items() if k in row})
    assert render(frame, template).to_list() == [text]


def test_default_is_all_text_in_order_without_links() -> None:
    frame = pl.DataFrame(
        {"title": ["Heat"], "year": [1995], "genres": [["Crime"]], "url": ["https://a.b/c"],
         "vector": [[0.5]], "tag": ["x"]}
    )  # fmt: skip
    assert default_template(frame) == "{title}. {genres}. {tag}"


@pytest.mark.parametrize("template", ["{titel}", "{title", "{title!r}", "{title:>9}", "{}"])
def test_bad_templates(template: str) -> None:
    with pytest.raises(SettingsError, match="text_template"):
        render(pl.DataFrame({"title": ["x"]}), template)


@given(st.lists(st.sampled_from([None, "", " ", "red", "blue hat"]), min_size=4, max_size=4))
def test_only_separators_between_what_is_there(values: list[str | None]) -> None:
    names = ["a", "b", "c", "d"]
    frame = pl.DataFrame(
        {name: [value] for name, value in zip(names, values, strict=True)},
        schema=dict.fromkeys(names, pl.String),
    )
    given_ = [value for value in values if value and value.strip()]
    assert render(frame, "{a} | {b} | {c} | {d}").to_list() == [" | ".join(given_)]
