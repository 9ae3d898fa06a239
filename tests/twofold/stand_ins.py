"""Generated stand-ins for data of four domains: no real data, each with what matters there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

HOUR = 3600
DAY = 24 * HOUR
START = 1_700_000_000
N_USERS = 48
TASTES = (("space", "robot", "war", "opera"), ("love", "red", "polish", "comedy"))


class StandIn(NamedTuple):
    """Tables as a build takes them."""

    interactions: pl.DataFrame
    items: pl.DataFrame


Row = tuple[str, str, int, str]  # user, item, seconds, event


def generate_shop() -> StandIn:
    """Return looks, carts, purchases and returns in a shop.

    ``gaped`` was looked at by 16 people who bought nothing, ``bought`` was bought by 3 on the same
    day, the last one. ``lemon`` was bought by everybody of taste 0 and sent back.
    """
    rng = np.random.default_rng(1)
    rows: list[Row] = []
    for user in range(N_USERS):
        at = START + int(rng.integers(20)) * DAY
        for item in rng.choice(16, 6, replace=False):
            name = _item(user, item)
            rows.append((f"u{user}", name, at, "view"))
            if rng.random() < 0.3:
                rows.append((f"u{user}", name, at + 300, "add_to_cart"))
            if rng.random() < 0.15:
                rows.append((f"u{user}", name, at + 600, "purchase"))
            at += int(rng.integers(1, 30)) * HOUR
        if user % 2 == 0:
            rows += [(f"u{user}", "lemon", at, "purchase"), (f"u{user}", "lemon", at + 9, "return")]
    last = START + 60 * DAY
    rows += [(f"u{user}", "gaped", last, "view") for user in range(16)]
    rows += [(f"u{user}", "bought", last, "purchase") for user in range(20, 23)]
    names = [f"a{n}" for n in range(32)] + ["lemon", "gaped", "bought"]
    items = pl.DataFrame(
        {"item_id": names, "title": _titles(rng, names), "brand": ["acme", "umbra"] * 17 + ["x"]}
    )
    return StandIn(_table(rows), items)


def generate_news() -> StandIn:
    """Return reads of articles that live for hours; their names are ``DAY-NUMBER``.

    ``8-12`` had 12 readers in one hour of the last day but one, ``9-12`` had 5 in that of the last.
    ``breaking-0`` and ``breaking-1``, of both tastes, appeared in the last hour, and nobody has
    read them. Nobody has read ``dud-0`` and ``dud-1`` either, which have the same texts and are of
    the first day.
    """
    rng, n_days, a_day = np.random.default_rng(2), 10, 12
    rows: list[Row] = []
    for day in range(n_days):
        for user in range(N_USERS):
            n_read = int(rng.random() < 0.6)
            # An article of taste t has a number of parity t.
            read = 2 * rng.choice(a_day // 2, n_read, replace=False) + user % 2
            at = START + day * DAY + rng.integers(1, 12 * HOUR, n_read)
            for number, when in zip(read, np.sort(at), strict=True):
                shown = f"{day}-{(number + 2) % a_day}"
                rows.append((f"u{user}", shown, int(when) - 60, "impression"))
                rows.append((f"u{user}", f"{day}-{number}", int(when), "click"))
    for lead, n_readers in ((n_days - 2, 12), (n_days - 1, 5)):
        moment = START + lead * DAY + 12 * HOUR
        rows += [(f"u{2 * user}", f"{lead}-{a_day}", moment, "click") for user in range(n_readers)]
    names = [f"{day}-{number}" for day in range(n_days) for number in range(a_day + 1)]
    born = [START + int(name.split("-")[0]) * DAY for name in names]
    names += ["breaking-0", "breaking-1", "dud-0", "dud-1"]
    born += [START + (n_days - 1) * DAY + 11 * HOUR] * 2 + [START] * 2
    tastes = [int(name.split("-")[1]) % 2 for name in names]
    titles = _titles(rng, names, tastes)
    titles[-2:] = titles[-4:-2]
    items = pl.DataFrame(
        {
            "news_id": names,
            "title": titles,
            "available_from": pl.Series(born).cast(pl.Int64) * 1000,
        }
    ).with_columns(pl.col("available_from").cast(pl.Datetime("ms", "UTC")))
    return StandIn(_table(rows), items)


def generate_social() -> StandIn:
    """Return likes, skips, shares and impressions in a feed, most of them without a click.

    ``viral`` was liked by 30 people a month before the end, ``today`` by 6 on the last day,
    ``shown`` was shown to everybody on the last day and liked by nobody. Users 0 to 5 hid ``spam``
    after they had liked it.
    """
    rng = np.random.default_rng(3)
    rows: list[Row] = []
    last = START + 32 * DAY
    for user in range(N_USERS):
        at = START + int(rng.integers(20)) * DAY
        for item in rng.choice(16, 8, replace=False):
            name, kind = _item(user, item), rng.choice(["like", "skip", "share", "view"])
            rows.append((f"u{user}", name, at, "impression"))
            rows.append((f"u{user}", name, at + 20, str(kind)))
            at += int(rng.integers(30, 200))
        rows.append((f"u{user}", "shown", last, "impression"))
    rows += [(f"u{user}", "viral", START + DAY, "like") for user in range(30)]
    rows += [(f"u{user}", "today", last, "like") for user in range(40, 46)]
    for user in range(6):
        rows += [(f"u{user}", "spam", last, "like"), (f"u{user}", "spam", last + 9, "hide")]
    names = [f"a{n}" for n in range(32)] + ["viral", "today", "shown", "spam"]
    items = pl.DataFrame({"item_id": names, "text": _titles(rng, names)})
    return StandIn(_table(rows), items)


def generate_video() -> StandIn:
    """Return stars for films, an evening of two films after the other.

    ``flop`` has two stars of 12 people, ``gem`` five of 6, all on the last day. ``part-1`` and
    ``part-2`` were always watched in one evening, two hours apart.
    """
    rng = np.random.default_rng(4)
    rows: list[tuple[str, str, int, float]] = []
    for user in range(N_USERS):
        at = START + int(rng.integers(20)) * DAY
        for item in rng.choice(16, 6, replace=False):
            rows.append((f"u{user}", _item(user, item), at, float(rng.choice([2, 3, 4, 5]))))
            at += int(rng.integers(2, 9)) * DAY
        if user % 3 == 0:
            rows += [(f"u{user}", "part-1", at, 4.0), (f"u{user}", "part-2", at + 2 * HOUR, 5.0)]
    last = START + 120 * DAY
    rows += [(f"u{user}", "flop", last, 2.0) for user in range(12)]
    rows += [(f"u{user}", "gem", last, 5.0) for user in range(20, 26)]
    names = [f"a{n}" for n in range(32)] + ["part-1", "part-2", "flop", "gem"]
    items = pl.DataFrame({"movie_id": names, "title": _titles(rng, names)})
    log = pl.DataFrame(rows, ["user_id", "movie_id", "timestamp", "rating"], orient="row")
    return StandIn(log, items)


def watched_shares(stars: StandIn) -> StandIn:
    """Return the same films with the share of each that was watched, in place of stars."""
    share = (pl.col("rating") / 5).alias("watch_ratio")
    return StandIn(stars.interactions.with_columns(share).drop("rating"), stars.items)


def _item(user: int, number: int) -> str:
    """Return an item of the user's taste: those of taste 0 come first."""
    return f"a{16 * (user % 2) + number}"


def _titles(
    rng: np.random.Generator, names: Sequence[str], tastes: Sequence[int] | None = None
) -> list[str]:
    halves = [int(n >= 16) for n in range(len(names))] if tastes is None else tastes
    return [" ".join(rng.choice(TASTES[half], 3, replace=False)) for half in halves]


def _table(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "event"], orient="row")
