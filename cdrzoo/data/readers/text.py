"""Numbers, booleans and times that stand in text."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd


def _plain_numbers(text: pd.Series) -> pd.Series:
    return pd.to_numeric(text, errors="coerce")


def _numbers_and_booleans(text: pd.Series) -> pd.Series:
    truths = text.str.lower().map({"true": 1.0, "false": 0.0})
    return _plain_numbers(text).where(truths.isna(), truths)


def _times(text: pd.Series) -> pd.Series:
    """Numbers, or Unix seconds of dates as ISO 8601 has them; without a zone in UTC, as timestamps of Parquet are."""
    numbers = _plain_numbers(text)
    if numbers.notna().any():
        return numbers
    found = text.str.extract(_ISO)
    date = pd.to_datetime(found["date"], format="%Y-%m-%d", errors="coerce")
    days = (date - pd.Timestamp(0)) // pd.Timedelta(days=1)
    hour, minute, second = (_plain_numbers(found[part].fillna("0")) for part in ("hour", "minute", "second"))
    hours, minutes = (_plain_numbers(found[part].fillna("0")) for part in ("hours", "minutes"))
    zone = (60 * hours + minutes).where(found["sign"] != "-", -60 * hours - minutes)
    seconds = 86400 * days + 3600 * hour + 60 * (minute - zone) + second
    micro = _plain_numbers(found["fraction"].fillna("").str.slice(0, 6).str.pad(6, "right", "0"))
    fine = date.notna() & (hour < 24) & (minute < 60) & (second < 60)
    return ((1e6 * seconds + micro) / 1e6).where(fine)


_ISO = (
    r"^(?P<date>\d{4}-\d\d-\d\d)(?:[T ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r" ?(?:Z|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)?)?$"
)
TEXT: dict[str, tuple[Callable[[pd.Series], pd.Series], str, str]] = {
    "int64": (_plain_numbers, "a whole number", "Empty means missing."),
    "float": (_numbers_and_booleans, "a number, true or false", "Empty means missing."),
    "finite": (
        _numbers_and_booleans,
        "a number, true or false",
        "Write it as one of these; for yes and no 1 and 0.",
    ),
    "time": (
        _times,
        "a time",
        "Write all as numbers, such as Unix seconds, or all as dates of ISO 8601, such as 2023-11-15T00:03:57Z.",
    ),
}
"""By dtype: what reads text that is no plain number, what is wanted where it is none, and how to mend it."""
