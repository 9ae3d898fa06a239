"""Times of any common spelling as milliseconds since 1970 UTC."""

from __future__ import annotations

import polars as pl

EPOCH_UNITS = (
    # name, upper bound of the magnitude, factor to milliseconds as (multiply, divide)
    ("seconds", 1e11, 1000, 1),
    ("milliseconds", 1e14, 1, 1),
    ("microseconds", 1e17, 1, 1000),
    ("nanoseconds", 1e20, 1, 1_000_000),
)
EARLIEST = 100_000_000_000
"""Epoch numbers before this many milliseconds (3 March 1973) are taken for something else."""
LATEST = 4_102_444_800_000
"""First millisecond of the year 2100; later times are taken for mistakes."""

_ZONE = r"(?i)\s*(Z|UTC|[+-]\d{2}:?\d{2})$"
_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")

EXPECTED = "a time such as 2024-05-01T12:30:00Z, 2024-05-01 or seconds or milliseconds since 1970"
REMEDY = (
    "write it in one of these ways, between 1973 and 2100 (a mere order belongs in position_column)"
)


def to_milliseconds(values: pl.Series) -> tuple[pl.Series, str]:
    """Return times as milliseconds since 1970 UTC, and how they were read.

    Parameters
    ----------
    values
        Strings (ISO 8601 with or without a zone, or digits), dates, datetimes, or numbers since
        1970 whose unit is told from the magnitude of the largest.

    Returns
    -------
    pl.Series
        ``Int64``, null where the value is missing, no time, or outside 1973-2100 (numbers) or
        before 2100 (others). Times without a zone are taken as UTC.
    str
        How they were read, for a note.
    """
    if isinstance(values.dtype, pl.Datetime):
        zone = values.dtype.time_zone
        out = values.dt.convert_time_zone("UTC") if zone else values
        how = f"datetimes ({'zone ' + zone if zone else 'no zone, taken as UTC'})"
        return _until_2100(out.dt.epoch("ms")), how
    if values.dtype == pl.Date:
        return _until_2100(values.cast(pl.Datetime("ms")).dt.epoch("ms")), "dates, at midnight UTC"
    if values.dtype.is_numeric():
        return _from_numbers(values)
    if values.dtype == pl.String:
        as_numbers = _from_numbers(_digits(values.str.strip_chars()))
        as_iso = _from_iso(values)
        # Whichever leaves fewer cells unread, so that the error names the odd one out.
        return min(as_iso, as_numbers, key=lambda read: read[0].null_count())
    return pl.Series(values.name, [None] * len(values), dtype=pl.Int64), "nothing"


def _digits(values: pl.Series) -> pl.Series:
    whole = values.cast(pl.Int64, strict=False)
    if whole.null_count() == values.null_count():
        return whole
    return values.cast(pl.Float64, strict=False)


def _from_numbers(values: pl.Series) -> tuple[pl.Series, str]:
    if values.dtype.is_float() or values.dtype.is_decimal():
        values = values.cast(pl.Float64)
        values = values.set(~values.is_finite(), None)
    largest = abs(float(values.max() or 0))  # type: ignore[arg-type]
    name, _, times, over = next(
        (unit for unit in EPOCH_UNITS if largest < unit[1]), EPOCH_UNITS[-1]
    )
    if values.dtype.is_float():
        out = (values * times / over).round().cast(pl.Int64, strict=False)
    else:
        out = values.cast(pl.Int64, strict=False) * times // over
    out = out.set(out < EARLIEST, None)
    return _until_2100(out), f"{name} since 1970"


def _from_iso(values: pl.Series) -> tuple[pl.Series, str]:
    text = values.str.strip_chars()
    zoned = text.str.contains(_ZONE) & text.str.contains(r"\d:\d|[Zz]$|UTC$")
    any_zone = bool(zoned.any())
    frame = pl.DataFrame({"text": text, "zoned": zoned})
    zone = pl.col("text").str.extract(_ZONE, 1)
    local = pl.when("zoned").then(pl.col("text").str.replace(_ZONE, "")).otherwise("text")
    minutes = (
        pl.when(pl.col("zoned") & zone.str.contains(r"^[+-]"))
        .then(
            pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
            * (
                zone.str.slice(1, 2).cast(pl.Int64, strict=False) * 60
                + zone.str.slice(-2).cast(pl.Int64, strict=False)
            )
        )
        .otherwise(0)
    )
    if any_zone:
        frame = frame.select(local.alias("text"), minutes.alias("minutes"))
    else:
        frame = frame.select("text", pl.lit(0, dtype=pl.Int64).alias("minutes"))
    plain = pl.col("text").str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
    parsed = pl.coalesce(
        plain.str.to_datetime(one, time_unit="ms", strict=False) for one in _FORMATS
    )
    out = frame.select(
        (parsed.dt.epoch("ms") - pl.col("minutes") * 60_000).alias("time")
    ).to_series()
    how = "ISO 8601"
    if any_zone and not bool(zoned.all()):
        how += ", zones where given, others taken as UTC"
    else:
        how += " with zones" if any_zone else " without a zone, taken as UTC"
    return _until_2100(out.rename(values.name)), how


def _until_2100(times: pl.Series) -> pl.Series:
    return times.set(times >= LATEST, None)
