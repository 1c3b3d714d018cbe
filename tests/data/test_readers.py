"""Readers: one content in every format reads alike; every bad input is named with file, column and row."""

from __future__ import annotations

import gzip
import json
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from cdrzoo.data.readers import (
    Wanted,
    as_written,
    chunks,
    column_names,
    conversion,
    file_chunks,
    files,
    joined,
    read,
)
from cdrzoo.data.readers import csv as csv_reader
from cdrzoo.errors import DataError
from cdrzoo.schema import Reading

FORMATS = ["csv", "csv.gz", "parquet", "jsonl", "jsonl.gz", "tfrecord", "tfrecord.gz", "frame"]
ROWS = {
    "user": ["007", "7", "", "NA", 'a,"b"\tc\u2028d'],
    "item": [10, -1, 3, 2**53 + 1, 5],
    "price": [1.5, None, -3.0, 0.0, 2.25],
    "time": [0, 5, 5, 1_700_000_000, 9],
    "tags": [["x", "y"], [], ["é"], ["x"], ["007", "7"]],
}
WANTED = {
    "user": Wanted("user", "string"),
    "item": Wanted("item", "int64"),
    "price": Wanted("price", "float"),
    "@time": Wanted("time", "time"),
    "tags": Wanted("tags", "string", many=True),
}


def example(row: dict) -> bytes:
    import tensorflow as tf

    def feature(value):
        values = value if isinstance(value, list) else [] if value is None else [value]
        if values and isinstance(values[0], str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))
        if values and isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values)) if values else tf.train.Feature()

    features = {name: feature(value) for name, value in row.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path, records) -> None:
    import tensorflow as tf

    options = "GZIP" if str(path).endswith(".gz") else ""
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)


def write(folder, ending: str, rows: dict) -> object:
    frame = pd.DataFrame(rows)
    path = folder / f"rows.{ending}"
    listed = [{name: values[i] for name, values in rows.items()} for i in range(len(frame))]
    if ending == "frame":
        return frame
    if ending.startswith("csv"):
        joined = frame.assign(
            **{c: ["|".join(v) for v in frame[c]] for c in frame if isinstance(frame[c][0], list)}
        )
        joined.to_csv(path, index=False)
    elif ending == "parquet":
        frame.to_parquet(path, index=False)
    elif ending.startswith("jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in listed).encode()
        path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    else:
        write_records(path, [example(row) for row in listed])
    return path


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_columns(tmp_path, ending):
    found = read(write(tmp_path, ending, ROWS), WANTED)
    assert list(found["user"]) == ROWS["user"]
    assert found["item"].dtype == np.int64 and list(found["item"]) == ROWS["item"]
    np.testing.assert_array_equal(found["price"], [1.5, np.nan, -3, 0, 2.25])
    assert found["@time"].dtype == np.int64 and list(found["@time"]) == ROWS["time"]
    assert [list(row) for row in found["tags"].to_lists()] == ROWS["tags"]


@pytest.mark.parametrize("ending", FORMATS)
def test_rows_come_back_as_they_were_written(tmp_path, ending):
    whole = as_written(write(tmp_path, ending, ROWS))
    text = joined(whole)
    assert list(whole) == (sorted(ROWS) if "tfrecord" in ending else list(ROWS))
    assert list(text["tags"]) == ["x|y", "", "é", "x", "007|7"] and list(text["user"]) == ROWS["user"]
    assert [str(value) for value in text["item"]] == [str(value) for value in ROWS["item"]]
    assert whole["price"][1] in ("", None) or np.isnan(whole["price"][1])
    text.to_csv(tmp_path / "back.csv", index=False)
    found = read(tmp_path / "back.csv", WANTED)
    assert list(found["item"]) == ROWS["item"] and found["price"][0] == 1.5
    assert [list(row) for row in found["tags"].to_lists()] == ROWS["tags"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "tfrecord"])
def test_chunks_make_up_the_whole(tmp_path, ending):
    path = write(tmp_path, ending, ROWS)
    parts = list(chunks(path, WANTED, rows=2))
    assert [len(part["user"]) for part in parts] == [2, 2, 1]
    assert [user for part in parts for user in part["user"]] == ROWS["user"]
    assert [list(row) for part in parts for row in part["tags"].to_lists()] == ROWS["tags"]


def test_several_files_a_pattern_and_a_folder_read_in_order_of_their_names(tmp_path):
    for number in (1, 0):
        pd.DataFrame({"user": [f"u{number}"], "tags": [["a"] * number]}).to_parquet(
            tmp_path / f"part-{number}.parquet"
        )
    wanted = {"user": WANTED["user"], "tags": WANTED["tags"]}
    for source in (
        tmp_path,
        tmp_path / "part-*.parquet",
        [tmp_path / "part-0.parquet", tmp_path / "part-1.parquet"],
    ):
        found = read(source, wanted)
        assert list(found["user"]) == ["u0", "u1"]
        assert [list(row) for row in found["tags"].to_lists()] == [[], ["a"]]


def test_pandas_types_that_hold_missing_values(tmp_path):
    frame = pd.DataFrame(
        {
            "user": pd.Series(["a", None], dtype="category"),
            "item": pd.Series([1, None], dtype="Int64"),
            "floats": [3.0, np.nan],  # what pandas makes of whole numbers with a gap
            "when": pd.to_datetime(["1970-01-01", "1970-01-02"]),
            "mixed": ["a", 5],
        }
    )
    wanted = {
        "user": Wanted("user", "string"),
        "item": Wanted("item", "int64"),
        "floats": Wanted("floats", "int64"),
        "when": Wanted("when", "time"),
        "mixed": Wanted("mixed", "string"),
    }
    found = read(frame, wanted)
    assert list(found["user"]) == ["a", ""]
    assert list(found["item"]) == [1, -1] and list(found["floats"]) == [3, -1]
    assert list(found["when"]) == [0, 86400]
    assert list(found["mixed"]) == ["a", "5"]


def test_numbers_written_as_text_and_ids_joined_by_another_separator(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("n,f,ids\n 3 ,1e3,4;5\n,NaN,\n4.0,2,6\n")
    found = read(
        path,
        {
            "n": Wanted("n", "int64"),
            "f": Wanted("f", "float"),
            "ids": Wanted("ids", "int64", True, reading=Reading(";")),
        },
    )
    assert list(found["n"]) == [3, -1, 4]
    np.testing.assert_array_equal(found["f"], [1000, np.nan, 2])
    assert [list(row) for row in found["ids"].to_lists()] == [[4, 5], [], [6]]


@pytest.mark.parametrize("ending", FORMATS)
def test_dates_in_text_are_the_times_that_timestamps_are(tmp_path, ending):
    texts = [
        "2023-11-15 00:03:57",
        "2023-11-15T00:03:57.123457",
        "2023-11-15",
        "2023-11-15T23:59Z",
        "2024-02-29T00:30:00.5+01:00",
        "2024-02-29T00:30:00-0330",
    ]
    stamps = [pd.Timestamp(text) for text in texts]
    stamps = [stamp.tz_convert("UTC").tz_localize(None) if stamp.tzinfo else stamp for stamp in stamps]
    wanted = {"t": Wanted("t", "time")}
    written = read(write(tmp_path, "parquet", {"t": stamps}), wanted)["t"]
    found = read(write(tmp_path, ending, {"t": texts}), wanted)["t"]
    assert found.dtype == written.dtype and list(found) == list(written)
    assert found[0] == 1700006637 and found[1] == 1700006637.123457


@pytest.mark.parametrize("ending", FORMATS)
def test_true_and_false_in_text_are_the_numbers_that_booleans_are(tmp_path, ending):
    source = write(tmp_path, ending, {"c": ["True", "false", "1", "0.5", "FALSE"]})
    for dtype in ("finite", "float"):
        assert list(read(source, {"c": Wanted("c", dtype)})["c"]) == [1, 0, 1, 0.5, 0]
    booleans = write(tmp_path, "parquet", {"c": [True, False]})
    assert list(read(booleans, {"c": Wanted("c", "finite")})["c"]) == [1, 0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_utf_16_is_named(tmp_path, encoding, packed):
    text = ("" if encoding == "utf-16" else "\ufeff") + "user,item\na,1\n"
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    path.write_bytes(gzip.compress(text.encode(encoding)) if packed else text.encode(encoding))
    fails(path, {"user": WANTED["user"]}, path.name, "UTF-16", "Convert it to UTF-8")


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_no_file_is_closed_that_arrow_may_be_reading(tmp_path, monkeypatch, ending):
    # A thread of its reads ahead: with the file closed it took bytes of the next one opened, by the same descriptor.
    opened = []
    arrow = pa.input_stream
    monkeypatch.setattr(pa, "input_stream", lambda *a, **k: opened.append(arrow(*a, **k)) or opened[-1])
    path = write(tmp_path, ending, ROWS)
    assert column_names(path) == list(ROWS) and not opened  # a header needs no such thread
    rows = b"user,item\na,1\na,1,1\n" + b"a,1\n" * 1_000_000
    path.write_bytes(gzip.compress(rows, 1) if ending == "csv.gz" else rows)
    fails(path, {"user": WANTED["user"]}, path.name, "row 2 (line 3)", "2 wanted", "Received: 3")
    assert [stream.closed for stream in opened] == [False]


def test_a_header_may_be_quoted_and_a_first_line_empty(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf\r\n"user\nid","a ""b""",x\r\n1,2,3\r\n')
    assert column_names(path) == ["user\nid", 'a "b"', "x"]
    assert list(read(path, {"b": Wanted('a "b"', "int64")})["b"]) == [2]
    path.write_bytes(b"x" * 200_000)
    fails(path, {"user": WANTED["user"]}, "Cannot read", path.name)


@pytest.mark.parametrize("ending", ["csv.gz", "jsonl.gz"])
def test_gzip_that_breaks_in_the_middle_is_named(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    rows = "".join('{"user": "7"}\n' if ending == "jsonl.gz" else "user\n7\n" for _ in range(99_999))
    packed = gzip.compress(rows.encode())
    path.write_bytes(packed + packed[:10] + b"\xff" * 99)  # a second member, of no deflate block
    fails(
        path, {"user": WANTED["user"]}, path.name, "damaged or cut-off gzip file", "Copy or download it again"
    )


def test_json_text_that_looks_like_a_date_stays_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"user": "2020-01-01"}\n\n{"user": 7}\n{}\n')
    assert list(read(path, {"user": Wanted("user", "string")})["user"]) == ["2020-01-01", "7", ""]


def fails(source, wanted: dict[str, Wanted], *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(source, wanted)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 400 and "\n" not in message


@pytest.mark.parametrize("ending", FORMATS)
def test_a_missing_column_comes_with_the_nearest_name(tmp_path, ending):
    source = write(tmp_path, ending, {**ROWS, "timestamp": ROWS["time"]})
    fails(source, {"t": Wanted("TimeStamp", "time")}, "lacks the column 'TimeStamp'", "'timestamp'")
    fails(source, {"t": Wanted("zzz", "time")}, "lacks the column 'zzz'", "It has:", "price")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "jsonl", "tfrecord", "frame"])
@pytest.mark.parametrize(
    ("want", "values", "words"),
    [
        (Wanted("c", "float"), [1.0, float("inf"), 2.0], ["row 2", "finite number", "inf"]),
        (Wanted("c", "finite"), [1.0, 2.0, None], ["row 3", "missing"]),
        (Wanted("c", "time"), [1, -5, 2], ["row 2", "time of at least 0", "-5"]),
        (Wanted("c", "time"), [1.5, 3.0, -5.5], ["row 3", "time of at least 0", "-5.5"]),
        (Wanted("c", "int64"), [1, -1, -2], ["row 3", "an id", "-2"]),
        (Wanted("c", "int64"), [1.0, 2.5, 3.0], ["row 2", "whole number", "2.5"]),
        (Wanted("c", "float"), ["1", "cheap", "2"], ["row 2", "a number", "'cheap'"]),
        (
            Wanted("c", "int64"),
            ["1", "2", "007x"],
            ["row 3", "whole number", "'007x'", "Empty means missing"],
        ),
        (Wanted("c", "finite"), ["1", "yes", "0"], ["row 2", "a number, true or false", "'yes'", "1 and 0"]),
        (Wanted("c", "time"), ["2023-11-15", "5", "7"], ["row 2", "a time", "'5'", "Unix seconds"]),
        (
            Wanted("c", "time"),
            ["2023-11-15", "2023-13-15", "x"],
            ["row 2", "a time", "'2023-13-15'", "ISO 8601"],
        ),
        (Wanted("c", "time"), ["2023-11-15", "2023-11-15 24:00", "x"], ["row 2", "a time", "24:00"]),
        (Wanted("c", "time"), ["2023-11-15", None, "2023-11-15"], ["row 2", "missing"]),
        (Wanted("c", "time"), ["1969-11-15", "2023-11-15", "2023-11-15"], ["row 1", "at least 0"]),
    ],
)
def test_a_bad_value_is_named_with_its_row(tmp_path, ending, want, values, words):
    source = write(tmp_path, ending, {"c": values, "other": [1, 2, 3]})
    name = "DataFrame" if ending == "frame" else f"rows.{ending}"
    fails(source, {"c": want}, name, "column 'c'", *words)


def test_rows_count_on_through_chunks_and_lists(tmp_path):
    path = write(tmp_path, "parquet", {"t": list(range(100)) + [-7], "ids": [[1]] * 100 + [[1, 2, -3]]})
    with pytest.raises(DataError, match="row 101"):
        list(chunks(path, {"t": Wanted("t", "time")}, rows=8))
    with pytest.raises(DataError, match="row 101"):
        list(chunks(path, {"ids": Wanted("ids", "int64", many=True)}, rows=8))


@pytest.mark.parametrize(
    "ending", ["csv", "csv.gz", "parquet", "jsonl", "jsonl.gz", "tfrecord", "tfrecord.gz"]
)
def test_an_empty_file(tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    path.write_bytes(b"")
    fails(path, WANTED, f"rows.{ending}", "empty")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "jsonl.gz", "tfrecord", "frame"])
def test_a_file_without_rows(tmp_path, ending):
    if ending == "jsonl.gz":
        source = tmp_path / "rows.jsonl.gz"
        source.write_bytes(gzip.compress(b""))
    elif ending == "tfrecord":
        source = tmp_path / "rows.tfrecord.gz"
        write_records(source, [])
    elif ending == "parquet":
        source = tmp_path / "rows.parquet"
        pd.DataFrame({"user": pd.Series([], dtype="object")}).to_parquet(source)
    else:
        source = pd.DataFrame({"user": []}) if ending == "frame" else tmp_path / f"rows.{ending}"
        if ending != "frame":
            pd.DataFrame({"user": []}).to_csv(source, index=False)
    fails(source, {"user": WANTED["user"]}, "has no rows")


@pytest.mark.parametrize("ending", ["csv.gz", "jsonl.gz", "tfrecord.gz"])
def test_a_truncated_gzip(tmp_path, ending):
    random = np.random.default_rng(0)
    rows = {"user": [f"u{n}" for n in random.integers(0, 10**9, 5000)], "item": list(range(5000))}
    path = write(tmp_path, ending, rows)
    path.write_bytes(path.read_bytes()[:-2000])
    fails(path, {"user": WANTED["user"]}, f"rows.{ending}", "again")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "tfrecord"])
def test_a_gzip_cut_off_between_two_rows(tmp_path, ending):
    packer = zlib.compressobj(wbits=31)
    whole = write(tmp_path, ending, ROWS).read_bytes()
    cut = packer.compress(whole) + packer.flush(zlib.Z_SYNC_FLUSH)  # every row, not the gzip's end
    path = tmp_path / f"rows.{ending}.gz"
    path.write_bytes(cut)
    fails(path, {"user": WANTED["user"]}, path.name, "again")
    path.write_bytes(cut + packer.flush())
    assert len(read(path, {"user": WANTED["user"]})["user"]) == len(ROWS["user"])


def test_a_gzip_that_is_none(tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_text("user\na\n")
    fails(path, {"user": WANTED["user"]}, "rows.csv.gz", "gzip")


def test_a_corrupt_tfrecord(tmp_path):
    path = write(tmp_path, "tfrecord", ROWS)
    data = bytearray(path.read_bytes())
    data[-10] ^= 0xFF
    path.write_bytes(data)
    fails(path, {"user": WANTED["user"]}, "rows.tfrecord", "not a whole TFRecord file", "records")
    path.write_bytes(bytes(data)[: len(data) // 2])
    fails(path, {"user": WANTED["user"]}, "rows.tfrecord", "not a whole TFRecord file")


def test_records_that_are_no_examples(tmp_path):
    path = tmp_path / "rows.tfrecord"
    write_records(path, [example({"user": "a"}), b"\xff\xff\xff"])
    fails(path, {"user": WANTED["user"]}, "record 2", "tf.train.Example")


def test_a_record_whose_feature_changes_its_kind(tmp_path):
    path = tmp_path / "rows.tfrecord"
    write_records(path, [example({"user": "a"})] * 150 + [example({"user": 5})])
    fails(path, {"user": WANTED["user"]}, "record 151", "int64_list", "bytes_list")


def test_empty_sequences_ahead_of_the_first_id(tmp_path):
    path = tmp_path / "rows.tfrecord"
    write_records(path, [example({"seen": []})] * 150 + [example({"seen": [5, 6]})])
    found = read(path, {"seen": Wanted("seen", "int64", many=True)})["seen"].to_lists()
    assert [list(row) for row in found[148:]] == [[], [], [5, 6]]


def test_a_record_with_two_values_where_one_is_wanted(tmp_path):
    path = tmp_path / "rows.tfrecord"
    write_records(path, [example({"user": "a"}), example({"user": ["a", "b"]})])
    fails(path, {"user": WANTED["user"]}, "row 2", "2 values", "one value")


def test_bad_json(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"user": "a"}\n{"user": \n')
    fails(path, {"user": WANTED["user"]}, "line 2", "not JSON")
    path.write_text("[1]\n")
    fails(path, {"user": WANTED["user"]}, "line 1", "list")
    path.write_text('{"user": {"id": 3}}\n')
    fails(path, {"user": WANTED["user"]}, "row 1", "{'id': 3}")


def test_broken_files(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 not really")
    fails(path, {"user": WANTED["user"]}, "Cannot read", "rows.parquet")
    path = tmp_path / "rows.csv"
    path.write_text("user,item\na,1\nb\n")
    fails(path, {"user": WANTED["user"]}, "rows.csv", "row 2 (line 3)", "2 wanted", "Received: 1")
    path.write_bytes(b"user\nfine\n\xff\xfe\n")
    fails(path, {"user": WANTED["user"]}, "rows.csv", "UTF")
    path.write_text("user,user\na,b\n")
    fails(path, {"user": WANTED["user"]}, "two columns 'user'")


def test_files_that_are_not_there_or_not_known(tmp_path):
    (tmp_path / "books.csv").write_text("a\n1\n")
    fails(tmp_path / "boks.csv", WANTED, "does not exist", "Did you mean 'books.csv'?")
    fails(tmp_path / "no" / "where.csv", WANTED, "does not exist")
    fails(tmp_path / "part-*.parquet", WANTED, "No file matches")
    (tmp_path / "books.xlsx").write_text("x")
    fails(tmp_path / "books.xlsx", WANTED, "unknown ending", ".csv")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", WANTED, "holds no file")
    fails(17, WANTED, "A path or a DataFrame")


def test_ids_of_a_wrong_type():
    fails(pd.DataFrame({"user": [1.5, 2.0]}), {"user": WANTED["user"]}, "double", "dtype: int64")
    fails(pd.DataFrame({"user": ["a", 2.5]}), {"user": WANTED["user"]}, "row 2", "2.5")
    fails(pd.DataFrame({"tags": [1.5]}), {"tags": WANTED["tags"]}, "lists of ids")
    fails(pd.DataFrame({"tags": [["a"], 3.5]}), {"tags": WANTED["tags"]}, "row 2")


def test_only_wanted_columns_are_converted(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("user,junk\na,\nb,cheap\n")
    assert list(read(path, {"user": WANTED["user"]})["user"]) == ["a", "b"]
    assert column_names(path) == ["user", "junk"]
    assert files(path) == [path]


def test_more_text_than_one_array_holds_is_read_piece_by_piece(tmp_path, monkeypatch):
    wanted = {"tags": Wanted("tags", "string", many=True), "user": Wanted("user", "string")}
    path = tmp_path / "rows.parquet"
    table = pa.table({"user": ROWS["user"] * 3, "tags": ROWS["tags"] * 3})
    parquet.write_table(table, path, row_group_size=4)
    whole = read(path, wanted)
    monkeypatch.setattr(conversion, "_TEXT_BYTES", 10)
    pieces = read(path, wanted)
    assert pieces["user"].tolist() == whole["user"].tolist() == ROWS["user"] * 3
    assert [list(row) for row in pieces["tags"].to_lists()] == [list(row) for row in whole["tags"].to_lists()]
    broken = pa.table({"user": ["1"] * 9 + ["x"]})
    parquet.write_table(broken, path, row_group_size=4)
    with pytest.raises(DataError, match="row 10"):
        read(path, {"user": Wanted("user", "int64")})


def awkward(rows: int) -> dict[str, list[str]]:
    """Cells as CSV files have them, of kinds that stand far apart; all are read, beside whatever they stand."""
    late = rows - 5
    return {
        "user": ['a "quoted" name, of\ntwo lines', "007", "NA", "", "é"] * (rows // 5),
        "count": ["7", "0x1F", "9007199254740993", "", "12.0"] * (rows // 5 - 1) + ["1e3"] * 5,
        "price": ["0.1", "-3", "1e-3", "nan", "123456.789012345678"] * (rows // 5 - 1) + ["true"] * 5,
        "label": ["1", "0", "1.50", "0.3", "-2"] * (rows // 5 - 1) + ["False"] * 5,
        "time": [str(1_700_000_000 + at) for at in range(late)] + ["1700000000.5"] * 5,
    }


AWKWARD = {
    "user": Wanted("user", "string"),
    "count": Wanted("count", "int64"),
    "price": Wanted("price", "float"),
    "label": Wanted("label", "finite"),
    "time": Wanted("time", "time"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_in_pieces_is_the_file_to_the_bit(tmp_path, monkeypatch, end, packed):
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    rows = awkward(400)
    pd.DataFrame(rows).to_csv(path, index=False, encoding="utf-8-sig", lineterminator=end)
    want = read(path, AWKWARD)
    monkeypatch.setattr(csv_reader, "BLOCK", 1000)
    parts = list(chunks(path, AWKWARD, rows=7))
    assert len(parts) > 50 and max(len(part["user"]) for part in parts) <= 7
    assert {part["time"].dtype for part in parts} == {np.dtype("int64"), np.dtype("float64")}
    for name in rows:
        found = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(found, want[name], err_msg=name)
    assert want["user"].tolist() == [
        cell.replace("\n", end) if end in cell else cell for cell in rows["user"]
    ]
    assert want["count"][:5].tolist() == [7, 31, 2**53 + 1, -1, 12] and want["count"][-1] == 1000


def test_a_row_that_is_longer_than_a_block_and_what_a_piece_says_of_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK", 100)
    path = tmp_path / "rows.csv"
    path.write_text("c,d\n" + "1,x\n" * 60 + "2," + "y" * 500 + "\n" + "3,z\n" * 60)
    wanted = {"c": Wanted("c", "int64"), "d": Wanted("d", "string")}
    assert np.concatenate([part["c"] for part in chunks(path, wanted)]).tolist() == [1] * 60 + [2] + [3] * 60
    for cells, words in (
        ("1,x,9\n", "row 122 .line 123.*cells"),
        ("?,x\n", "row 122: a whole number"),
        ('1,"x\n4,y"\n', "row 122.*takes in 1 more lines"),
    ):
        bad = tmp_path / "bad.csv"
        bad.write_text(path.read_text() + cells)
        with pytest.raises(DataError, match=words):
            list(chunks(bad, wanted))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("first", ["2023-11-15", "1700000000"])
def test_times_are_of_the_kind_of_the_files_first_row_wherever_a_piece_begins(
    tmp_path, monkeypatch, ending, first
):
    monkeypatch.setattr(csv_reader, "BLOCK", 100)
    other = {"2023-11-15": "1700000000", "1700000000": "2023-11-15"}[first]
    frame = pd.DataFrame({"t": [first] * 100 + [other] * 100})
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        frame.to_parquet(path, row_group_size=50)
        with pytest.raises(DataError, match="row 101: a time wanted"):
            list(file_chunks(path, {"t": Wanted("t", "time")}, group=2))
    else:
        write(tmp_path, ending, {"t": frame["t"].tolist()})
    with pytest.raises(DataError, match="row 101: a time wanted"):
        list(chunks(path, {"t": Wanted("t", "time")}, rows=10))


def test_large_whole_times_beside_fractions_would_lose_digits(tmp_path):
    for number, values in enumerate(([1_700_000_000_000_000_001] * 3, [1.5])):
        write(tmp_path, "jsonl", {"t": values}).rename(tmp_path / f"{number}.jsonl")
    with pytest.raises(DataError, match="and more, and, in another file"):
        read(tmp_path, {"t": Wanted("t", "time")})


def test_a_first_time_that_is_missing_does_not_make_dates_numbers(tmp_path):
    (tmp_path / "log.csv").write_text("t,x\n,1\n2023-11-15,2\n")
    with pytest.raises(DataError, match="row 1: a finite number wanted. Received: nothing"):
        list(chunks(tmp_path / "log.csv", {"t": Wanted("t", "time")}))
