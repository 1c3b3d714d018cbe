"""A value in a cell of every format, read as every kind of column; what it means is worked out in plain Python."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import itertools
import json
import pathlib
import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from cdrzoo.data.readers import Wanted, read
from tests.attack.judge import NO_VALUE, Case

NAN = float("nan")
KINDS = {
    "id": Wanted("x", "string"),
    "whole id": Wanted("x", "int64"),
    "count": Wanted("x", "int64", is_id=False),
    "number": Wanted("x", "float", is_id=False),
    "label": Wanted("x", "finite"),
    "time": Wanted("x", "time"),
    "ids": Wanted("x", "string", many=True),
    "whole ids": Wanted("x", "int64", many=True),
}
FILLERS: dict[str, Any] = {
    "id": "a",
    "whole id": 5,
    "count": 5,
    "number": 2.5,
    "label": 1,
    "time": 1_700_000_000,
    "ids": ["a", "b"],
    "whole ids": [3, 4],
}
"""What stands in the other rows."""

TEXTS = (
    """7|007| 7 |7.0|7.5|.5|5.|1e3|1E3|1e-3|-0|+5|-1|-2|-7.5|9007199254740992|9007199254740993|9223372036854775807|
9223372036854775808|-9223372036854775808|18446744073709551615|1e18|1e19|1e300|1e400|||  |\t|NA|N/A|NaN|nan|NULL|null|
None|none|\\N|#N/A|<NA>|inf|-inf|Infinity|true|TRUE|false|yes|no|on|0x10|0b1|0o7|1_000|1,000|1,5|1.234,5|1 000|5%|$5|
--5|5-|1e|e5|1.2.3|１２|٣|²|½|é|größe|💥|x\0a|\0|2023-11-15|2023-11-15T00:03:57Z|2023-11-15 00:03|15/11/2023|11/15/23|
2023-13-45|00:03:57|a b| a|a |'a'|"a"|[1, 2]|{'a': 1}|b'a'|a;b|=1+1|NaT|1,2""".replace("\n", "").split("|")
    + [
        "9" * 400,
        "1" * 5000,
        "x" * 100_000,
        "a|b",
        "1|2",
        "1||2",
        "|",
        "1|x",
        "1|2.5",
    ]
)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
_DATES = {
    "2023-11-14": 1699920000,
    "2023-11-15": 1700006400,
    "2023-11-15T00:03:57Z": 1700006637,
    "2023-11-15 00:03": 1700006580,
}

Meaning = tuple[Any, bool]
"""The right value (`NO_VALUE`: none), and whether it may be refused."""
WRONG: Meaning = (NO_VALUE, True)


def of_number(kind: str, number: Decimal | int) -> Meaning:
    """What a finite number means."""
    whole = number == int(number) if abs(number) < 10**500 else isinstance(number, int)
    if kind in ("whole id", "count", "time") and whole:
        found = int(number)
        least = {"whole id": -1, "count": -(2**63), "time": 0}[kind]
        if not least <= found < 2**63 or (kind == "count" and found == -1):
            return WRONG
        return found, isinstance(number, Decimal) and abs(found) >= 2**53
    if kind in ("whole id", "count") or (kind == "time" and number < 0):
        return WRONG
    try:
        found = float(number)
    except OverflowError:
        return WRONG
    if kind == "number":
        with np.errstate(over="ignore"):
            found = np.float32(found)
        return (found, False) if np.isfinite(found) else WRONG
    exact = isinstance(number, Decimal) or int(found) == number if np.isfinite(found) else False
    return (found, False) if exact else WRONG


def of_missing(kind: str) -> Meaning:
    """What an empty cell means."""
    return {"id": ("", False), "ids": ([], False), "whole ids": ([], False), "number": (NAN, False)}.get(
        kind, WRONG if kind in ("label", "time") else (-1, False)
    )


def of_text(kind: str, text: str) -> Meaning:
    """What text means."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return WRONG
    if kind == "id":
        return text, False
    if kind in ("ids", "whole ids"):
        return of_list(kind, text.split("|") if text else [])
    stripped = text.strip(" \t")
    if stripped in _MISSING:
        return of_missing(kind)
    if _NUMBER.fullmatch(stripped):
        plain = "e" not in stripped.lower() and "." not in stripped
        number = int(stripped) if plain and len(stripped) < 4000 else Decimal(stripped)
        value, refusable = of_number(kind, number)
        return value, refusable or len(stripped) > 300
    if kind in ("number", "label") and stripped.lower() in ("true", "false"):
        return float(stripped.lower() == "true"), False
    if kind == "time" and stripped in _DATES:
        return float(_DATES[stripped]), False
    try:  # digits of another script, 0x10 or 1_000: right, if not refused
        return of_number(kind, int(stripped, 16 if stripped.startswith("0x") else 10))[0], True
    except ValueError:
        return WRONG


def of_list(kind: str, values: list[Any]) -> Meaning:
    """What a list means."""
    if kind not in ("ids", "whole ids"):
        return WRONG
    one = "id" if kind == "ids" else "whole id"
    found = [of(one, value) if not isinstance(value, (list, tuple)) else WRONG for value in values]
    if any(value is NO_VALUE for value, _ in found):
        return WRONG
    return [value for value, _ in found], any(refusable for _, refusable in found)


def of(kind: str, value: Any) -> Meaning:
    """What a value of Python means."""
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return of_missing(kind)
    if isinstance(value, Decimal) and not value.is_finite():
        return of_missing(kind) if value.is_nan() else WRONG
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return WRONG
    if isinstance(value, str):
        return of_text(kind, value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return of_list(kind, list(value))
    if isinstance(value, bool):
        return (float(value), kind == "count") if kind in ("number", "label", "count") else WRONG
    if isinstance(value, np.datetime64):
        value = value.astype(datetime.datetime)
    if isinstance(value, (datetime.datetime, datetime.date)):
        if kind != "time":
            return WRONG
        whole = value if isinstance(value, datetime.datetime) else datetime.datetime(*value.timetuple()[:3])
        whole = whole if whole.tzinfo else whole.replace(tzinfo=datetime.timezone.utc)
        return whole.timestamp(), False
    if not isinstance(value, (int, float, Decimal)):
        return WRONG
    if kind in ("ids", "whole ids"):
        if isinstance(value, int) or (isinstance(value, Decimal) and value == int(value)):
            return of_list(kind, [int(value)])
        return WRONG
    if kind == "id":
        if isinstance(value, int) or (isinstance(value, Decimal) and value == int(value)):
            return (str(int(value)), False) if abs(value) < 10**4000 else WRONG
        return WRONG
    if isinstance(value, float):
        if not np.isfinite(value) or (kind in ("whole id", "count") and abs(value) >= 2**53):
            return WRONG
        return of_number(kind, Decimal(value))
    right, refusable = of_number(kind, value)
    return right, refusable or (kind == "label" and abs(value) >= 2**53)


# Formats: each writes a column, and gives what `read` takes. ---------------------------------------------------------

COUNTER = itertools.count()


def new(ending: str) -> pathlib.Path:
    """A file that there is not yet."""
    return pathlib.Path(f"{next(COUNTER)}{ending}")


def cell(value: Any) -> str:
    """A cell of CSV."""
    if isinstance(value, list):
        return "|".join(map(str, value))
    return "" if value is None else str(value)


def as_csv(values: list[Any], delimiter: str = ",", ending: str = ".csv", **style: Any) -> pathlib.Path:
    path, text = new(ending), io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, **style)
    writer.writerows([["y", "x"], *([row, cell(value)] for row, value in enumerate(values))])
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    return path


def as_jsonl(values: list[Any]) -> pathlib.Path:
    path = new(".jsonl")
    path.write_text("".join(json.dumps({"y": 1, "x": value}) + "\n" for value in values), encoding="ascii")
    return path


def as_parquet(values: Any) -> pathlib.Path:
    path = new(".parquet")
    array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    parquet.write_table(pa.table({"y": pa.array(range(len(array))), "x": array}), path, version="2.6")
    return path


def as_tfrecord(values: list[Any]) -> pathlib.Path:
    import tensorflow as tf

    path = new(".tfrecord")
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value in values:
            example = tf.train.Example()
            example.features.feature["y"].int64_list.value.append(1)
            several = value if isinstance(value, list) else [] if value is None else [value]
            held = example.features.feature["x"]
            for one in several:
                if isinstance(one, (str, bytes)):
                    held.bytes_list.value.append(one.encode() if isinstance(one, str) else one)
                elif isinstance(one, float):
                    held.float_list.value.append(one)
                else:
                    held.int64_list.value.append(int(one))
            writer.write(example.SerializeToString())
    return path


def as_frame(values: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"y": range(len(values)), "x": pd.Series(values, dtype=object)})


TEXT_FORMATS: dict[str, Callable[[list[Any]], Any]] = {
    "csv": as_csv,
    "csv, all in quotes": lambda values: as_csv(values, quoting=csv.QUOTE_ALL),
    "csv.gz": lambda values: as_csv(values, ending=".csv.gz"),
    "tsv": lambda values: as_csv(values, "\t", ".tsv"),
    "csv, lines of Unix": lambda values: as_csv(values, lineterminator="\n"),
    "jsonl": as_jsonl,
    "parquet": as_parquet,
    "parquet, dictionary": lambda values: as_parquet(pa.array(values, pa.string()).dictionary_encode()),
    "parquet, bytes": lambda values: as_parquet(pa.array([v.encode() for v in values], pa.binary())),
    "parquet, large": lambda values: as_parquet(pa.array(values, pa.large_string())),
    "tfrecord": as_tfrecord,
    "frame": as_frame,
    "frame, category": lambda values: as_frame(values).astype({"x": "category"}),
}

OBJECTS: list[Any] = [
    *(0, 7, -1, -2, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**70, 10**400, -(10**30)),
    *(0.0, 1.0, 7.5, -1.0, -2.5, 2.0**53, 1e300, NAN, float("inf"), float("-inf")),
    *(True, False, None, "", " ", "7", "7.5", "true", "NA", "a", "a|b", "1|2", "2023-11-15", "b\ud83d", "\0"),
    *([], [1], [1, 2], ["a"], ["a", 1], [None], [True], [1.5], [[1]], ["b\ud83d"], {}, {"a": 1}, [{"a": 1}]),
    *([0], [-1], [-2], [2**63], [2**53 + 1], ["1", 2], [""], [NAN]),
]
OF_FRAMES: list[Any] = [
    *(pd.NA, pd.NaT, b"7", b"\xff", Decimal("7"), Decimal("7.5"), Decimal("NaN"), Decimal("1e30"), (1, 2), ("a",)),
    *(np.float32(1.5), np.int8(7), np.bool_(True), np.array([1, 2]), np.array([[1]]), np.float64("nan"), np.uint64(2**63)),
    *(pd.Timestamp("2023-11-15"), pd.Timestamp("2023-11-15", tz="Asia/Tokyo"), datetime.date(2023, 11, 15)),
    *(np.datetime64("2023-11-15"), np.timedelta64(1, "s"), pd.Timedelta("1s"), pd.Period("2020"), 1 + 2j, ...),
    *({1, 2}, frozenset(), range(3), Exception("x"), pd.Series([1]), lambda: 1, Decimal("inf"), Decimal("sNaN")),
]  # fmt: skip
DATES = (pd.Timestamp, datetime.date, np.datetime64)


def right_of(kind: str, values: list[Any]) -> Any:
    """What the whole column means, and whether it may be refused."""
    found = [of(kind, value) for value in values]
    refusable = any(one for _, one in found)
    if any(value is NO_VALUE for value, _ in found):
        return NO_VALUE, True
    return [value for value, _ in found], refusable


def case(name: str, kind: str, source: Callable[[], Any], right: Any, row: int | None) -> Case:
    """A case of one column; a message names the column and, where it is of one value, its row."""
    value, refusable = right
    words = ("'x'", *(() if row is None else (f"row {row + 1}",)))

    def run() -> Any:
        values = read(source(), {"x": KINDS[kind]})["x"]
        return [list(one) for one in values.to_lists()] if KINDS[kind].many else list(values)

    return Case(f"{name}, read as {kind}", run, value, words if refusable else None)


def of_cells(seed: int) -> Iterator[tuple[str, Case]]:
    """Every text and every object, read as every kind, in formats and at places that the seed draws."""
    drawn = random.Random(seed)

    def column(kind: str, value: Any) -> tuple[list[Any], int]:
        rows = drawn.randrange(2, 12)
        filler = FILLERS[kind]
        if kind == "time" and (isinstance(value, DATES) or (isinstance(value, str) and value in _DATES)):
            filler = "2023-11-14"
        at = drawn.randrange(rows)
        return [value if row == at else filler for row in range(rows)], at

    formats = list(TEXT_FORMATS)
    for text, kind in itertools.product(TEXTS, KINDS):
        for form in drawn.sample(formats, 2):
            values, at = column(kind, text)
            flat = [cell(value) for value in values]
            if form == "tfrecord" and KINDS[kind].many:  # lists of its own: text is not split
                flat = [value if isinstance(value, list) else [value] for value in values]
                flat = [[str(one) for one in value] for value in flat]
            right = right_of(kind, flat)
            yield (
                form.split(",")[0].removesuffix(".gz"),
                case(
                    f"{form}: {text!r:.40}",
                    kind,
                    lambda form=form, flat=flat: TEXT_FORMATS[form](flat),
                    right,
                    at,
                ),
            )
    for value, kind in itertools.product(OBJECTS, KINDS):
        values, at = column(kind, value)
        right = right_of(kind, values)
        yield "jsonl", case(f"{value!r:.40}", kind, lambda values=values: as_jsonl(values), right, at)
        yield "frame", case(f"{value!r:.40}", kind, lambda values=values: as_frame(values), right, at)
    for value, kind in itertools.product(OF_FRAMES, KINDS):
        values, at = column(kind, value)
        yield (
            "frame",
            case(f"{value!r:.40}", kind, lambda values=values: as_frame(values), right_of(kind, values), at),
        )
