"""TFRecord files of `tf.train.Example`s. TensorFlow is imported when one is read."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cdrzoo.data.readers.columns import CHUNK_ROWS, READ_AHEAD, Columns, Wanted, wrong
from cdrzoo.data.readers.conversion import lists
from cdrzoo.data.readers.paths import local, opened
from cdrzoo.errors import DataError


def header(file: pathlib.Path, wanted: Collection[str] = ()) -> list[str]:
    """The names of its columns, by its first records; by all where those lack one that is wanted."""
    names = _kinds(file, wanted)
    if not names:
        raise DataError(f"{file} has no rows. At least one is needed; check how it was written.")
    return sorted(names)


def _kinds(file: pathlib.Path, wanted: Collection[str]) -> dict[str, str | None]:
    """The kind of every column that the first records have, and of those wanted: an empty sequence has none."""
    import tensorflow as tf

    kinds: dict[str, str | None] = {}
    for number, record in enumerate(_read_records(file, _records(file)), 1):
        if number > READ_AHEAD and all(kinds.get(name) for name in wanted):
            break
        for name, value in _example(tf, file, number, record).features.feature.items():
            kinds[name] = kinds.get(name) or value.WhichOneof("kind")
    return kinds


def read(file: pathlib.Path, wanted: Mapping[str, Wanted], rows: int | None) -> Iterator[tuple[Columns, int]]:
    """Raw columns in chunks of `rows` rows (`None`: as is fastest), and how many rows came before."""
    import tensorflow as tf

    kinds = _kinds(file, {want.column for want in wanted.values()})
    dtypes = {"bytes_list": tf.string, "int64_list": tf.int64, "float_list": tf.float32}
    unseen = {"string": "bytes_list", "int64": "int64_list", "time": "int64_list"}
    spec = {
        w.column: tf.io.VarLenFeature(dtypes[kinds.get(w.column) or unseen.get(w.dtype, "float_list")])
        for w in wanted.values()
    }
    size, row = rows or CHUNK_ROWS, 0
    for batch in _read_records(file, _records(file).batch(size), per_item=size):
        try:
            parsed = tf.io.parse_example(batch, spec)
        except tf.errors.InvalidArgumentError:
            _blame_record(tf, file, batch, row, spec)
            raise
        yield {key: _from_sparse(parsed[w.column], w, str(file), row) for key, w in wanted.items()}, row
        row += len(batch)
    if file.suffix == ".gz":  # TensorFlow takes one that was cut off between two records for a whole one
        with opened(file) as stream:
            while stream.read(1 << 20):
                pass


def as_written(file: pathlib.Path) -> pd.DataFrame:
    """Every column, as it stands there."""
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


def _records(file: pathlib.Path) -> Any:
    import tensorflow as tf

    return tf.data.TFRecordDataset(str(local(file)), compression_type="GZIP" if file.suffix == ".gz" else "")


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


def _example(tf: Any, file: pathlib.Path, number: int, record: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(record)
    except DecodeError:
        raise DataError(
            f"{file}, record {number} is not a tf.train.Example. Serialize one Example a record."
        ) from None


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
        return lists(array, lengths)
    if (lengths > 1).any():
        at = int(np.argmax(lengths > 1))
        raise wrong(
            want, where, row + at, f"{lengths[at]} values", "one value", "Make it a feature of kind ids."
        )
    places = np.where(lengths == 1, np.cumsum(lengths) - 1, -1)
    return array.take(pa.array(places, mask=places < 0))
