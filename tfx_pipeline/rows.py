"""The rows that flow through the pipeline, as `tf.train.Example`s, before and after Transform.

Before it, an example holds raw values. A feature of the target is called by its name, as the served model's
`serve_examples` wants it; a feature of another domain `DOMAIN/NAME`, so that two domains may spell one feature
differently. A value that is missing is left out; a step that is missing in a sequence is `""` or -1. Besides:

    row.label    float, 0 or 1 for clicks        row.weight   float, 1 where rows have no weights
    row.user     bytes, the user's key           row.users    bytes, `cold` or `warm`: has the user rows of the
                                                              target to train on? (for slices; the target alone)
    row.label.NAME, row.weight.NAME  floats, of several labels each behind the first; one that is missing weighs 0
    row.slice.COLUMN  bytes, the group of the row by a column of the run's `slices` that is no id (the target alone)

Examples lie in `DOMAIN_PART/*.tfrecord` or `.tfrecord.gz`: `train` of every domain, `valid` and `test` of the target.
After Transform a feature is called by its name in every domain and holds rows of tables, padded. A training reads them
into memory, or, where they are many, writes them to a folder as it lies that `cdrzoo prepare` makes.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo import traffic
from cdrzoo.schema import Domain, Feature, Schema

if TYPE_CHECKING:
    from cdrzoo.data import Encoder, Part
    from cdrzoo.data.preparation.logs import Log
    from cdrzoo.data.rows.format import PartRows

LABEL, WEIGHT, USER, USERS = "row.label", "row.weight", "row.user", "row.users"
SLICE = "row.slice."
NUMBERS = "row.numbers"
"""In transformed examples: mean and deviation of every number, each a float64 in the bits of an int64."""

ENCODER, SPLIT = "encoder", "split.json"
"""In the folder of what a run with warm starts knows: the encoder, and what is recorded of the rows."""

_TYPES = {"string": pa.large_binary(), "int64": pa.int64(), "float32": pa.float32()}
_BATCH_ROWS = 4096
_TABLE_ROWS = 65_536
_SPREAD_ROWS = 262_144
"""Rows that are held at once to be spread over the shards of a folder."""


def further(schema: Schema) -> dict[str, list[str]]:
    """The labels behind the first, of all domains, with the domains that have each."""
    found: dict[str, list[str]] = {}
    for domain in schema.domains:
        for label in domain.labels[1:]:
            found.setdefault(label.name, []).append(domain.name)
    return found


def slice_key(schema: Schema, column: str) -> str:
    """The feature of raw examples by whose values a slice of the run is: an id's own, else one made for it."""
    ids = (f.name for f in schema.target_domain.features if f.kind == "id" and f.column == column)
    return next(ids, SLICE + column)


def raw_name(schema: Schema, domain: Domain, feature: Feature) -> str:
    """What a feature is called in raw examples."""
    return feature.name if domain.name == schema.target else f"{domain.name}/{feature.name}"


def write_partition(
    schema: Schema,
    slices: Sequence[str],
    logs: Mapping[str, Log],
    codes: Mapping[str, np.ndarray],
    folder: pathlib.Path,
    name: str,
) -> None:
    """Writes the rows of some users as raw examples: a file a domain and part (`cdrzoo.data.rows.making.write_raw`).

    Args:
        schema: whose features are wanted; the logs may have more.
        slices: `row.slice.COLUMN` of columns whose values make groups, for which the logs must hold all users.
        logs: all rows of these users.
        codes: by domain the number of each row's part.
        folder: gets `DOMAIN_PART/rows-NAME.tfrecord`.
        name: of the partition.
    """
    from cdrzoo.data.preparation.splits import PARTS
    from cdrzoo.data.raw import occurrences

    for domain in schema.domains:
        log, of = logs[domain.name], codes[domain.name]
        parts, texts = {part: np.flatnonzero(of == code) for code, part in enumerate(PARTS)}, {}
        if domain.name != schema.target:
            parts = {"train": parts["train"]}
        else:
            texts = _slices(log, parts, slices)
            if log.user is not None:
                known = occurrences(log.user[log.happened(parts["train"])], log.user)
                texts[USERS] = np.where(known == 0, "cold", "warm").astype(object)
        for part, rows in parts.items():
            path = folder / f"{domain.name}_{part}" / f"rows-{name}.tfrecord"
            path.parent.mkdir(parents=True)
            write(path, serialized(schema, log, rows, texts, part == "test"))


def serialized(
    schema: Schema,
    log: Log,
    rows: np.ndarray,
    texts: Mapping[str, np.ndarray],
    measured: bool = False,
) -> Iterator[list[bytes]]:
    """Rows of a log as serialized raw examples.

    Args:
        schema: whose features are wanted.
        log: the log.
        rows: int64 [n], which of its rows.
        texts: of all rows of the log by the name of a feature.
        measured: whether weights are those of all traffic, of a log that dropped rows without a click.
    """
    from tfx_bsl.coders import example_coder

    from cdrzoo.data.preparation.examples import arrow, raw_columns

    of = schema.domain(log.domain.name)
    for low in range(0, len(rows), _TABLE_ROWS):
        at = rows[low : low + _TABLE_ROWS]
        table = arrow(raw_columns(of, log, at))
        columns = {raw_name(schema, of, f): _values(table[f.column], f) for f in of.inputs()}
        columns[LABEL] = _single(pa.array(log.y[at], pa.float32()))
        weight = np.ones(len(at)) if log.weight is None else log.weight[at].astype(np.float32)
        if measured:
            weight = traffic.row_weights(log.y[at], weight, of.negatives_kept)
        columns[WEIGHT] = _single(pa.array(weight, pa.float32()))
        for name, values in log.labels.items():
            known = ~np.isnan(values[at])
            columns[f"{LABEL}.{name}"] = _single(pa.array(np.where(known, values[at], 0), pa.float32()))
            columns[f"{WEIGHT}.{name}"] = _single(pa.array(np.where(known, weight, 0), pa.float32()))
        if log.user is not None:
            columns[USER] = _single(_text(pa.array(log.user[at].astype(str).astype(object), pa.string())))
        for key, values in texts.items():
            columns[key] = _single(_text(pa.array(values[at], pa.string())))
        batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
        yield example_coder.RecordBatchToExamples(batch)


def _slices(log: Log, parts: Mapping[str, np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
    """By key the group of every row of the target's log by columns that are no id."""
    from cdrzoo.training.groups import by_values

    found = {}
    for key in keys:
        values, found[key] = log.values(key.removeprefix(SLICE)), np.full(len(log), None, object)
        for rows in parts.values():
            for name, mask in by_values(values[rows], values[parts["train"]]).items():
                found[key][rows[mask]] = name
    return found


def _values(column: pa.ChunkedArray, feature: Feature) -> pa.Array:
    """A raw column as lists of the feature's type; what is missing is null, within a sequence `""` or -1."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    if feature.kind == "vector":
        offsets = np.arange(len(array) + 1, dtype=np.int64) * feature.size
        return pa.LargeListArray.from_arrays(pa.array(offsets), array.flatten())
    if feature.ragged:
        values = array.flatten()
        values = _text(values) if feature.dtype == "string" else values.cast(_TYPES[feature.dtype])
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


def raw(schema: Schema, domain: Domain, file: str) -> Iterator[dict[str, Any]]:
    """Raw examples of a domain in chunks: by column what an encoder takes, and `row.label` and `row.weight`."""
    from cdrzoo.data.readers import Wanted, tfrecord
    from cdrzoo.data.readers.conversion import convert

    wanted = {name: Wanted(name, "float") for name in (LABEL, WEIGHT)}
    for f in domain.inputs():
        wanted[f.column] = dataclasses.replace(Wanted.of(f), column=raw_name(schema, domain, f))
    for chunk, row in tfrecord.read(pathlib.Path(file), wanted, None):
        yield {column: convert(chunk[column], want, file, row) for column, want in wanted.items()}


def count(files: Sequence[str]) -> int:
    """How many examples some gzipped TFRecord files hold."""
    import tensorflow as tf

    examples = tf.data.TFRecordDataset(list(files), compression_type="GZIP")
    return int(examples.reduce(np.int64(0), lambda found, _: found + 1))


def packed(files: Sequence[str], spec: dict[str, Any], domain: Domain) -> Iterator[list[np.ndarray]]:
    """Transformed examples in blocks: ids int32 `[n, W]`, numbers float32 `[n, M]`, labels, weights, further, users.

    Further labels are float32 `[n, L]`, NaN where they are missing.

    Args:
        files: TFRecord files, gzipped as Transform writes them.
        spec: of transformed examples, all of fixed length.
        domain: whose rows they are; only one with users gives some.
    """
    import tensorflow as tf

    from cdrzoo.data.batches import shapes_of

    shapes = shapes_of(domain)
    names = {of: [f for f, (is_id, _) in shapes.items() if is_id == of] for of in (True, False)}
    keys, users = [label.name for label in domain.labels[1:]], [USER] if domain.user else []
    wanted = [
        *shapes,
        *(kind + end for kind in (LABEL, WEIGHT) for end in ("", *(f".{key}" for key in keys))),
    ]

    def pack(rows: Any) -> Any:
        found = tf.io.parse_example(rows, {name: spec[name] for name in [*wanted, *users]})
        packed = []
        for of, dtype in ((True, tf.int32), (False, tf.float32)):
            columns = [tf.reshape(tf.cast(found[f], dtype), [-1, shapes[f][1] or 1]) for f in names[of]]
            packed.append(tf.concat(columns, 1) if columns else tf.zeros([tf.size(rows), 0], dtype))
        labels = [
            tf.where(found[f"{WEIGHT}.{key}"] > 0, found[f"{LABEL}.{key}"], float("nan")) for key in keys
        ]
        further = tf.stack(labels, 1) if labels else tf.zeros([tf.size(rows), 0])
        return (*packed, found[LABEL], found[WEIGHT], further, *(found[name] for name in users))

    examples = tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(_BATCH_ROWS)
    yield from examples.map(pack, num_parallel_calls=2, deterministic=True).as_numpy_iterator()


def served(
    blocks: Iterable[list[np.ndarray]], domain: Domain, encoder: Encoder
) -> Iterator[list[np.ndarray]]:
    """The same rows as they will be served: what has a `serving_value` has it; Transform knows no parts."""
    from cdrzoo.data.batches import Part, shapes_of

    for ids, numbers, *others in blocks:
        ids, numbers = ids.copy(), numbers.copy()
        part = Part.of(shapes_of(domain), ids, numbers, others[0])
        for name, values in encoder.served(domain.name, len(ids)).items():
            part.x[name][...] = values
        yield [ids, numbers, *others]


def read(blocks: Iterable[list[np.ndarray]], domain: Domain) -> Part:
    """All rows of a domain in blocks, as a model's batches take them; held once, in 32 bits."""
    from cdrzoo.data.batches import Part, shapes_of, stacked
    from cdrzoo.data.raw import factorize

    known: dict[bytes, bytes] = {}  # the rows of a user share one key
    columns: list[list[np.ndarray]] = []
    for block in blocks:
        columns = columns or [[] for _ in block]
        for column, values in zip(columns, block, strict=True):
            if values.dtype == object:
                codes, keys = factorize(values)
                values = np.array([known.setdefault(key, key) for key in keys], object)[codes]
            column.append(values)
    widths = [column[0].shape[1] for column in columns[:2]]
    ids, numbers = stacked(columns[0], widths[0], np.int32), stacked(columns[1], widths[1], np.float32)
    y, weight, further, *user = (np.concatenate(column) for column in columns[2:])
    labels = {label.name: further[:, at].copy() for at, label in enumerate(domain.labels[1:])}
    weight = weight if (weight != 1).any() else None
    return Part.of(shapes_of(domain), ids, numbers, y, weight, user[0] if user else None, labels)


def store(
    blocks: Iterable[list[np.ndarray]],
    rows: int,
    folder: pathlib.Path,
    name: str,
    domain: Domain,
    workers: int,
) -> tuple[PartRows, bool]:
    """Writes `packed` rows in a random order to shards, as `cdrzoo.data.rows.format` says; in bounded memory.

    Each row goes to a shard that is drawn for it, then each shard is mixed, so that no order of the examples is left.

    Args:
        blocks: the rows.
        rows: how many they are.
        folder: of the rows.
        name: of the folder of the shards in it.
        domain: whose rows they are.
        workers: who share the rows: the row groups of a shard, all alike, can be divided by their number.

    Returns:
        The part, and whether its rows have weights.
    """
    from pyarrow import parquet

    from cdrzoo.data.rows import spill
    from cdrzoo.data.rows.format import GROUP_ROWS, SHARD_ROWS, PartRows

    count, start, labels, weighted = -(-rows // SHARD_ROWS), 0, 0.0, False
    random = np.random.default_rng(0)
    pieces: list[tuple[pathlib.Path, np.ndarray]] = []
    made: list[tuple[str, int]] = []
    (folder / name).mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="spread_", dir=folder) as scratch:
        for table in _tables(blocks, domain):
            table = table.append_column("row", pa.array(np.arange(start, start + len(table))))
            start += len(table)
            labels += float(np.asarray(table["label"], np.float64).sum())
            weighted |= bool((np.asarray(table["weight"]) != 1).any())
            shard = random.integers(count, size=len(table))
            ends = np.searchsorted(np.sort(shard), np.arange(count), side="right")
            path = pathlib.Path(scratch, f"{len(pieces):05d}.arrow")
            table = table.take(pa.array(np.argsort(shard, kind="stable")))
            pieces.append((path, spill.write(path, table, ends)))
        for number in range(count):
            parts = (spill.read(path, sizes, range(number, number + 1)) for path, sizes in pieces)
            table = pa.concat_tables(parts)
            table = table.take(pa.array(random.permutation(len(table))))
            groups = workers * -(-len(table) // (GROUP_ROWS * workers))
            made.append((f"{name}/{number:05d}.parquet", len(table)))
            parquet.write_table(
                table,
                str(folder / made[-1][0]),
                row_group_size=max(-(-len(table) // max(groups, 1)), 1),
                compression="zstd",
                use_dictionary=[column for column in table.column_names if column == "user"],
            )
    return PartRows(rows, tuple(made), labels), weighted


def _tables(blocks: Iterable[list[np.ndarray]], domain: Domain) -> Iterator[pa.Table]:
    """The blocks as large tables with the columns of a shard."""
    from cdrzoo.data.preparation.examples import fixed
    from cdrzoo.data.raw import factorize
    from cdrzoo.data.rows.format import LABEL as FURTHER

    held: list[pa.Table] = []
    for ids, numbers, label, weight, further, *user in blocks:
        columns = {"ids": fixed(ids)} if ids.shape[1] else {}
        columns |= {"numbers": fixed(numbers)} if numbers.shape[1] else {}
        columns |= {"label": pa.array(label), "weight": pa.array(weight)}
        for at, of in enumerate(domain.labels[1:]):
            columns[FURTHER + of.name] = pa.array(further[:, at])
        for values in user:
            codes, keys = factorize(values)
            texts = pa.array([key.decode("latin-1") for key in keys], pa.string())  # whatever bytes they are
            columns["user"] = texts.take(pa.array(codes))
        held.append(pa.table(columns))
        if sum(map(len, held)) >= _SPREAD_ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def numbers(files: Sequence[str], spec: Any) -> np.ndarray:
    """The column `row.numbers` of the first transformed example."""
    import tensorflow as tf

    first = tf.data.TFRecordDataset(list(files), compression_type="GZIP").take(1).as_numpy_iterator()
    return tf.io.parse_single_example(next(first), {NUMBERS: spec})[NUMBERS].numpy()
