"""The text of an item, made from its columns."""

from __future__ import annotations

import difflib
import string
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from twofold.indexing.errors import SettingsError

_CLOSERS = ")]}\"'"
_SEPARATORS = " \t\n.,;:|/–—·-"


@dataclass(frozen=True)
class _Field:
    """A column with the literal text that stands or falls with it."""

    before: str
    column: str
    after: str


def default_template(table: pl.DataFrame, *, skip: Sequence[str] = ()) -> str:
    """Return the template of all columns of strings or lists of strings, in order.

    Columns of web addresses (19 of 20 values) say nothing to a language model and are left out.

    Parameters
    ----------
    table
        The items.
    skip
        Columns to leave out.
    """
    columns = [
        name
        for name, dtype in table.schema.items()
        if name not in skip
        and not set(name) & set("{}")
        and (_is_text_list(dtype) or (_is_text(dtype) and not _holds_links(table[name])))
    ]
    return ". ".join(f"{{{name}}}" for name in columns)


def render(table: pl.DataFrame, template: str) -> pl.Series:
    """Return the text of each item.

    Parameters
    ----------
    table
        The items.
    template
        Text with columns in braces, such as ``"{title} ({year}). {genres}"``. Lists are joined by
        ``", "``. Where a value is missing or blank, the literal text between it and the value
        before it goes too, and so do brackets around it and punctuation at the start.

    Returns
    -------
    pl.Series
        Strings, ``""`` where all values are missing.

    Raises
    ------
    SettingsError
        If the template cannot be read or names a column that the table does not have.

    Examples
    --------
    >>> items = pl.DataFrame({"title": ["Heat", "Alien", None], "year": [1995, None, 1980]})
    >>> render(items, "{title} ({year})").to_list()
    ['Heat (1995)', 'Alien', '(1980)']
    """
    fields, tail = _parse(template, table.columns)
    if not fields:
        return pl.Series("text", [""] * table.height, dtype=pl.String)
    for field in fields:
        dtype = table.schema[field.column]
        inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
        if inner.is_nested() or inner in (pl.Binary, pl.Object):
            raise SettingsError(
                f"text_template {template!r} names {{{field.column}}}, whose values ({dtype}) are "
                "no text; leave it out or write it as text"
            )
    values = table.select(
        _as_text(table.schema[field.column], field.column).alias(str(i))
        for i, field in enumerate(fields)
    )
    present = [pl.col(str(i)) != "" for i in range(len(fields))]
    pieces = [
        pl.when(there).then(_lead(i, field) + pl.col(str(i)) + pl.lit(field.after))
        .otherwise(pl.lit(""))
        for i, (field, there) in enumerate(zip(fields, present, strict=True))
    ]  # fmt: skip
    body = pl.concat_str(pieces)
    body = pl.when(present[0]).then(body).otherwise(body.str.strip_chars_start(_SEPARATORS))
    text = pl.when(pl.any_horizontal(present)).then(body + pl.lit(tail)).otherwise(pl.lit(""))
    return values.select(text.str.strip_chars().alias("text")).to_series()


def _lead(i: int, field: _Field) -> pl.Expr:
    """Return the literal before a value, without a full stop that the value before it has."""
    if i == 0 or not field.before.startswith("."):
        return pl.lit(field.before)
    stopped = pl.col(str(i - 1)).str.ends_with(".")
    return pl.when(stopped).then(pl.lit(field.before[1:])).otherwise(pl.lit(field.before))


def _parse(template: str, columns: Sequence[str]) -> tuple[list[_Field], str]:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise SettingsError(
            f"text_template {template!r} cannot be read ({error}); write columns as {{title}}"
        ) from error
    fields: list[_Field] = []
    literal = ""
    for before, name, form, conversion in parsed:
        literal += before
        if name is None:
            continue
        # Nothing is formatted, so ! and : are part of a column's name (title:token).
        name += (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        if name not in columns:
            _refuse_field(template, name, columns)
        if fields:
            after = literal[: _closing(fields[-1].before, literal)]
            fields[-1] = _Field(fields[-1].before, fields[-1].column, after)
            literal = literal[len(after) :]
        fields.append(_Field(literal, name, ""))
        literal = ""
    if fields:
        after = literal[: _closing(fields[-1].before, literal)]
        fields[-1] = _Field(fields[-1].before, fields[-1].column, after)
        literal = literal[len(after) :]
    return fields, literal


def _closing(before: str, after: str) -> int:
    """Return how many brackets at the start of `after` close one at the end of `before`."""
    n = 0
    pairs = {")": "(", "]": "[", "}": "{", '"': '"', "'": "'"}
    while (
        n < min(len(before), len(after))
        and after[n] in _CLOSERS
        and before[-1 - n] == pairs[after[n]]
    ):
        n += 1
    return n


def _refuse_field(template: str, name: str, columns: Sequence[str]) -> None:
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"; did you mean {{{near[0]}}}?" if near else ""
    raise SettingsError(
        f"text_template {template!r} names {{{name}}}, but the items have the columns "
        f"{', '.join(columns)}{hint}"
    )


def _as_text(dtype: pl.DataType, name: str) -> pl.Expr:
    value = pl.col(name)
    if isinstance(dtype, pl.List | pl.Array):
        one = pl.element().cast(pl.String).str.strip_chars()
        listed = value.arr.to_list() if isinstance(dtype, pl.Array) else value
        text = listed.list.eval(one.filter(one.is_not_null() & (one != ""))).list.join(", ")
    elif dtype.is_float():
        whole = value.cast(pl.Int64, strict=False)
        text = (
            pl.when(value.is_nan()).then(None)
            .when(whole == value).then(whole.cast(pl.String))
            .otherwise(value.cast(pl.String))
        )  # fmt: skip
    else:
        text = value.cast(pl.String)
    return text.str.strip_chars().fill_null("")


def _holds_links(values: pl.Series) -> bool:
    given = values.cast(pl.String).drop_nulls()
    links = given.str.contains(r"^\s*https?://\S+\s*$").sum()
    return len(given) > 0 and links >= 0.95 * len(given)


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)


def _is_text_list(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.List | pl.Array) and _is_text(dtype.inner)  # type: ignore[arg-type]
