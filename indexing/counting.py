"""The event rules applied: what each row of the interactions counts for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import polars as pl

from twofold.indexing.events import (
    EVENT_ALIASES,
    EVENT_RULES,
    NEUTRAL,
    POSITIVE,
    EventRule,
    EventSettings,
)
from twofold.indexing.problems import Problems
from twofold.indexing.tables import Table

MAX_LEVELS = 10
"""Distinct ratings up to here are levels of their own; more are put in as many quantile bins."""


@dataclass(frozen=True)
class Counted:
    """Interactions with what they count for.

    Parameters
    ----------
    frame
        The rows that can be used, with columns ``weight`` (``Float32``), ``sign`` (``Int8``),
        ``seen``, ``label`` (``Boolean``) and ``kind`` (``Int16``) added and the raw ones gone.
    kinds
        Names behind ``kind``.
    notes
        What was assumed.
    """

    frame: pl.DataFrame
    kinds: tuple[str, ...]
    notes: tuple[str, ...]


def apply_rules(
    frame: pl.DataFrame,
    columns: dict[str, str],
    settings: EventSettings,
    table: Table,
    problems: Problems,
) -> Counted:
    """Return the rows with what they count for.

    Parameters
    ----------
    frame
        Rows with a column ``row`` (position in `table`) and the raw columns ``event``, ``rating``,
        ``weight`` and ``label``, as far as the table has them.
    columns
        Their names in the file.
    settings
        The rules.
    table, problems
        Where the rows came from, and where to say what is wrong with them.
    """
    if "event" in columns:
        return _from_events(frame, columns, settings, table, problems)
    if "rating" in columns:
        return _from_ratings(frame, columns, settings, table, problems)
    if "label" in columns:
        return _from_labels(frame, columns, table, problems)
    if "weight" in columns:
        return _from_weights(frame, columns, table, problems)
    rules = {"interaction": POSITIVE}
    named = frame.with_columns(pl.lit("interaction").alias("event"))
    return Counted(_apply(named, rules, None), tuple(rules), ())


def _from_events(
    frame: pl.DataFrame,
    columns: dict[str, str],
    settings: EventSettings,
    table: Table,
    problems: Problems,
) -> Counted:
    rules = settings.table()
    raw = frame["event"].cast(pl.String).str.strip_chars().str.to_lowercase()
    names = {one: _event_name(one, rules) for one in raw.unique().drop_nulls().to_list()}
    known = {one: name for one, name in names.items() if name is not None}
    named = raw.replace_strict(known, default=None, return_dtype=pl.String)
    frame = frame.with_columns(named.alias("event_name"))
    bad = frame.filter(pl.col("event_name").is_null())
    first = str(bad["event"][0]) if bad.height else ""
    near = difflib.get_close_matches(first.lower(), rules, n=1)
    hint = f"did you mean '{near[0]}'? Otherwise add" if near else "add"
    _refuse(
        bad, "event is known", "event", columns, table, problems,
        expected=f"one of the events {', '.join(rules)}",
        remedy=f"{hint} a rule for it to the settings (events.rules)",
    )  # fmt: skip
    frame = frame.filter(pl.col("event_name").is_not_null())
    frame = frame.drop("event").rename({"event_name": "event"})
    if "weight" in columns:
        frame = _numbers(frame, "weight", columns, table, problems)
        raising = pl.col("event").is_in([name for name, rule in rules.items() if rule.sign > 0])
        bad = frame.filter((pl.col("weight") < 0) | (raising & (pl.col("weight") == 0)))
        _refuse(
            bad, "quantity is above 0", "weight", columns, table, problems,
            expected="a quantity above 0 beside an event that raises the item",
            remedy="leave returns and cancellations out, or give them an event of their own",
        )  # fmt: skip
        frame = frame.join(bad.select("row"), on="row", how="anti", maintain_order="left")
    present = set(frame["event"].unique().to_list())
    used = {name: rule for name, rule in rules.items() if name in present}
    mapped = sorted(f"{one} as {name}" for one, name in known.items() if one != name)
    notes = [f"events read: {', '.join(mapped)}"] if mapped else []
    return Counted(
        _apply(frame, used, "weight" if "weight" in columns else None), tuple(used), tuple(notes)
    )


def _event_name(raw: str, rules: dict[str, EventRule]) -> str | None:
    for one in (raw, EVENT_ALIASES.get(raw), raw.replace(" ", "_").replace("-", "_")):
        if one in rules:
            return one
    return next((name for name in rules if name.lower() == raw), None)


def _from_ratings(
    frame: pl.DataFrame,
    columns: dict[str, str],
    settings: EventSettings,
    table: Table,
    problems: Problems,
) -> Counted:
    frame = _numbers(frame, "rating", columns, table, problems)
    low, high = settings.dislike_at_most, settings.like_at_least
    rating = pl.col("rating")
    like = pl.lit(True) if high is None else rating >= high
    dislike = pl.lit(False) if low is None else rating <= low
    event = pl.when(dislike).then(pl.lit("dislike")).when(like).then(pl.lit("like"))
    frame = frame.with_columns(event.otherwise(pl.lit("neutral")).alias("event"))
    rules = {"like": POSITIVE, "dislike": settings.table()["dislike"], "neutral": NEUTRAL}
    counted = _apply(frame, rules, None)
    numbers, names = _levels(frame["rating"])
    counted = counted.with_columns(numbers.alias("kind"))
    if low is None and high is None:
        note = "every rating counts as a positive of weight 1 (set like_at_least to change this)"
    else:
        note = f"ratings: like from {high}, dislike up to {low}, between them only seen"
    return Counted(counted, names, (note,))


def _levels(ratings: pl.Series) -> tuple[pl.Series, tuple[str, ...]]:
    """Return the level of each rating: its value where they are few, a quantile bin otherwise."""
    distinct = ratings.unique().sort()
    values = ratings.to_numpy()
    if len(distinct) <= MAX_LEVELS:
        names = tuple(f"rating {value:g}" for value in distinct)
        return pl.Series(np.searchsorted(distinct.to_numpy(), values).astype(np.int16)), names
    quantiles = np.quantile(values, np.arange(1, MAX_LEVELS) / MAX_LEVELS, method="lower")
    tops = np.unique(quantiles[quantiles < values.max()])
    names = (*(f"rating up to {top:g}" for top in tops), f"rating above {tops[-1]:g}")
    return pl.Series(np.searchsorted(tops, values).astype(np.int16)), names


def _from_labels(
    frame: pl.DataFrame, columns: dict[str, str], table: Table, problems: Problems
) -> Counted:
    truth = {"1": "like", "true": "like", "1.0": "like"}
    lies = {"0": "dislike", "false": "dislike", "0.0": "dislike"}
    raw = frame["label"].cast(pl.String).str.strip_chars().str.to_lowercase()
    event = raw.replace_strict({**truth, **lies}, default=None, return_dtype=pl.String)
    frame = frame.with_columns(event.alias("event"))
    _refuse(
        frame.filter(pl.col("event").is_null()), "label is 1 or 0", "label", columns, table,
        problems, expected="1 (like) or 0 (dislike)", remedy="correct it or leave the row out",
    )  # fmt: skip
    frame = frame.filter(pl.col("event").is_not_null())
    rules = {name: EVENT_RULES[name] for name in ("like", "dislike")}
    note = "label 1 counts as a like, label 0 as a dislike"
    return Counted(_apply(frame.drop("label"), rules, None), tuple(rules), (note,))


def _from_weights(
    frame: pl.DataFrame, columns: dict[str, str], table: Table, problems: Problems
) -> Counted:
    frame = _numbers(frame, "weight", columns, table, problems)
    weight = pl.col("weight")
    event = pl.when(weight > 0).then(pl.lit("interaction")).when(weight < 0).then(pl.lit("dislike"))
    frame = frame.with_columns(event.otherwise(pl.lit("impression")).alias("event"))
    rules = {
        "interaction": POSITIVE,
        "dislike": EVENT_RULES["dislike"],
        "impression": EVENT_RULES["impression"],
    }
    note = "weights above 0 raise the item by that much, 0 is an impression, below 0 a dislike"
    return Counted(_apply(frame, rules, "weight"), tuple(rules), (note,))


def _apply(frame: pl.DataFrame, rules: dict[str, EventRule], quantity: str | None) -> pl.DataFrame:
    """Fill in what the rules say; a quantity multiplies the weight of the rule."""
    listed = list(rules.items())
    rule_frame = pl.DataFrame(
        {
            "event": [name for name, _ in listed],
            "rule_weight": [rule.weight for _, rule in listed],
            "sign": [rule.sign for _, rule in listed],
            "seen": [rule.seen for _, rule in listed],
            "label": [rule.label for _, rule in listed],
            "kind": list(range(len(listed))),
        },
        schema_overrides={
            "rule_weight": pl.Float64,
            "sign": pl.Int8,
            "seen": pl.Boolean,
            "label": pl.Boolean,
            "kind": pl.Int16,
        },
    )
    number = frame["event"].cast(pl.Enum([name for name, _ in listed])).to_physical()
    columns = rule_frame[number.cast(pl.UInt32)].drop("event")
    out = frame.drop([name for name in ("event", "label", "rating") if name in frame.columns])
    times = frame[quantity].clip(lower_bound=0) if quantity else 1.0
    out = out.drop([name for name in ("weight",) if name in out.columns])
    weight = (columns["rule_weight"] * times).cast(pl.Float32).alias("weight")
    return out.with_columns(weight, *(columns[one] for one in ("sign", "seen", "label", "kind")))


def _numbers(
    frame: pl.DataFrame, name: str, columns: dict[str, str], table: Table, problems: Problems
) -> pl.DataFrame:
    """Return the rows with a finite number in a column, as ``Float64``."""
    raw = frame[name]
    text = raw.str.strip_chars() if raw.dtype == pl.String else raw
    number = text.cast(pl.Float64, strict=False)
    good = number.cast(pl.Float32, strict=False).is_finite().fill_null(value=False)
    _refuse(
        frame.filter(~good), f"{name} is a number", name, columns, table, problems,
        expected="a finite number", remedy="correct it or leave the row out",
    )  # fmt: skip
    return frame.with_columns(number.alias(name)).filter(good)


def _refuse(
    bad: pl.DataFrame,
    check: str,
    name: str,
    columns: dict[str, str],
    table: Table,
    problems: Problems,
    *,
    expected: str,
    remedy: str,
) -> None:
    problems.refuse(
        table,
        check,
        bad["row"].to_numpy(),
        column=columns[name],
        values=bad[name].head(5).to_list(),
        expected=expected,
        remedy=remedy,
    )
