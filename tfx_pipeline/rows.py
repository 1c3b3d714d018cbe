"""The rows that flow through the pipeline, as `tf.train.Example`s, before and after Transform.

Before it, an example holds raw values. A feature of the target is called by its name, as the served model's
`serve_examples` wants it; a feature of another domain `DOMAIN/NAME`, so that two domains may spell one feature
differently. A value that is missing is left out; a step that is missing in a sequence is `""` or -1. Besides:

    row.label    float, 0 or 1 for clicks        row.weight   float, 1 where rows have no weights
    row.user     bytes, the user's key           row.users    bytes, `cold` or `warm`: has the user rows of the
                                                              target to train on? (for slices; the target alone)
    row.slice.COLUMN  bytes, the group of the row by a column of the run's `slices` that is no id (the target alone)

Examples lie in `DOMAIN_PART/*.tfrecord` or `.tfrecord.gz`: `train` of every domain, `valid` and `test` of the target.
After Transform a feature is called by its name in every domain and holds rows of tables, padded.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.schema import Domain, Feature, Schema

if TYPE_CHECKING:
    from cdrzoo.data import Part, Prepared

LABEL, WEIGHT, USER, USERS = "row.label", "row.weight", "row.user", "row.users"
SLICE = "row.slice."
NUMBERS = "row.numbers"
"""In transformed examples: mean and deviation of every number, each a float64 in the bits of an int64."""

_TYPES = {"string": pa.large_binary(), "int64": pa.int64(), "float32": pa.float32()}
_BATCH_ROWS = 4096


def slice_key(schema: Schema, column: str) -> str:
    """The feature of raw examples by whose values a slice of the run is: an id's own, else one made for it."""
    ids = (f.name for f in schema.target_domain.features if f.kind == "id" and f.column == column)
    return next(ids, SLICE + column)


def raw_name(schema: Schema, domain: Domain, feature: Feature) -> str:
    """What a feature is called in raw examples."""
    return feature.name if domain.name == schema.target else f"{domain.name}/{feature.name}"


def serialized(schema: Schema, prepared: Prepared, domain: str, part: str) -> Iterator[list[bytes]]:
    """The rows of a part as serialized raw examples.

    Args:
        schema: whose features are wanted; `prepared` may hold more.
        prepared: the rows.
        domain, part: which of them.
    """
    from tfx_bsl.coders import example_coder

    of, rows = schema.domain(domain), prepared.parts[domain][part]
    cold = prepared.groups(part)["target_rows"].to_numpy() == 0 if _has_groups(schema, of, prepared) else None
    slices = _slices(schema, of, prepared, part)
    start = 0
    for table in prepared.tables(domain, part):
        at = slice(start, start + len(table))
        start = at.stop
        columns = {raw_name(schema, of, f): _values(table[f.column], f) for f in of.features}
        columns[LABEL] = _single(pa.array(rows.y[at, 0], pa.float32()))
        weight = np.ones(len(table)) if rows.weight is None else rows.weight[at]
        columns[WEIGHT] = _single(pa.array(weight, pa.float32()))
        if rows.user is not None:
            columns[USER] = _single(_text(pa.array(rows.user[at].astype(str).astype(object), pa.string())))
        if cold is not None:
            columns[USERS] = _single(_text(pa.array(np.where(cold[at], "cold", "warm"), pa.string())))
        for key, groups in slices.items():
            columns[key] = _single(_text(pa.array(groups[at], pa.string())))
        batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
        yield example_coder.RecordBatchToExamples(batch)


def _slices(schema: Schema, domain: Domain, prepared: Prepared, part: str) -> dict[str, np.ndarray]:
    """By key the group of every row by the columns of `slices` that are no id; of the target alone."""
    from cdrzoo.training.groups import by_values

    found = {}
    for column in prepared.slices if domain.name == schema.target else ():
        key = slice_key(schema, column)
        if key.startswith(SLICE):
            masks = by_values(prepared.values(column, part), prepared.values(column, "train"))
            found[key] = np.full(len(prepared.parts[domain.name][part]), None, object)
            for name, mask in masks.items():
                found[key][mask] = name
    return found


def _has_groups(schema: Schema, domain: Domain, prepared: Prepared) -> bool:
    return domain.name == schema.target and prepared.parts[domain.name]["train"].user is not None


def _values(column: pa.ChunkedArray, feature: Feature) -> pa.Array:
    """A raw column as lists of the feature's type; what is missing is null, within a sequence `""` or -1."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    if feature.kind == "ids":
        values = array.flatten()
        values = _text(values) if feature.dtype == "string" else values.cast(pa.int64())
        return pa.LargeListArray.from_arrays(array.offsets.cast(pa.int64()), values)
    if feature.dtype == "string":
        return _single(_text(pc.if_else(pc.equal(array, ""), None, array)))
    array = array.cast(_TYPES[feature.dtype])
    absent = pc.is_nan(array) if feature.dtype == "float32" else pc.equal(array, -1)
    return _single(pc.if_else(absent, pa.scalar(None, array.type), array))


def _text(array: pa.Array) -> pa.Array:
    return array.cast(pa.large_string()).cast(pa.large_binary())


def _single(array: pa.Array) -> pa.Array:
    """Each value as a list of one; null as null."""
    lengths = np.asarray(pc.is_valid(array)).astype(np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64())
    lists = pa.LargeListArray.from_arrays(offsets, array.drop_null())
    return pc.if_else(pc.is_valid(array), lists, pa.scalar(None, lists.type)) if array.null_count else lists


def write(path: pathlib.Path, pieces: Iterable[Sequence[bytes]]) -> None:
    """Writes serialized examples to a TFRecord file."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for piece in pieces:
            for example in piece:
                writer.write(example)


def first_examples(folder: str, count: int) -> np.ndarray:
    """The first serialized examples of the files in a folder, object `[count]` or fewer."""
    import tensorflow as tf

    found: list[bytes] = []
    for file in sorted(tf.io.gfile.glob(f"{folder}/*")):
        kind = "GZIP" if file.endswith(".gz") else ""
        found += tf.data.TFRecordDataset(file, kind).take(count - len(found)).as_numpy_iterator()
    return np.array(found, object)


def read(files: Sequence[str], spec: dict[str, Any], domain: Domain) -> Part:
    """All transformed examples of some files, as a model's batches take them; held once, in 32 bits.

    Args:
        files: TFRecord files, gzipped as Transform writes them.
        spec: of transformed examples, all of fixed length.
        domain: whose rows they are.
    """
    import tensorflow as tf

    from cdrzoo.data.batches import Part, shapes_of, stacked
    from cdrzoo.data.raw import factorize

    shapes = shapes_of(domain)
    names = {of: [f for f, (is_id, _) in shapes.items() if is_id == of] for of in (True, False)}
    widths = {of: sum(shapes[f][1] or 1 for f in found) for of, found in names.items()}
    others = [LABEL, WEIGHT, *([USER] if domain.user else [])]

    def pack(rows: Any) -> Any:
        found = tf.io.parse_example(rows, {name: spec[name] for name in [*shapes, *others]})
        packed = []
        for of, dtype in ((True, tf.int32), (False, tf.float32)):
            columns = [tf.reshape(tf.cast(found[f], dtype), [-1, shapes[f][1] or 1]) for f in names[of]]
            packed.append(tf.concat(columns, 1) if columns else tf.zeros([tf.size(rows), 0], dtype))
        return (*packed, *(found[name] for name in others))

    batches = tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(_BATCH_ROWS).map(pack)
    blocks: list[list[np.ndarray]] = [[] for _ in range(2 + len(others))]
    known: dict[bytes, bytes] = {}  # the rows of a user share one key
    for batch in batches.as_numpy_iterator():
        for column, values in zip(blocks, batch, strict=True):
            if values.dtype == object:
                codes, keys = factorize(values)
                values = np.array([known.setdefault(key, key) for key in keys], object)[codes]
            column.append(values)
    ids, numbers = stacked(blocks[0], widths[True], np.int32), stacked(blocks[1], widths[False], np.float32)
    y, weight, *user = (np.concatenate(column) for column in blocks[2:])
    return Part.of(shapes, ids, numbers, y, weight if (weight != 1).any() else None, *user)


def numbers(files: Sequence[str], spec: Any) -> np.ndarray:
    """The column `row.numbers` of the first transformed example."""
    import tensorflow as tf

    first = tf.data.TFRecordDataset(list(files), compression_type="GZIP").take(1).as_numpy_iterator()
    return tf.io.parse_single_example(next(first), {NUMBERS: spec})[NUMBERS].numpy()
