"""Wrong inputs of the kinds that people report: a value is read right, or refused with its column, row and a fix."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import gzip
import json
import math
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from cdrzoo.data import Encoder, prepare
from cdrzoo.data.preparation.cells import cells
from cdrzoo.data.preparation.reading import read_logs
from cdrzoo.data.raw import factorize
from cdrzoo.data.readers import Wanted, as_written, column_names, files, read
from cdrzoo.errors import DataError, SchemaError
from cdrzoo.schema import Domain, Feature, Reading, Schema, Table

ID = Wanted("x", "string")
WHOLE = Wanted("x", "int64")
COUNT = Wanted("x", "int64", is_id=False)
NUMBER = Wanted("x", "float", is_id=False)
LABEL = Wanted("x", "finite")
TIME = Wanted("x", "time")
TAGS = Wanted("x", "string", many=True)
NUMBERS = Wanted("x", "int64", many=True)
NAN = math.nan


def found(source, want: Wanted, **options) -> list:
    values = read(source, {"x": want}, **options)["x"]
    return [list(row) for row in values.to_lists()] if want.many else list(values)


def refused(source, want: Wanted, *words: str, **options) -> None:
    with pytest.raises(DataError) as caught:
        read(source, {"x": want}, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 900


def table(folder, values, kind=None):
    path = folder / "a.parquet"
    array = values if isinstance(values, pa.Array) else pa.array(values, kind)
    parquet.write_table(pa.table({"x": array}), path, version="2.6")  # nanoseconds, by PyArrow 10 too
    return path


def lines(folder, values):
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({} if value is ... else {"x": value}) + "\n" for value in values))
    return path


def text(folder, content, name="a.csv"):
    path = folder / name
    path.write_text(content)
    return path


# Values -------------------------------------------------------------------------------------------------------------

LARGE = 2**53 + 1  # the first whole number that no float64 holds


@pytest.mark.parametrize(
    "form", [lines, lambda _, values: pd.DataFrame({"x": pd.Series(values, dtype=object)})]
)
@pytest.mark.parametrize(
    ("want", "values", "right"),
    [
        (LABEL, [True, False, 1, 0.5], [1, 0, 1, 0.5]),
        (LABEL, [True, 0, "1"], [1, 0, 1]),
        (NUMBER, [True, None, 2], [1, NAN, 2]),
        (NUMBER, [2**64, 1], [2.0**64, 1]),
        (NUMBER, [2**70, 1.5], [2.0**70, 1.5]),
        (NUMBER, [2**63, "7"], [2.0**63, 7]),
        (WHOLE, [LARGE, None, 5], [LARGE, -1, 5]),
        (WHOLE, [LARGE, 5.0], [LARGE, 5]),
        (WHOLE, [str(LARGE), 5, "6.0"], [LARGE, 5, 6]),
        (TIME, [LARGE, 5], [LARGE, 5]),
        (ID, [2**70, "a", 0], [str(2**70), "a", "0"]),
        (ID, ["x\0a", "x\0b"], ["x\0a", "x\0b"]),
        (TAGS, [["a", 0], 0, None, [], "b|c", [""]], [["a", "0"], ["0"], [], [], ["b", "c"], [""]]),
        (NUMBERS, [[0, 1], 0, None, "3|0"], [[0, 1], [0], [], [3, 0]]),
    ],
)
def test_python_values_are_read_right(tmp_path, form, want, values, right):
    got = found(form(tmp_path, values), want)
    assert got == right if want.many or want is ID else np.array_equal(got, right, equal_nan=True)


@pytest.mark.parametrize(
    "form", [lines, lambda _, values: pd.DataFrame({"x": pd.Series(values, dtype=object)})]
)
@pytest.mark.parametrize(
    ("want", "values", "words"),
    [
        (WHOLE, [1, 2**63], ["row 2", "below 2**63", "dtype: string"]),
        (WHOLE, [1, -(2**63) - 1], ["row 2"]),
        (WHOLE, [1, 2.0**53, 3], ["row 2", "2**53"]),
        (WHOLE, [1.5, 1], ["row 1", "whole number"]),
        (WHOLE, [1, True], ["row 2", "True"]),
        (WHOLE, ["1", str(2**63), 2], ["row 2", "below 2**63", "dtype: string"]),
        (TIME, [1, 2**63], ["row 2", "below 2**63"]),
        (TIME, [1.5, LARGE], ["row 2", "2**53"]),
        (TIME, [1, True], ["row 2", "True"]),
        (LABEL, [1.5, LARGE], ["row 2", "2**53"]),
        (LABEL, [1, None], ["row 2", "missing"]),
        (NUMBER, [1.5, 10**400], ["row 2", "finite number"]),
        (NUMBER, [1, [2]], ["row 2", "[2]"]),
        (NUMBER, [1, {"a": 1}], ["row 2", "{'a': 1}"]),
        (ID, ["a", True], ["row 2", "True"]),
        (ID, ["a", 1.5], ["row 2", "1.5"]),
        (ID, ["a", "b\ud83d"], ["row 2", "half a character", "\\ud83d"]),
        (WHOLE, ["1", "b\ud83d"], ["row 2", "half a character"]),
        (TAGS, [["a"], ["b", "\ud83d"]], ["row 2", "half a character"]),
        (TAGS, [["a"], False], ["row 2", "False", "list of ids"]),
        (TAGS, [["a"], 0.0], ["row 2", "0.0", "list of ids"]),
        (TAGS, [["a"], [False]], ["row 2", "False"]),
        (NUMBERS, [[1], [0, False]], ["row 2", "False"]),
        (TAGS, [["a"], [["b"]]], ["row 2", "['b']"]),
        (TAGS, [["a"], {"b": 1}], ["row 2", "list of ids"]),
        (COUNT, [3, -1, 5], ["row 2", "-1", "dtype: float32"]),
    ],
)
def test_python_values_are_refused_with_their_row(tmp_path, form, want, values, words):
    refused(form(tmp_path, values), want, "column 'x'", *words)


@pytest.mark.parametrize(
    ("want", "values", "right"),
    [
        (ID, ["a", pd.NA, 1, None, NAN], ["a", "", "1", "", ""]),
        (NUMBER, [decimal.Decimal("1.5"), 2.5, decimal.Decimal("NaN")], [1.5, 2.5, NAN]),
        (WHOLE, [decimal.Decimal(LARGE), 1, pd.NA], [LARGE, 1, -1]),
        (ID, [decimal.Decimal("12.00"), "a"], ["12", "a"]),
        (ID, [b"a", "b"], ["a", "b"]),
        (NUMBER, [np.float32(1.5), np.int8(2), np.bool_(True), "3"], [1.5, 2, 1, 3]),
        (TIME, [pd.Timestamp("2023-11-15T00:03:57Z"), "2023-11-15T00:03:58Z"], [1700006637, 1700006638]),
        (TIME, [datetime.datetime(2023, 11, 15), datetime.date(2023, 11, 16)], [1700006400, 1700092800]),
        (TAGS, [np.array(["a", "b"]), ("c",), pd.NA], [["a", "b"], ["c"], []]),
    ],
)
def test_objects_of_a_frame_are_read_right(want, values, right):
    got = found(pd.DataFrame({"x": pd.Series(values, dtype=object)}), want)
    np.testing.assert_array_equal(got, right) if not want.many else [list(row) for row in got] == right


@pytest.mark.parametrize(
    ("want", "series", "words"),
    [
        (
            WHOLE,
            pd.Series([1.0, None, 2.0**53]),
            ["row 3", "2**53"],
        ),  # pandas made floats of whole numbers with a gap
        (WHOLE, pd.Series([1, 2**63], dtype="uint64"), ["row 2", str(2**63), "dtype: string"]),
        (ID, pd.Series(["a", b"\xff"], dtype=object), ["row 2", "UTF-8"]),
        (ID, pd.Series([b"a", b"\xff"], dtype=object), ["row 2", "UTF-8"]),
        (NUMBER, pd.Series([1 + 2j, 1]), ["row 1"]),
        (ID, pd.Series(pd.to_timedelta(["1s"])), ["column 'x'"]),
        (NUMBER, pd.Series(pd.to_timedelta(["1s"])), ["column 'x'"]),
        (NUMBER, pd.Series(pd.period_range("2020", periods=1)), ["column 'x'"]),
        (NUMBER, pd.Series(pd.interval_range(0, 1)), ["column 'x'"]),
        (TIME, pd.Series([object(), 1], dtype=object), ["row 1"]),
    ],
)
def test_columns_of_a_frame_are_refused_in_a_line(want, series, words):
    refused(pd.DataFrame({"x": series}), want, *words)


def test_times_of_a_frame_keep_what_float64_holds():
    times = pd.to_datetime(["2023-11-15T00:03:57.123456789", "1970-01-01T00:00:00.000000001"])
    for kind in ("datetime64[ns]", "datetime64[ns, UTC]"):
        frame = pd.DataFrame({"x": times.tz_localize("UTC") if "UTC" in kind else times})
        np.testing.assert_allclose(found(frame, TIME), [1700006637.123456789, 1e-9], rtol=1e-15)


@pytest.mark.parametrize("values", [[1, 0, 2], [1.0, None, 2.0]])
def test_sparse_and_categorical_columns(values):
    column = pd.Series(values)
    right = found(pd.DataFrame({"x": column}), NUMBER)
    for kind in ("category", pd.SparseDtype(column.dtype)):
        np.testing.assert_array_equal(found(pd.DataFrame({"x": column.astype(kind)}), NUMBER), right)


def test_a_missing_count_is_told_from_minus_one(tmp_path):
    assert found(text(tmp_path, "x,y\n3,1\n,1\nNA,1\n-2,1\n"), COUNT) == [3, -1, -1, -2]
    refused(text(tmp_path, "x,y\n3,1\n,1\n-1,1\n"), COUNT, "a.csv, column 'x', row 3", "-1", "dtype: float32")
    refused(table(tmp_path, [3, None, -1], pa.int64()), COUNT, "row 3")
    assert found(table(tmp_path, [3, None, -1], pa.int64()), WHOLE) == [3, -1, -1]  # of ids -1 is missing


# Parquet ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("want", "values", "right"),
    [
        (
            WHOLE,
            pa.array([decimal.Decimal("123456789012345678"), None], pa.decimal128(38, 0)),
            [123456789012345678, -1],
        ),
        (
            ID,
            pa.array([decimal.Decimal("12345678901234567890"), None], pa.decimal128(38, 0)),
            ["12345678901234567890", ""],
        ),
        (ID, pa.array([decimal.Decimal("7.00")], pa.decimal128(9, 2)), ["7"]),
        (NUMBER, pa.array([decimal.Decimal("1.25"), None], pa.decimal128(9, 2)), [1.25, NAN]),
        (NUMBER, pa.array([decimal.Decimal("1.25")], pa.decimal256(50, 2)), [1.25]),
        (LABEL, pa.array([decimal.Decimal("1"), decimal.Decimal("0")], pa.decimal128(1, 0)), [1, 0]),
        (ID, pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"]),
        (WHOLE, pa.array([7, None, 7]).dictionary_encode(), [7, -1, 7]),
        (LABEL, pa.array([True, False]), [1, 0]),
        (TIME, pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")), [1_700_000_000.0]),
        (TIME, pa.array([1_700_000_000], pa.timestamp("s", tz="Asia/Tokyo")), [1_700_000_000.0]),
        (TIME, pa.array([datetime.date(2023, 11, 15)]), [1700006400]),
        (ID, pa.array([b"a", b"b"], pa.large_binary()), ["a", "b"]),
    ],
)
def test_types_of_parquet(tmp_path, want, values, right):
    np.testing.assert_array_equal(found(table(tmp_path, values), want), right)


def test_decimals_that_are_no_whole_numbers(tmp_path):
    path = table(tmp_path, pa.array([decimal.Decimal("7.00"), decimal.Decimal("7.50")], pa.decimal128(9, 2)))
    refused(path, WHOLE, "row 2", "7.5", "whole number")
    refused(path, ID, "row 2", "7.5")
    path = table(tmp_path, pa.array([decimal.Decimal(1), decimal.Decimal(2**63)], pa.decimal128(38, 0)))
    refused(path, WHOLE, "row 2", "2**63", "dtype: string")


def test_lists_of_decimals_and_of_dictionaries(tmp_path):
    cents = pa.array([[decimal.Decimal(1)], None, [decimal.Decimal(2), None]], pa.list_(pa.decimal128(9, 0)))
    assert found(table(tmp_path, cents), NUMBERS) == [[1], [], [2, -1]]
    shared = pa.ListArray.from_arrays(
        pa.array([0, 1, 3], pa.int32()), pa.array(["a", "b", "a"]).dictionary_encode()
    )
    assert found(table(tmp_path, shared), TAGS) == [["a"], ["b", "a"]]


@pytest.mark.skipif(not hasattr(pa, "string_view"), reason="PyArrow 10 has no views")
def test_views_and_runs():
    from cdrzoo.data.readers.conversion import convert

    def scalars(array, want):
        return convert(array, want, "here", 0)

    assert list(scalars(pa.array(["a", None], pa.string_view()), ID)) == ["a", ""]
    assert list(scalars(pa.array([b"1", None], pa.binary_view()), WHOLE)) == [1, -1]
    views = pa.array([["a", "b"], None, ["c"]], pa.list_view(pa.string()))
    assert [list(row) for row in scalars(views, TAGS).to_lists()] == [["a", "b"], [], ["c"]]
    assert list(scalars(pa.chunked_array([pa.array(["a", "b"], pa.string_view())]), ID)) == ["a", "b"]
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([5, 7]))
    assert list(scalars(runs, WHOLE)) == [5, 5, 7]


# JSON ---------------------------------------------------------------------------------------------------------------


def test_json_that_python_does_not_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n{"x": ' + "9" * 5000 + "}\n")
    refused(path, NUMBER, "a.jsonl", "line 2", "4,000 digits")
    path.write_text('{"x": 1}\n{"x": ' + "[" * 100_000 + "}\n")
    refused(path, NUMBER, "a.jsonl", "line 2")


def test_a_key_that_is_first_seen_late(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"y": 1}\n' * 150 + '{"y": 1, "x": "late"}\n')
    assert found(path, ID) == [""] * 150 + ["late"]
    refused(path, Wanted("z", "string"), "lacks the column 'z'")


def test_a_feature_that_is_first_seen_late_in_records(tmp_path):
    import tensorflow as tf

    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in range(151):
            example = tf.train.Example()
            example.features.feature["y"].int64_list.value.append(row)
            if row == 150:
                example.features.feature["x"].int64_list.value.append(7)
            writer.write(example.SerializeToString())
    assert found(path, ID) == [""] * 150 + ["7"]  # of a kind that a glance at the first rows does not show


# CSV ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [20_000])
def test_many_columns_take_no_long(tmp_path, count):
    names = ",".join(f"column_{i}" for i in range(count))
    path = text(tmp_path, f"{names}\n{','.join(['1'] * count)}\n")
    start = time.perf_counter()
    assert len(column_names(path)) == count
    refused(path, ID, "lacks the column 'x'")
    assert time.perf_counter() - start < 5  # 80 s when names were counted one by one


def test_columns_that_nobody_reads_may_repeat(tmp_path):
    path = text(tmp_path, "y,x,,,y\n1,a,,,2\n3,b,,,4\n")
    assert found(path, ID) == ["a", "b"]
    assert as_written(path).to_numpy().tolist() == [["1", "a", "", "", "2"], ["3", "b", "", "", "4"]]
    refused(path, Wanted("y", "string"), "two columns 'y'")
    refused(pd.DataFrame([[1, 2]], columns=["x", "x"]), ID, "two columns 'x'")


def test_blanks(tmp_path):
    assert found(text(tmp_path, "x,y\n 1 ,2\n   ,2\n\t,2\n NA ,2\n"), WHOLE) == [1, -1, -1, -1]
    np.testing.assert_array_equal(found(text(tmp_path, "x,y\n 1 ,2\n   ,2\n"), NUMBER), [1, NAN])
    refused(text(tmp_path, "x,y\n1,2\n  ,2\n"), LABEL, "row 2", "missing")
    path = text(tmp_path, "y, x\n1, a\n")
    refused(path, ID, '`column: " x"`, in quotes')
    assert found(path, Wanted(" x", "string")) == [" a"]


@pytest.mark.parametrize(("delimiter", "words"), [(";", '";"'), ("\t", '"\\t"'), ("|", '"|"')])
def test_another_delimiter_is_seen_and_read(tmp_path, delimiter, words):
    path = text(tmp_path, "y,x\n1,a\n2,b\n".replace(",", delimiter))
    refused(path, ID, "lacks the column 'x'", f"`delimiter: {words}`")
    assert found(path, ID, delimiter=delimiter) == ["a", "b"]
    assert as_written(path, delimiter)["x"].tolist() == ["a", "b"]


def test_tsv(tmp_path):
    assert found(text(tmp_path, "y\tx\n1\ta,b\n", "a.tsv"), ID) == ["a,b"]
    packed = tmp_path / "a.tsv.gz"
    packed.write_bytes(gzip.compress(b"y\tx\n1\ta\n"))
    assert found(packed, ID) == ["a"]


QUOTED = "x,title,y\na,Alien,1\nb,{}Matrix,2\nc,Casablanca,3\nd,Dune{},4\ne,Elf,5\n"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_quotes_that_swallow_rows(tmp_path, ending):
    fine = text(tmp_path, QUOTED.format("", "").replace("\n", ending))
    assert found(fine, ID) == list("abcde")
    closed = text(tmp_path, QUOTED.format('"', '"').replace("\n", ending))  # in a column that nobody reads
    refused(closed, ID, "row 2 (lines 3 to 5)", "column 'title'", "2 more lines")
    refused(
        text(tmp_path, QUOTED.format('"', "").replace("\n", ending)),
        ID,
        "row 2 (lines 3 to 6)",
        "column 'title'",
    )
    last = 'y,x\n1,a\n2,"b\n3,c\n4,d\n'  # never closed, in the last column: Arrow takes the rest as one cell
    refused(text(tmp_path, last), Wanted("y", "string"), "row 2 (lines 3 to 5)", "column 'x'")
    two = 'x,title,y\na,"Alien,1\nb,B",2\n'
    refused(text(tmp_path, two), ID, "row 1 (lines 2 to 3)", "column 'title'")


def test_a_quote_in_a_large_file(tmp_path):
    rows = "".join(f"u{i},title {i},{i}\n" for i in range(60_000))
    path = text(tmp_path, f'x,title,y\na,"Alien,0\n{rows}')
    refused(path, ID, "row 1 (lines 2 to 60002)", "column 'title'")


@pytest.mark.parametrize(
    "cell", ['"two\nlines"', '"two, three,\nlines"', '"a ""word""\n\nand, more"', '"one, line"', '"x""y"']
)
def test_text_of_several_lines_is_a_cell(tmp_path, cell):
    assert found(text(tmp_path, f"x,title,y\na,{cell},1\n\nb,Alien,2\n"), ID) == ["a", "b"]


def test_rows_with_too_many_or_too_few_cells(tmp_path):
    refused(text(tmp_path, "x,y\na,1\n\nb\n"), ID, "row 2 (line 4)", "2 wanted", "Received: 1")
    refused(text(tmp_path, "x,y\na,1\nb,2,\n"), ID, "row 2 (line 3)", "2 wanted", "Received: 3", "header")


# Paths --------------------------------------------------------------------------------------------------------------


def test_folders_of_hive_and_spark(tmp_path):
    log = tmp_path / "log"
    for day, rows in (
        ("2024-05-01", "a,1\nb,2\n"),
        ("2024-05-02", "c,3\n"),
        ("__HIVE_DEFAULT_PARTITION__", "d,4\n"),
    ):
        (log / f"dt={day}").mkdir(parents=True)
        (log / f"dt={day}" / "part-0.csv").write_text("x,y\n" + rows)
    (log / "_SUCCESS").touch()
    (log / "_metadata.csv").write_text("x,y\nno,0\n")
    (log / ".part-0.csv").write_text("x,y\nno,0\n")
    (log / "dt=2024-05-01" / "part-1.csv").touch()  # parts without rows, as Spark writes them
    (log / "dt=2024-05-01" / "part-2.csv").write_text("x,y\n")
    (log / "dt=2024-05-01" / "part-3.csv.gz").write_bytes(gzip.compress(b""))
    parquet.write_table(
        pa.table({"x": pa.array([], pa.string()), "y": pa.array([], pa.int64())}), log / "p.parquet"
    )
    assert len(files(log)) == 3
    assert column_names(log) == ["x", "y", "dt"]
    for source in (log, str(log / "*"), [log / "dt=2024-05-01", log / "dt=2024-05-02", log / "dt=__HIVE*"]):
        got = read(source, {"x": ID, "dt": Wanted("dt", "string")})
        assert got["x"].tolist() == list("abcd")
        assert got["dt"].tolist() == ["2024-05-01"] * 2 + ["2024-05-02", ""]
    assert read(log / "dt=2024-05-02", {"dt": Wanted("dt", "time")})["dt"].tolist() == [1714608000]
    refused(log, Wanted("hour", "string"), "lacks the column 'hour'")


def test_a_folder_without_any_row(tmp_path):
    (tmp_path / "part-0.csv").write_text("x,y\n")
    (tmp_path / "part-1.csv").touch()
    refused(tmp_path, ID, "part-0.csv", "no rows")
    refused(tmp_path / "part-1.csv", ID, "0 bytes")


def test_names_of_files(tmp_path, monkeypatch):
    refused(str(tmp_path / "caf\udce9.csv"), ID, "caf\\udce9.csv", "Rename")
    monkeypatch.setenv("HOME", str(tmp_path))
    text(tmp_path, "x,y\na,1\n")
    assert found("~/a.csv", ID) == ["a"]


# A log from end to end ----------------------------------------------------------------------------------------------


def domain(name: str, *more: Feature, **keys) -> Domain:
    features = (Feature("user", "id", "user", table="user"), Feature("item", "id", "item", table=name), *more)
    return Domain(name, features, user="user", item="item", label="click", time="time", **keys)


def schema(*more: Feature) -> Schema:
    tables = {f.table for f in more if f.table}
    return Schema(
        domains=(domain("books"), domain("films", *more)),
        target="films",
        tables=(Table("user"), Table("books"), Table("films"), *map(Table, sorted(tables))),
    )


def rows(**columns) -> pd.DataFrame:
    usual = {
        "user": ["u1", "u2"] * 5,
        "item": ["i1"] * 10,
        "click": [0, 1] * 5,
        "time": range(1_600_000_000, 1_600_000_010),
    }
    return pd.DataFrame({**usual, **columns})


def test_delimiter_and_home_of_a_log(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    rows().drop(columns="item").assign(key="k1").to_csv(tmp_path / "films.csv", sep=";", index=False)
    (tmp_path / "items.csv").write_text("key\titem\nk1\ti7\n")
    join = [{"path": "~/items.csv", "on": "key", "delimiter": "\t"}]
    films = {"path": "~/films.csv", "delimiter": ";", "join": join}
    made = prepare(schema(), {"books": rows(), "films": films})
    assert made.encoder.vocabularies["films"].tolist() == ["i7"]
    for wrong in ("", ";;", '"', 5):
        with pytest.raises(DataError, match="`delimiter` must be"):
            prepare(schema(), {"books": rows(), "films": {**films, "delimiter": wrong}})


def test_ids_that_differ_behind_a_nul():
    users = ["x\0a", "x\0b", "x", "x\0a", "y"] * 2
    made = prepare(schema(), {"books": rows(user=users), "films": rows(user=users)})
    assert sorted(made.encoder.vocabularies["user"]) == sorted(set(users))
    assert len({tuple(row) for row in made.parts["films"]["train"].x["user"].reshape(-1, 1).tolist()}) == 4
    codes, distinct = factorize(np.array(users, object))
    assert codes.tolist() == [0, 1, 2, 0, 3] * 2 and distinct.tolist() == ["x\0a", "x\0b", "x", "y"]


def test_a_count_that_is_missing_stays_missing_in_frames_and_files(tmp_path):
    count = Feature("balance", "number", "context", "int64")
    values = pd.array([3, None, 5, -2, 0, 1, 2, 3, None, None], "Int64")
    made = prepare(schema(count), {"books": rows(), "films": rows(balance=values)})
    frame = made.frame("films", "train")
    assert frame["balance"].isna().sum() == 1
    assert (
        made.encoder.encode("films", frame)["balance"].tolist()
        == made.parts["films"]["train"].x["balance"].tolist()
    )
    made.write(tmp_path)
    again = found(tmp_path / "films" / "train.parquet", Wanted("balance", "int64", is_id=False))
    assert again == [3, -1, 5, -2, 0, 1, 2]
    with pytest.raises(DataError, match="row 4.*dtype: float32"):
        prepare(schema(count), {"books": rows(), "films": rows(balance=[3, 1, 0, -1, 0, 1, 2, 3, 4, 5])})


@pytest.mark.parametrize(
    ("zero", "words"),
    [
        (slice(0, 10), "training"),
        (slice(0, 7), "training"),
        (slice(7, 8), "validation"),
        (slice(8, 10), "test"),
    ],
)
def test_parts_without_weight(zero, words):
    weights = np.ones(10)
    weights[zero] = 0
    films = {"data": rows(w=weights), "weight": "w"}
    with pytest.raises(DataError, match=f"column 'w': the {words} rows of 'films' all weigh 0"):
        prepare(schema(), {"books": rows(), "films": films})


def test_reading_says_what_is_wrong():
    assert Reading.from_dict(Reading(";", ("", "?"), "\t").to_dict()) == Reading(";", ("", "?"), "\t")
    assert Reading.from_dict(None) == Reading()
    assert isinstance(Encoder(schema()), Encoder)


def test_a_folder_holds_files_of_one_kind(tmp_path):
    """All CSV files of a folder were rows of the domain, whatever they were."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for part in "01":
        rows().to_csv(logs / f"part-{part}.csv", index=False)
    made = prepare(schema(), {"books": rows(), "films": logs})
    assert len(made.logs["films"]) == 20
    rows(price=1.0).to_csv(logs / "requests.csv", index=False)
    rows(price=1.0).to_parquet(logs / "part-2.parquet")
    with pytest.raises(
        DataError, match="files of several kinds: part-0.csv and part-2.parquet; their formats differ"
    ):
        prepare(schema(), {"books": rows(), "films": logs})
    (logs / "part-2.parquet").unlink()
    with pytest.raises(
        DataError, match="part-0.csv and requests.csv; one alone has the column 'price'. Name those"
    ):
        prepare(schema(), {"books": rows(), "films": str(logs)})
    assert len(prepare(schema(), {"books": rows(), "films": str(logs / "part-*.csv")}).logs["films"]) == 20
    (logs / "requests.csv").unlink()
    rows().to_csv(logs / "books.csv", index=False)
    with pytest.raises(DataError, match="where books.csv seems to hold the rows of 'books'"):
        prepare(schema(), {"books": rows(), "films": logs})


def test_a_configuration_is_no_log(tmp_path):
    (tmp_path / "run.yaml").write_text("schema: schema.yaml\n")
    with pytest.raises(
        DataError, match=r"run.yaml is a configuration or a schema, by its ending. Name the file with"
    ):
        prepare(schema(), {"books": rows(), "films": tmp_path / "run.yaml"})
    rows().to_csv(tmp_path / "run.csv", index=False)
    with pytest.raises(
        SchemaError, match="run.csv holds rows, by its ending. A schema or a configuration was wanted"
    ):
        Schema.load(tmp_path / "run.csv")


def test_cells_stand_as_in_their_files(tmp_path):
    """What an export is proven by: the text of the file, of the rows that stand in one."""
    rows(price=[" 1.50", "NA"] * 5).drop(columns="item").assign(key="k1").to_csv(
        tmp_path / "a.csv", index=False
    )
    rows(price=["2e1", "true"] * 5).drop(columns="item").assign(key="k1").to_csv(
        tmp_path / "b.csv", index=False
    )
    join = [{"data": pd.DataFrame({"key": ["k1"], "item": ["i7"]}), "on": "key"}]
    made = schema()
    price = Feature("price", "number", "item")
    domains = tuple(dataclasses.replace(d, features=(*d.features, price)) for d in made.domains)
    made = dataclasses.replace(made, domains=domains)
    books = rows(price=1.0)
    sources = {"books": books, "films": {"path": [tmp_path / "a.csv", tmp_path / "b.csv"], "join": join}}
    log = read_logs(made, sources)["films"]
    found = cells(log, log.domain.features, np.array([1, 0, 13, 12]))
    assert found["price"].tolist() == ["NA", " 1.50", "true", "2e1"]
    assert found["user"].tolist() == ["u2", "u1", "u2", "u1"] and "item" not in found
    assert (
        cells(read_logs(made, {**sources, "films": books})["films"], log.domain.features, np.arange(3)) == {}
    )
    log.row = np.where(np.arange(20) == 13, 20, np.arange(20))  # as of a drawn negative
    assert cells(log, log.domain.features, np.array([13, 12]))["price"].tolist() == [None, "2e1"]
