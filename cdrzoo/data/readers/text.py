"""Numbers, booleans and times that stand in text."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_PLAIN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def _plain_numbers(text: pd.Series) -> pd.Series:
    """A number is the same to the bit whatever stands beside it: Arrow reads it, as where all are numbers."""
    numbers = pd.to_numeric(text, errors="coerce").astype(np.float64)
    array = pa.array(text, pa.string(), from_pandas=True)
    plain = pc.fill_null(pc.match_substring_regex(array, _PLAIN), False)
    exact = pc.replace_substring_regex(array.filter(plain), "^[+]", "").cast(pa.float64())
    numbers[plain.to_numpy(zero_copy_only=False)] = exact.to_numpy(zero_copy_only=False)
    return numbers


def _numbers_and_booleans(text: pd.Series) -> pd.Series:
    truths = text.str.lower().map({"true": 1.0, "false": 0.0})
    return _plain_numbers(text).where(truths.isna(), truths)


def _dates(text: pd.Series) -> pd.Series:
    """Unix seconds of dates as ISO 8601 has them; without a zone in UTC, as timestamps of Parquet are."""
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
        _plain_numbers,
        "a time",
        "Write all as numbers, such as Unix seconds, or all as dates of ISO 8601, such as 2023-11-15T00:03:57Z.",
    ),
}
"""By dtype: what reads text that is no plain number, what is wanted where it is none, and how to mend it."""


def is_date(text: str) -> bool:
    """Whether a text is a date as ISO 8601 has it."""
    return re.match(_ISO, text.strip()) is not None


def numbers_of_text(text: pd.Series, dtype: str, dates: bool = False) -> tuple[pa.Array, int | None]:
    """Text that is not plain numbers throughout, `None` where missing, to int64 or float64; `dates` to Unix seconds.

    Whole numbers keep every digit: for int64 those of 2**53 and more do not go through a float.

    Returns:
        The numbers, and the place of the first text that is none (`None`: all are).
    """
    parsed = _dates(text) if dates else TEXT[dtype][0](text)
    if dtype == "int64":
        whole = [None if one is None else _whole(one, n) for one, n in zip(text, parsed, strict=True)]
        found = pa.array(whole, pa.int64())
        bad = found.is_null().to_numpy(zero_copy_only=False) & text.notna().to_numpy()
    else:
        found = pa.array(parsed.to_numpy(np.float64), from_pandas=True)
        said = text.str.fullmatch("[+-]?nan", case=False, na=False)  # that it is no number, as Arrow takes it
        bad = (parsed.isna() & text.notna() & ~said).to_numpy(bool)
    return found, int(np.argmax(bad)) if bad.any() else None


def lost(text: pd.Series, numbers: np.ndarray) -> int | None:
    """The place of the first whole number that lost digits when it became a float64."""
    for at in np.flatnonzero(np.abs(numbers) >= 2**53):
        if np.isfinite(numbers[at]) and _DIGITS.fullmatch(text[at]) and len(text[at]) < 400:
            if int(text[at].partition(".")[0]) != int(numbers[at]):
                return int(at)
    return None


_DIGITS = re.compile(r"[+-]?([0-9]+)(?:\.0*)?")
_HEXADECIMAL = re.compile("0[xX][0-9a-fA-F]{1,15}")


def _whole(text: str, number: float) -> int | None:
    """The number that text stands for, if it is one that int64 holds; `number` is that as a float."""
    if _HEXADECIMAL.fullmatch(text):  # Arrow takes it
        return int(text, 16)
    if _DIGITS.fullmatch(text):
        whole = int(text.partition(".")[0]) if len(text) < 100 else 2**63
        return whole if -(2**63) <= whole < 2**63 else None
    return int(number) if number % 1 == 0 and abs(number) < 2**53 else None
