"""Readers: CSV, Parquet, JSON lines, TFRecord and DataFrames to columns in the schema's types.

Every reader hands its raw columns to one converter, so a value is judged alike wherever it comes from, and what is
wrong is said with file, column and row before any long work starts. Rows are counted from 1, a header not counted.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import difflib
import glob
import gzip
import io
import json
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.ragged import Ragged
from cdrzoo.errors import DataError
from cdrzoo.schema import Feature

SEPARATOR = "|"
"""What joins the ids of a sequence in a cell of a CSV file, unless a spec says otherwise."""

FORMATS = (".csv", ".csv.gz", ".parquet", ".jsonl", ".jsonl.gz", ".tfrecord", ".tfrecord.gz")

_NO_NUMBER = pa.array(["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"])
_CHUNK_ROWS = 65_536
_READ_AHEAD = 100  # rows of a format without a header that are looked at to learn its columns

Columns = dict[str, Any]
"""Raw column to values: object (str), int64 or float arrays, or `Ragged` for sequences."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A column to read.

    Args:
        column: its name in the file.
        dtype: `string`, `int64`, `float` (float32, NaN where missing), `finite` (float64, none missing) or `time` (none
            missing or negative; a date becomes Unix seconds).
        many: whether it holds a sequence of ids.
        is_id: whether a negative number other than -1 (missing) is an error.
        separator: what joins the ids of a sequence in a cell of text.
    """

    column: str
    dtype: str
    many: bool = False
    is_id: bool = True
    separator: str = SEPARATOR

    @classmethod
    def of(cls, feature: Feature, separator: str = SEPARATOR) -> Wanted:
        """What a feature reads."""
        dtype = "float" if feature.dtype == "float32" else feature.dtype
        return cls(feature.column, dtype, feature.kind == "ids", feature.kind != "number", separator)


def columns_of(frame: Any, features: Iterable[Feature], where: str) -> Columns:
    """The raw columns of features.

    Args:
        frame: a DataFrame (its columns are converted and checked), or a mapping of columns that were converted before.
        features: the features whose columns are wanted.
        where: what the frame is, for messages.
    """
    wanted = {feature.column: Wanted.of(feature) for feature in features}
    _require(wanted, list(frame), where)
    if isinstance(frame, pd.DataFrame):
        return {key: _from_pandas(frame[want.column], want, where) for key, want in wanted.items()}
    return {key: frame[key] for key in wanted}


def read(source: Any, wanted: Mapping[str, Wanted], where: str = "The DataFrame") -> Columns:
    """Reads the wanted columns whole.

    Args:
        source: a DataFrame, or a path: a file, a pattern such as `part-*.parquet`, a folder, or a list of files.
        wanted: the columns, under the names they are to have in the result.
        where: what a DataFrame is called in messages.

    Returns:
        The columns by name.

    Raises:
        DataError: on whatever is wrong with the file, a column or a value.
    """
    if isinstance(source, pd.DataFrame):
        _require(wanted, list(source.columns), where)
        if not len(source):
            raise DataError(f"{where} has no rows. At least one is needed.")
        return {key: _from_pandas(source[want.column], want, where) for key, want in wanted.items()}
    parts = list(chunks(source, wanted, rows=None))
    return {key: _concatenate([part[key] for part in parts]) for key in wanted}


def chunks(path: Any, wanted: Mapping[str, Wanted], rows: int | None = _CHUNK_ROWS) -> Iterator[Columns]:
    """Reads the wanted columns in chunks of at most `rows` rows (`None`: as is fastest).

    Parquet, JSON lines and TFRecord are held in memory a chunk at a time; CSV a file at a time.
    """
    for file in files(path):
        count = 0
        for chunk in file_chunks(file, wanted, rows):
            count += len(next(iter(chunk.values())))
            yield chunk
        if not count:
            raise DataError(f"{file} has no rows. At least one is needed; check how it was written.")


def file_chunks(
    file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None = _CHUNK_ROWS, group: int | None = None
) -> Iterator[Columns]:
    """The chunks of one file; of a Parquet file those of one row group, if `group` says which."""
    with _clear_errors(file):
        _require(wanted, column_names(file), str(file))
        found = (
            _parquet(file, wanted, rows, group)
            if group is not None
            else _READERS[_suffix(file)](file, wanted, rows)
        )
        for arrays, row in found:
            yield {key: _convert(arrays[key], want, str(file), row) for key, want in wanted.items()}


def row_groups(file: pathlib.Path) -> list[int | None]:
    """The row groups of a Parquet file; `[None]` for a format that has none."""
    from pyarrow import parquet

    if _suffix(file) != "parquet":
        return [None]
    with _clear_errors(file):
        return list(range(parquet.ParquetFile(str(file)).num_row_groups))


def as_written(source: Any) -> pd.DataFrame:
    """Every column of a DataFrame or of files as it stands there: nothing is converted, of CSV all is text."""
    if isinstance(source, pd.DataFrame):
        return source
    frames = []
    for file in files(source):
        with _clear_errors(file):
            frames.append(_AS_WRITTEN[_suffix(file)](file))
    return pd.concat(frames, ignore_index=True)


def joined(frame: pd.DataFrame, separator: str = SEPARATOR) -> pd.DataFrame:
    """The frame with its sequences as the text that a cell of a CSV file holds."""

    def cell(value: Any) -> Any:
        return separator.join(map(str, value)) if isinstance(value, (list, tuple, np.ndarray)) else value

    cells = {name: [cell(v) for v in column] for name, column in frame.items() if column.dtype == object}
    return frame.assign(**{name: pd.Series(v, frame.index, dtype=object) for name, v in cells.items()})


def column_names(source: Any) -> list[str]:
    """The columns of a DataFrame or of a (first) file."""
    if isinstance(source, pd.DataFrame):
        return [str(name) for name in source.columns]
    file = files(source)[0]
    with _clear_errors(file):
        names = _HEADERS[_suffix(file)](file)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file} has two columns {twice[0]!r}. Names must differ: rename one.")
    return names


def files(path: Any) -> list[pathlib.Path]:
    """The files a path, a pattern, a folder or a list of these stands for; they exist and have a known ending."""
    if isinstance(path, (list, tuple)):
        return [file for one in path for file in files(one)]
    if not isinstance(path, (str, pathlib.Path)):
        raise DataError(f"A path or a DataFrame was wanted as data. Received: {type(path).__name__}.")
    path = pathlib.Path(path)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(FORMATS))
        if not found:
            raise DataError(
                f"The folder {path} holds no file that ends in {', '.join(FORMATS)}. Name the file itself."
            )
        return found
    if not path.exists() and any(mark in str(path) for mark in "*?["):
        found = sorted(pathlib.Path(file) for file in glob.glob(str(path)))
        if not found:
            raise DataError(f"No file matches {path}. Check the pattern.")
        return [file for one in found for file in files(one)]
    if not path.exists():
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Check the path (relative to where?)."
        raise DataError(f"{path} does not exist. {hint}")
    if not path.name.endswith(FORMATS):
        raise DataError(
            f"{path} has an unknown ending. Known: {', '.join(FORMATS)}. Rename or convert the file."
        )
    if not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes). Check how it was written.")
    return [path]


def _suffix(file: pathlib.Path) -> str:
    return next(
        ending for ending in sorted(FORMATS, key=len, reverse=True) if file.name.endswith(ending)
    ).split(".")[1]


def _require(wanted: Mapping[str, Wanted], names: Sequence[str], where: str) -> None:
    for want in wanted.values():
        if want.column not in names:
            lower = {str(name).lower(): str(name) for name in names}
            near = difflib.get_close_matches(want.column.lower(), list(lower), n=1)
            hint = (
                f"Did you mean {lower[near[0]]!r}? Set `column: {lower[near[0]]}` or rename it."
                if near
                else f"It has: {', '.join(map(str, names)) or 'none'}."
            )
            raise DataError(f"{where} lacks the column {want.column!r}. {hint}")


class _clear_errors:
    """Turns what libraries raise on a broken file into one line with the file's name."""

    def __init__(self, file: pathlib.Path):
        self.file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, DataError):
            return
        text = " ".join(str(error).split())[:200]
        if (
            isinstance(error, (EOFError, zlib.error))
            or "runcated" in text
            or "zlib" in text
            or "gzip" in text.lower()
        ):
            raise DataError(
                f"{self.file} is a damaged or cut-off gzip file ({text}). Copy or download it again."
            ) from None
        if isinstance(error, pa.ArrowInvalid) and "Empty CSV" in text:
            raise DataError(f"{self.file} is empty. Check how it was written.") from None
        if isinstance(error, UnicodeDecodeError) or "UTF8" in text or "utf-8" in text.lower():
            raise DataError(f"{self.file} is not UTF-8 text ({text}). Convert it to UTF-8.") from None
        if isinstance(error, (pa.ArrowException, csv.Error, OSError)):
            raise DataError(f"Cannot read {self.file}: {text}.") from None


# CSV ------------------------------------------------------------------------------------------------------------


def _binary(file: pathlib.Path) -> Any:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


def arrow_stream(file: pathlib.Path) -> Any:
    """The bytes of a file, unpacked, for Arrow; not to be closed.

    Arrow's CSV reader reads ahead in a thread, which may go on after an error or when no more rows are wanted. Were the
    file closed then, that thread could take bytes of whichever file is opened next, for it gets the same descriptor.
    The last reference closes it.
    """
    return pa.input_stream(str(file), compression="gzip" if file.suffix == ".gz" else None)


def _csv_header(file: pathlib.Path) -> list[str]:
    with _binary(file) as stream:
        if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(
                f"{file} is UTF-16 text, by its first two bytes. Convert it to UTF-8, for example with "
                "iconv -f UTF-16 -t UTF-8, or save it as CSV UTF-8."
            )
        rows = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        names = next(filter(None, rows), None)
    if names is None:
        raise DataError(f"{file} is empty. Check how it was written.")
    return names


def _csv(file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None) -> Iterator[tuple[Columns, int]]:
    from pyarrow.csv import ConvertOptions, ParseOptions, read_csv

    names = sorted({want.column for want in wanted.values()})
    # Everything as text first: '007' stays what it is, and a bad number can be named with its row.
    table = read_csv(
        arrow_stream(file),
        parse_options=ParseOptions(newlines_in_values=True),
        convert_options=ConvertOptions(
            include_columns=names, column_types={name: pa.string() for name in names}
        ),
    )
    for row in range(0, len(table), rows or max(len(table), 1)):
        part = table.slice(row, rows)
        yield {key: part.column(want.column) for key, want in wanted.items()}, row


# Parquet --------------------------------------------------------------------------------------------------------


def _parquet_header(file: pathlib.Path) -> list[str]:
    from pyarrow import parquet

    return parquet.read_schema(str(file)).names


def _parquet(
    file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None, group: int | None = None
) -> Iterator[tuple[Columns, int]]:
    from pyarrow import parquet

    names = sorted({want.column for want in wanted.values()})
    if rows is None:
        table = parquet.read_table(str(file), columns=names)
        if len(table):
            yield {key: table.column(want.column) for key, want in wanted.items()}, 0
        return
    opened = parquet.ParquetFile(str(file))
    row = sum(opened.metadata.row_group(before).num_rows for before in range(group or 0))
    for batch in opened.iter_batches(rows, None if group is None else [group], columns=names):
        yield (
            {key: batch.column(batch.schema.get_field_index(want.column)) for key, want in wanted.items()},
            row,
        )
        row += len(batch)


# JSON lines -----------------------------------------------------------------------------------------------------


def _json_rows(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    with _binary(file) as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{file}, line {number} is not JSON: {error.msg}. One object a line is wanted."
                ) from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{file}, line {number} holds a {type(row).__name__}. One object a line is wanted."
                )
            yield row


def _json_header(file: pathlib.Path) -> list[str]:
    names: dict[str, None] = {}
    for _, row in zip(range(_READ_AHEAD), _json_rows(file), strict=False):
        names.update(dict.fromkeys(row))
    if not names:
        raise DataError(f"{file} has no rows. At least one is needed; check how it was written.")
    return list(names)


def _json(
    file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None
) -> Iterator[tuple[Columns, int]]:
    found: dict[str, list[Any]] = {key: [] for key in wanted}
    count = start = 0
    for row in _json_rows(file):
        for key, want in wanted.items():
            found[key].append(row.get(want.column))
        count += 1
        if rows is not None and count - start == rows:
            yield {key: _Values(values) for key, values in found.items()}, start
            found, start = {key: [] for key in wanted}, count
    if count > start:
        yield {key: _Values(values) for key, values in found.items()}, start


# TFRecord -------------------------------------------------------------------------------------------------------


def _records(file: pathlib.Path) -> Any:
    import tensorflow as tf

    return tf.data.TFRecordDataset(str(file), compression_type="GZIP" if file.suffix == ".gz" else "")


def _read_records(file: pathlib.Path, dataset: Any, per_item: int = 1) -> Iterator[Any]:
    import tensorflow as tf

    count = 0
    try:
        for item in dataset.as_numpy_iterator():
            yield item
            count += per_item
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError) as error:
        raise DataError(
            f"{file} is not a whole TFRecord file: it breaks after {'at least ' if per_item > 1 else ''}{count} "
            f"records ({error.message[:120]}). Write or copy it again."
        ) from None


def _tfrecord_header(file: pathlib.Path) -> list[str]:
    import tensorflow as tf

    names: dict[str, None] = {}
    for number, record in enumerate(_read_records(file, _records(file).take(_READ_AHEAD)), 1):
        names.update(dict.fromkeys(_example(tf, file, number, record).features.feature))
    if not names:
        raise DataError(f"{file} has no rows. At least one is needed; check how it was written.")
    return sorted(names)


def _example(tf: Any, file: pathlib.Path, number: int, record: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(record)
    except DecodeError:
        raise DataError(
            f"{file}, record {number} is not a tf.train.Example. Serialize one Example a record."
        ) from None


def _tfrecord(
    file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None
) -> Iterator[tuple[Columns, int]]:
    import tensorflow as tf

    kinds: dict[str, str] = {}
    for number, record in enumerate(_read_records(file, _records(file).take(_READ_AHEAD)), 1):
        for name, value in _example(tf, file, number, record).features.feature.items():
            if value.WhichOneof("kind"):  # an empty sequence is written without one
                kinds.setdefault(name, value.WhichOneof("kind"))
    dtypes = {"bytes_list": tf.string, "int64_list": tf.int64, "float_list": tf.float32}
    unseen = {"string": "bytes_list", "int64": "int64_list", "time": "int64_list"}
    spec = {
        w.column: tf.io.VarLenFeature(dtypes[kinds.get(w.column, unseen.get(w.dtype, "float_list"))])
        for w in wanted.values()
    }
    size, row = rows or _CHUNK_ROWS, 0
    for batch in _read_records(file, _records(file).batch(size), per_item=size):
        try:
            parsed = tf.io.parse_example(batch, spec)
        except tf.errors.InvalidArgumentError:
            _blame_record(tf, file, batch, row, spec)
            raise
        yield {key: _from_sparse(parsed[w.column], w, str(file), row) for key, w in wanted.items()}, row
        row += len(batch)
    if file.suffix == ".gz":  # TensorFlow takes one that was cut off between two records for a whole one
        with gzip.open(file) as stream:
            while stream.read(1 << 20):
                pass


def _blame_record(tf: Any, file: pathlib.Path, batch: Any, row: int, spec: Mapping[str, Any]) -> None:
    """Finds the record that would not parse and says what is wrong with it."""
    names = {tf.string: "bytes_list", tf.int64: "int64_list", tf.float32: "float_list"}
    for number, record in enumerate(batch, row + 1):
        found = _example(tf, file, number, bytes(record)).features.feature
        for column, feature in spec.items():
            kind = found[column].WhichOneof("kind") if column in found else None
            if kind not in (None, names[feature.dtype]):
                raise DataError(
                    f"{file}, record {number}: {column!r} is a {kind}, in earlier records a {names[feature.dtype]}. "
                    "One kind a feature is wanted: write it alike in all records."
                )


def _from_sparse(sparse: Any, want: Wanted, where: str, row: int) -> pa.Array:
    values = sparse.values.numpy()
    lengths = np.bincount(sparse.indices.numpy()[:, 0], minlength=int(sparse.dense_shape[0]))
    array = pa.array(values, pa.binary() if values.dtype == object else None)
    if want.many:
        return _lists(array, lengths)
    if (lengths > 1).any():
        at = int(np.argmax(lengths > 1))
        raise _wrong(
            want, where, row + at, f"{lengths[at]} values", "one value", "Make it a feature of kind ids."
        )
    places = np.where(lengths == 1, np.cumsum(lengths) - 1, -1)
    return array.take(pa.array(places, mask=places < 0))


_HEADERS = {
    "csv": _csv_header,
    "parquet": _parquet_header,
    "jsonl": _json_header,
    "tfrecord": _tfrecord_header,
}
_READERS = {"csv": _csv, "parquet": _parquet, "jsonl": _json, "tfrecord": _tfrecord}


def _csv_as_written(file: pathlib.Path) -> pd.DataFrame:
    names = {name: Wanted(name, "string") for name in column_names(file)}
    columns = [array for array, _ in _csv(file, names, None)]
    return pd.DataFrame(
        {name: columns[0][name].to_numpy() for name in names} if columns else {}, dtype=object
    )


def _parquet_as_written(file: pathlib.Path) -> pd.DataFrame:
    from pyarrow import parquet

    return parquet.read_table(str(file)).to_pandas(integer_object_nulls=True, ignore_metadata=True)


def _json_as_written(file: pathlib.Path) -> pd.DataFrame:
    return pd.DataFrame(list(_json_rows(file)), dtype=object)


def _tfrecord_as_written(file: pathlib.Path) -> pd.DataFrame:
    import tensorflow as tf

    rows = []
    for number, record in enumerate(_read_records(file, _records(file)), 1):
        found = _example(tf, file, number, record).features.feature
        values = {
            name: list(getattr(one, one.WhichOneof("kind") or "int64_list").value)
            for name, one in found.items()
        }
        rows.append(
            {
                n: [v.decode(errors="replace") if isinstance(v, bytes) else v for v in vs]
                for n, vs in values.items()
            }
        )
    frame = pd.DataFrame(rows, dtype=object).sort_index(axis=1)
    for name, column in frame.items():
        lists = [value if isinstance(value, list) else [] for value in column]
        if max(map(len, lists)) < 2:
            frame[name] = pd.Series([value[0] if value else None for value in lists], dtype=object)
    return frame


_AS_WRITTEN = {
    "csv": _csv_as_written,
    "parquet": _parquet_as_written,
    "jsonl": _json_as_written,
    "tfrecord": _tfrecord_as_written,
}


# Conversion -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Values:
    """A column of Python values, as JSON gives them."""

    values: list[Any]


def _from_pandas(series: pd.Series, want: Wanted, where: str) -> Any:
    if isinstance(series, pd.DataFrame):
        raise DataError(f"{where} has two columns {want.column!r}. Names must differ: rename one.")
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        array = _Values([None if isinstance(v, float) and np.isnan(v) else v for v in series])
    return _convert(array, want, where, 0)


def _convert(array: Any, want: Wanted, where: str, row: int) -> Any:
    """A raw column in the wanted type; `row` rows of the file came before it."""
    if isinstance(array, _Values):
        array = _infer(array.values, want, where, row)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        if isinstance(array, pa.ChunkedArray):  # PyArrow 10 keeps the type of an empty one
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if not want.many:
        return _scalars(array, want, where, lambda at: row + at)
    if not _is_list(array.type):
        if not (_is_text(array.type) or pa.types.is_integer(array.type)):
            raise _wrong(want, where, row, str(array.type), "lists of ids, or text joined by a separator")
        text = array.cast(pa.string())
        array = pc.split_pattern(pc.if_else(pc.equal(text, ""), None, text), want.separator)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
    stops = np.cumsum(lengths)
    values = pc.list_flatten(array)
    if pa.types.is_null(values.type):
        values = values.cast(pa.string())
    values = _scalars(values, want, where, lambda at: row + int(np.searchsorted(stops, at, "right")))
    return Ragged(values, stops - lengths, stops)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _lists(values: pa.Array, lengths: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def _infer(values: list[Any], want: Wanted, where: str, row: int) -> pa.Array:
    if want.many:
        cells = [v.split(want.separator) if isinstance(v, str) and v else v or [] for v in values]
        for at, cell in enumerate(cells):
            if not isinstance(cell, (list, tuple, np.ndarray)):
                raise _wrong(want, where, row + at, repr(cell), "a list of ids")
        rows = [at for at, cell in enumerate(cells) for _ in cell]
        flat = _infer_flat([v for cell in cells for v in cell], want, where, lambda at: row + rows[at])
        return _lists(flat, np.array([len(cell) for cell in cells], np.int64))
    return _infer_flat(values, want, where, lambda at: row + at)


def _infer_flat(values: list[Any], want: Wanted, where: str, row_of: Any) -> pa.Array:
    if want.dtype == "string":
        for at, value in enumerate(values):
            if not (value is None or isinstance(value, (str, int, np.integer))) or isinstance(value, bool):
                raise _wrong(want, where, row_of(at), repr(value), "text or whole numbers")
        values = [None if v is None else str(v) for v in values]
        return pa.array(values, pa.string())
    for at, value in enumerate(values):
        if not (value is None or isinstance(value, (int, float, str, bool, np.number))):
            raise _wrong(want, where, row_of(at), repr(value), "a number")
    if any(isinstance(v, str) for v in values):
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.array(values, pa.float64() if any(isinstance(v, float) for v in values) else pa.int64())


def _wrong(want: Wanted, where: str, row: int | None, received: str, wanted: str, fix: str = "") -> DataError:
    at = "" if row is None else f", row {row + 1}"
    return DataError(
        f"{where}, column {want.column!r}{at}: {wanted} wanted. Received: {received}. {fix}".rstrip()
    )


def _scalars(array: pa.Array, want: Wanted, where: str, row_of: Any) -> np.ndarray:
    if want.dtype == "string":
        return _strings(array, want, where, row_of)
    numbers = _numbers(array, want, where, row_of)
    if want.dtype == "float":
        with np.errstate(over="ignore"):
            numbers = numbers.astype(np.float32)  # what a client sends: training must see no finer value
    if want.dtype == "int64" or (want.dtype == "time" and numbers.dtype == np.int64):
        negative = numbers < (-1 if want.dtype == "int64" else 0)
        if want.is_id and negative.any():
            at = int(np.argmax(negative))
            if want.dtype == "time":
                raise _wrong(want, where, row_of(at), str(numbers[at]), "a time of at least 0")
            fix = "An id is not negative; -1 alone stands for a missing one."
            raise _wrong(want, where, row_of(at), str(numbers[at]), "an id", fix)
        return numbers
    finite = np.isfinite(numbers) if want.dtype in ("finite", "time") else ~np.isinf(numbers)
    if not finite.all():
        at = int(np.argmin(finite))
        received = "nothing (missing)" if np.isnan(numbers[at]) else str(numbers[at])
        raise _wrong(
            want, where, row_of(at), received, "a finite number", "Correct the value or drop the row."
        )
    if want.dtype == "time" and (numbers < 0).any():
        at = int(np.argmax(numbers < 0))
        raise _wrong(want, where, row_of(at), str(numbers[at]), "a time of at least 0")
    return numbers


def _strings(array: pa.Array, want: Wanted, where: str, row_of: Any) -> np.ndarray:
    kind = array.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            array = array.cast(pa.string())
        except pa.ArrowInvalid:
            raise _wrong(want, where, None, "bytes that are not UTF-8", "UTF-8 text") from None
    elif pa.types.is_integer(kind):
        array = array.cast(pa.string())
    elif not _is_text(kind):
        fix = (
            "Set `dtype: int64`, or store the ids as text or whole numbers."
            if pa.types.is_floating(kind)
            else ""
        )
        first = array.drop_null()[:1].to_pylist() if len(array) else []
        raise _wrong(
            want, where, None, f"{kind} (such as {first[0]!r})" if first else str(kind), "text ids", fix
        )
    # Every distinct text becomes one Python string that its rows share: several times faster, and far less memory.
    encoded = array.fill_null("").dictionary_encode()
    distinct = np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), object)
    return distinct[encoded.indices.to_numpy()] if len(array) else np.array([], object)


def _numbers(array: pa.Array, want: Wanted, where: str, row_of: Any) -> np.ndarray:
    """int64 (missing: -1) when int64 is wanted or a time is whole, else float64 (missing: NaN)."""
    kind, whole = array.type, want.dtype == "int64"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        if want.dtype != "time":
            raise _wrong(want, where, None, str(kind), "numbers")
        stamps = array.cast(pa.timestamp("us")).cast(pa.int64())  # Unix seconds
        return stamps.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / 1e6
    if _is_text(kind) or pa.types.is_binary(kind):
        array = array.cast(pa.string())
        array = pc.if_else(pc.is_in(array, value_set=_NO_NUMBER.cast(array.type)), None, array)
        array = pc.utf8_trim_whitespace(array)
        try:
            array = array.cast(pa.int64() if whole or want.dtype == "time" else pa.float64())
        except pa.ArrowInvalid:
            text = pd.Series(array.to_numpy(zero_copy_only=False), dtype=object)
            parsed, (wanted, fix) = _PARSERS[want.dtype](text), _SAID[want.dtype]
            bad = parsed.isna() & text.notna()
            if bad.any():
                at = int(np.argmax(bad))
                raise _wrong(want, where, row_of(at), repr(text[at]), wanted, fix) from None
            array = pa.array(parsed.to_numpy(np.float64), from_pandas=True)
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise _wrong(want, where, None, str(kind), "numbers")
    if not whole:
        if want.dtype == "time" and pa.types.is_integer(array.type) and not array.null_count:
            return array.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    if not pa.types.is_integer(array.type):
        values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        bad = ~np.isnan(values) & ((values != np.floor(values)) | (np.abs(values) > 2**53))
        if bad.any():
            at = int(np.argmax(bad))
            raise _wrong(want, where, row_of(at), str(values[at]), "a whole number")
        array = pa.array(np.where(np.isnan(values), -1, values).astype(np.int64))
    try:
        array = array.cast(pa.int64())
    except pa.ArrowInvalid:
        raise _wrong(want, where, None, "a number above 2**63", "int64", "Set `dtype: string`.") from None
    return np.array(array.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


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
_PARSERS = {
    "int64": _plain_numbers,
    "float": _numbers_and_booleans,
    "finite": _numbers_and_booleans,
    "time": _times,
}
"""What text that is no plain number is read by."""
_SAID = {
    "int64": ("a whole number", "Empty means missing."),
    "float": ("a number, true or false", "Empty means missing."),
    "finite": ("a number, true or false", "Write it as one of these; for yes and no 1 and 0."),
    "time": (
        "a time",
        "Write all as numbers, such as Unix seconds, or all as dates of ISO 8601, such as 2023-11-15T00:03:57Z.",
    ),
}
"""What is wanted where it is none, and how to mend it."""


def _concatenate(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Ragged):
        offsets = np.cumsum([0] + [len(part.values) for part in parts[:-1]])
        return Ragged(
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.starts + offset for part, offset in zip(parts, offsets, strict=True)]),
            np.concatenate([part.stops + offset for part, offset in zip(parts, offsets, strict=True)]),
        )
    return np.concatenate(parts)
