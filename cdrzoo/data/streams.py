"""Streams of examples, encoded anew each epoch. Deprecated: prepared rows (`rows`) are read several times as fast."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cdrzoo.data import readers
from cdrzoo.data.encoder import Encoder
from cdrzoo.data.preparation.labels import labels
from cdrzoo.data.preparation.sources import Source, wanted
from cdrzoo.data.readers import Columns, Wanted
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema

if TYPE_CHECKING:
    import tensorflow as tf

_CHUNK_ROWS = 16_384


def adapt(schema: Schema, sources: Mapping[str, Any], folder: str | pathlib.Path = ".") -> Encoder:
    """An encoder adapted on training examples, a chunk of rows in memory at a time. Deprecated, as `stream` is.

    Args:
        schema: the schema.
        sources: for every domain its training examples: a path, or a mapping as in `prepare` with kind: examples.
        folder: what relative paths are relative to.
    """
    _deprecated("adapt")
    plans = {domain.name: _Examples(schema, domain, sources, folder) for domain in schema.domains}
    means: dict[str, float] = {}
    encoder = Encoder(schema).adapt({name: plan.averaged(means) for name, plan in plans.items()})
    encoder.schema = encoder.schema.with_means(means)
    return encoder


def stream(
    encoder: Encoder,
    sources: Mapping[str, Any],
    batch_size: int | Mapping[str, int] = 256,
    *,
    training: bool = True,
    shuffle_rows: int = 65_536,
    seed: int = 0,
    initial_epoch: int = 0,
    folder: str | pathlib.Path = ".",
) -> tf.data.Dataset:
    """Batches of examples read from files as they are needed, `(x, y[, w])` as in `training_batches`.

    Deprecated: `load_rows(folder).train()` reads rows that are encoded once, and mixes them as in a perfect shuffle.

    Files (of Parquet: row groups) come in a new random order each epoch; rows are shuffled among `shuffle_rows` that
    lie together and are held. An epoch ends with the target; the other domains start anew each epoch, and repeat.

    Args:
        encoder: an adapted encoder.
        sources: for every domain that is to be in the batches its examples; must hold the target.
        batch_size: rows a step, for all domains or by domain.
        training: `False` gives every row once and in order, the last batch short; for one domain only.
        shuffle_rows: see above.
        seed: of the order, which follows from `seed` and the number of the epoch.
        initial_epoch: the number of the first epoch.
        folder: what relative paths are relative to.
    """
    import tensorflow as tf

    _deprecated("stream")
    schema = encoder.schema
    for name in sources:
        schema.domain(name)
    names = [domain.name for domain in schema.domains if domain.name in sources]
    leader = schema.target if schema.target in names else names[0]
    if not training and len(names) > 1:
        raise DataError(f"Rows in order are given for one domain. Received: {', '.join(names)}.")
    sizes = dict(batch_size) if isinstance(batch_size, Mapping) else dict.fromkeys(names, batch_size)
    plans = {name: _Examples(schema, schema.domain(name), sources, folder) for name in names}
    weighted = any(plan.source.weight is not None for plan in plans.values())
    state = {"epoch": initial_epoch}

    def generate() -> Iterator[Any]:
        epoch = state["epoch"]
        batches = {
            name: plan.batches(
                encoder, sizes[name], training, shuffle_rows, [seed, place, epoch], name != leader
            )
            for place, (name, plan) in enumerate(plans.items())
        }
        for step in zip(*batches.values(), strict=False):
            found = dict(zip(batches, step, strict=True))
            x = {n: {f.name: batch[f.name] for f in plans[n].domain.tensors} for n, batch in found.items()}
            y = {name: batch["@y"][:, None] for name, batch in found.items()}
            yield (x, y, {name: batch["@w"] for name, batch in found.items()}) if weighted else (x, y)
        state["epoch"] = epoch + 1  # only here: a look at the first batch is no epoch

    rows = {schema.domain(name): sizes[name] if training else None for name in names}
    return tf.data.Dataset.from_generator(generate, output_signature=_signature(rows, weighted)).prefetch(2)


def _deprecated(name: str) -> None:
    warnings.warn(
        f"cdrzoo.data.streams.{name} is deprecated. Prepare the rows once (`cdrzoo prepare`, or "
        "`cdrzoo.data.prepare_to`) and read them with `cdrzoo.data.load_rows(folder).train()`.",
        FutureWarning,
        stacklevel=3,
    )


def _signature(rows: Mapping[Domain, int | None], weighted: bool) -> tuple[Any, ...]:
    """Shapes and dtypes of a batch `(x, y[, w])` with so many rows of each domain (`None`: any number)."""
    import tensorflow as tf

    def spec(feature: Feature, size: int | None) -> tf.TensorSpec:
        shape = [size, feature.values] if feature.values else [size]
        return tf.TensorSpec(shape, tf.int32 if feature.is_id else tf.float32)

    x = {domain.name: {f.name: spec(f, size) for f in domain.tensors} for domain, size in rows.items()}
    y = {domain.name: tf.TensorSpec([size, 1], tf.float32) for domain, size in rows.items()}
    w = {domain.name: tf.TensorSpec([size], tf.float32) for domain, size in rows.items()}
    return (x, y, w) if weighted else (x, y)


class _Examples:
    """The example files of one domain."""

    def __init__(
        self, schema: Schema, domain: Domain, sources: Mapping[str, Any], folder: str | pathlib.Path
    ):
        if domain.name not in sources:
            raise DataError(
                f"No data is given for domain {domain.name!r}. Add it, or leave the domain out of the schema."
            )
        given = sources[domain.name]
        given = {**given} if isinstance(given, Mapping) else {"path": given}
        self.source = Source.of(domain.name, {"kind": "examples", **given}, folder)
        if self.source.path is None or self.source.kind != "examples" or self.source.join:
            raise DataError(
                f"The data of domain {domain.name!r}: a stream reads files of examples. Write them with "
                "`Prepared.write`."
            )
        self.domain = domain
        features = {f.column for f in domain.inputs()}
        columns = {c: w for c, w in wanted(schema, domain, self.source).items() if c in features}
        self.columns = {**columns, "@label": Wanted(domain.label, "finite")}
        if self.source.weight is not None:
            self.columns["@weight"] = Wanted(self.source.weight, "finite")
        self.files = readers.files(self.source.path)
        for file in self.files:  # a file that lacks a column fails here, not after hours
            names = readers.column_names(
                file, {w.column for w in self.columns.values()}, self.source.delimiter
            )
            readers.require(self.columns, names, str(file))

    def in_order(self) -> Iterator[Columns]:
        """Raw chunks, file by file."""
        return readers.chunks(self.files, self.columns, _CHUNK_ROWS, self.source.delimiter)

    def averaged(self, means: dict[str, float]) -> Iterator[Columns]:
        """The same; once they are read, the mean label stands in `means`."""
        total = weight = 0.0
        for chunk in self.in_order():
            y = labels(self.domain, chunk["@label"], str(self.source.path))
            w = chunk.get("@weight", np.ones(len(y)))
            total, weight = total + float(w @ y), weight + float(w.sum())
            yield chunk
        if weight:
            means[self.domain.name] = total / weight

    def _shuffled(self, random: np.random.Generator) -> Iterator[Columns]:
        pieces = [(file, group) for file in self.files for group in readers.row_groups(file)]
        for place in random.permutation(len(pieces)):
            file, group = pieces[place]
            yield from readers.file_chunks(file, self.columns, _CHUNK_ROWS, group, self.source.delimiter)

    def _encoded(self, encoder: Encoder, chunks: Iterator[Columns]) -> Iterator[dict[str, np.ndarray]]:
        for chunk in chunks:
            rows = encoder.encode(self.domain.name, chunk)
            rows["@y"] = labels(self.domain, chunk["@label"], str(self.source.path))
            rows["@w"] = chunk.get("@weight", np.ones(len(rows["@y"]))).astype(np.float32)
            yield rows

    def batches(
        self, encoder: Encoder, size: int, training: bool, shuffle_rows: int, seed: list[int], endless: bool
    ) -> Iterator[dict[str, np.ndarray]]:
        """Encoded batches; in training shuffled, complete and, if `endless`, again and again."""
        number = 0
        while True:
            random = np.random.Generator(np.random.PCG64([*seed, number]))
            pool: list[dict[str, np.ndarray]] = []
            held, given = 0, False
            for rows in self._encoded(encoder, self._shuffled(random) if training else self.in_order()):
                pool.append(rows)
                held += len(rows["@y"])
                if held >= (shuffle_rows if training else size):
                    batches, rest = _cut(pool, size, random if training else None)
                    yield from batches
                    given, pool, held = given or bool(batches), [rest], len(rest["@y"])
            batches, rest = _cut(pool, size, random if training else None)
            yield from batches
            if not training and len(rest["@y"]):
                yield rest
            if not endless:
                return
            if not (given or batches):
                raise DataError(
                    f"Domain {self.domain.name!r} has fewer than {size} rows, one batch. Lower `batch_size`."
                )
            number += 1


def _cut(
    pool: list[dict[str, np.ndarray]], size: int, random: np.random.Generator | None
) -> tuple[list[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The rows of the pool, shuffled, as complete batches and a rest."""
    rows = {name: np.concatenate([part[name] for part in pool]) for name in pool[0]}
    count = len(rows["@y"])
    order = np.arange(count) if random is None else random.permutation(count)
    whole = count - count % size
    batches = [{n: v[order[low : low + size]] for n, v in rows.items()} for low in range(0, whole, size)]
    return batches, {n: v[order[whole:]] for n, v in rows.items()}
