"""The encoder: raw ids and numbers to rows of tables, in NumPy for training and in a TensorFlow graph for serving."""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cdrzoo.data import scaling
from cdrzoo.data.ledger import Ledger
from cdrzoo.data.ragged import Ragged, in_step
from cdrzoo.data.raw import CROSS, MISSING, as_numbers, factorize
from cdrzoo.data.readers import columns_of
from cdrzoo.data.statistics import Counts, Moments, Spread, Statistics
from cdrzoo.data.vocabulary import Vocabulary
from cdrzoo.errors import DataError
from cdrzoo.files import home, read_json, reading
from cdrzoo.schema import FIRST_KNOWN, PADDING, Feature, Schema
from cdrzoo.schema.features import together, with_weights

if TYPE_CHECKING:
    import tensorflow as tf

_FORMAT = 1


class Encoder:
    """One vocabulary a table, and mean and deviation or cuts of every number, all learnt from training rows.

    Of a table's ids the most frequent gets row 2, the next row 3 and so on (ties in alphabetical order); an id that
    was not seen, or fewer than the table's `min_count` times, gets row 1; a missing one row 0. Every occurrence in a
    training row counts: in an id column and among the last `length` ids of a sequence. A table with `hash_buckets` has
    no vocabulary. A number becomes `(value - mean) / deviation`, after its `transform`; a missing one becomes 0. Of a
    table with `buckets` it becomes the row of its bucket: row 2 holds the least numbers, row 0 the missing.

    Args:
        schema: the schema; `encoder.schema` has the rows of the tables filled in once `adapt` or `load` has run.
    """

    def __init__(self, schema: Schema):
        self.schema = schema
        self.lookups: dict[str, Vocabulary] = {}
        self.numbers: dict[str, dict[str, tuple[float, ...]]] = {}
        self.day = 0
        self.ledgers: dict[str, Ledger] = {}
        self.growth: dict[str, dict[str, int]] = {}

    @property
    def vocabularies(self) -> dict[str, np.ndarray]:
        """By table all ids, row 2 first: text as objects, or int64. Of large tables that takes much memory."""
        return {name: found.array() for name, found in self.lookups.items()}

    # Learning ---------------------------------------------------------------------------------------------------

    def adapt(self, rows: Mapping[str, Any]) -> Encoder:
        """Learns vocabularies and statistics.

        Args:
            rows: for every domain its training rows: a DataFrame, a mapping from column to values, or, for data that
                does not fit in memory, an iterable of these.

        Returns:
            The encoder itself.

        Raises:
            DataError: when a domain is missing, or an id holds a line break.
        """
        found = {}
        for domain in self.schema.domains:
            if domain.name not in rows:
                raise DataError(
                    f"The encoder needs the training rows of every domain; {domain.name!r} is missing."
                )
            found[domain.name] = Statistics()
            for chunk in _chunks(rows[domain.name]):
                found[domain.name].merge(self.statistics(domain.name, chunk))
        return self.learn(found)

    def statistics(self, domain: str, rows: Any) -> Statistics:
        """What training rows of one domain teach; statistics of several pieces add up (`Statistics.merge`).

        Args:
            domain: the domain.
            rows: a DataFrame, or a mapping from column to values.
        """
        features = self.schema.domain(domain).inputs()
        columns = columns_of(rows, features, f"Domain {domain!r}")
        found = Statistics()
        for feature in features:
            values = columns[feature.column]
            if feature.kind == "number":
                numbers = _number(values, feature)
                scaling.check(numbers, feature, f"Domain {domain!r}")
                numbers = scaling.stepped(numbers, feature)
                if feature.table is None:
                    found.moments.setdefault(feature.name, Moments()).add(numbers)
                else:
                    found.spreads.setdefault(feature.name, Spread()).add(numbers)
            elif feature.table is not None and self.schema.has_vocabulary(feature.table):
                self._count(found.counts.setdefault(feature.name, Counts()), values, feature)
        return found

    def learn(self, statistics: Mapping[str, Statistics]) -> Encoder:
        """Takes the statistics of the training rows of every domain; gives the encoder itself."""
        self.numbers = {
            domain.name: {
                feature.name: self._learnt(feature, statistics[domain.name])
                for feature in domain.features
                if feature.kind == "number"
            }
            for domain in self.schema.domains
        }
        vocabularies = {}
        for name, found in self.table_counts(statistics).items():
            numbers, least = as_numbers(self.schema, name), self.schema.table(name).min_count
            vocabularies[name] = found.result(least, numbers)
            self.ledgers[name] = Ledger.new(len(vocabularies[name]), found.rare(least, numbers))
        self.set_vocabularies(vocabularies)
        return self

    def _learnt(self, feature: Feature, found: Statistics) -> tuple[float, ...]:
        """Mean and deviation of a number, or its cuts."""
        if feature.table is None:
            return found.moments.get(feature.name, Moments()).result()
        return found.spreads.get(feature.name, Spread()).cuts(self.schema.table(feature.table))

    def table_counts(self, statistics: Mapping[str, Statistics]) -> dict[str, Counts]:
        """How often each id of a table with a vocabulary was seen, in all domains and features."""
        counts = {t.name: Counts() for t in self.schema.tables if self.schema.has_vocabulary(t.name)}
        for domain in self.schema.domains:
            for feature in domain.features:
                if feature.table in counts:
                    counts[feature.table].merge(statistics[domain.name].counts.get(feature.name, Counts()))
        return counts

    def _count(self, counts: Counts, values: Any, feature: Feature) -> None:
        weights = None
        if isinstance(values, Ragged):
            values = values.compress(values.map(lambda values: values != MISSING[feature.dtype]).values)
            weights = values.occurrences(feature.length)
            if values.coded is not None:
                codes, values = values.coded
                weights = np.bincount(codes, weights, minlength=len(values))
            else:
                values = values.values
            values, weights = values[weights > 0], weights[weights > 0]
        else:
            values = values[values != MISSING[feature.dtype]]
        counts.add(self._keys(values, feature), weights)

    def set_vocabularies(self, vocabularies: Mapping[str, Any]) -> None:
        """Takes vocabularies that were counted elsewhere: of each table its ids, row 2 first.

        Args:
            vocabularies: arrays of objects, of int64 or of Arrow, or each a `Vocabulary`.
        """
        found = {
            name: ids if isinstance(ids, Vocabulary) else Vocabulary(ids)
            for name, ids in vocabularies.items()
        }
        for name, ids in found.items():
            if (broken := ids.broken()) is not None:
                raise DataError(
                    f"An id of table {name!r} holds a line break: {broken[:60]!r}. A vocabulary file has "
                    "one id a line. Replace the line break in the data, or give the table `hash_buckets`."
                )
        self.lookups = found
        self.schema = self.schema.with_rows(
            {
                table.name: FIRST_KNOWN
                + (table.hash_buckets or table.buckets or len(self.lookups.get(table.name, ())))
                if (size := self.schema.vector_size(table.name)) is None
                else size
                for table in self.schema.tables
            }
        )

    def _keys(self, values: np.ndarray, feature: Feature) -> np.ndarray:
        """Raw ids as the table spells them: an int64 id in a table of strings is its decimal digits."""
        if feature.dtype == "int64" and not as_numbers(self.schema, feature.table):
            return values.astype(str).astype(object)
        return values

    # Encoding ---------------------------------------------------------------------------------------------------

    def encode(
        self, domain: str, frame: Any, features: Iterable[str] | None = None, serving: bool = False
    ) -> dict[str, np.ndarray]:
        """Rows as arrays for a batch.

        Args:
            domain: the domain the rows belong to.
            frame: a DataFrame, or a mapping from raw column to values.
            features: names of the features wanted; default all of the domain.
            serving: whether what has a `serving_value` has it in every row, as in an export; `frame` need not hold it.

        Returns:
            `id`: int32 [n]; `ids`: int32 [n, length], the last `length` present ids, oldest first, then 0;
            `number`: float32 [n], of several columns (`Feature.values`) float32 [n, values], of a table int32 [n];
            `vector`: float32 [n, size], zeros where it is missing; weights: float32 [n, length], those of the ids that
            are present, then 0. The histories of one domain run in step: an event is present if any of its columns is,
            and a column that lacks it has 0 there.
        """
        self._check_adapted()
        wanted = [
            f for f in self.schema.domain(domain).features if features is None or f.name in set(features)
        ]
        fixed = {f.name for f in wanted if serving and f.serving_value is not None}
        given = self.schema.domain(domain).inputs(f for f in wanted if f.name not in fixed)
        columns = columns_of(frame, given, f"Domain {domain!r}")
        encoded = self.served(domain, len(next(iter(columns.values())))) if fixed else {}
        for group in together(wanted):
            encoded |= self._sequences(group, columns)
        for feature in wanted:
            if feature.name in encoded:
                continue
            if feature.cross is not None:
                encoded[feature.name] = self._cross(domain, feature, columns)
            else:
                encoded[feature.name] = self._encode(domain, feature, columns[feature.column])
        return {f.name: encoded[f.name] for f in with_weights(wanted)}

    def _sequences(self, features: Iterable[Feature], columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Sequences that run in step; of weights those whose ids are present."""
        every = with_weights(features)
        found = in_step(
            [
                columns[f.column]
                .reached()
                .map(lambda values, f=f: self._rows(values, f) if f.is_id else values)
                for f in every
            ],
            PADDING,
        )
        ids = [one.values for f, one in zip(every, found, strict=True) if f.is_id]
        present = np.logical_or.reduce([rows != PADDING for rows in ids])
        return {
            f.name: one.compress(present).last(f.length, PADDING) for f, one in zip(every, found, strict=True)
        }

    def _encode(self, domain: str, feature: Feature, values: Any) -> np.ndarray:
        if feature.kind == "vector":
            return values
        if feature.kind != "number":
            return self._rows(values, feature)
        numbers = scaling.stepped(_number(values, feature), feature)
        missing = np.isnan(numbers)
        if feature.table is not None:
            cuts = np.array(self.numbers[domain][feature.name])
            rows = np.searchsorted(cuts, numbers, side="right") + FIRST_KNOWN
            return np.where(missing, PADDING, rows).astype(np.int32)
        moments = self.numbers[domain][feature.name]
        missing |= scaling.beyond(numbers, feature, moments)
        columns = scaling.columns(numbers, feature, moments)
        columns += [np.ones(len(numbers))] * feature.flag
        found = [np.where(missing, 0.0, column).astype(np.float32) for column in columns]
        return np.stack(found, 1) if feature.values else found[0]

    def _cross(self, domain: str, feature: Feature, columns: Mapping[str, Any]) -> np.ndarray:
        """Rows of what several ids are together; each distinct combination is spelled once."""
        codes = np.zeros(len(next(iter(columns.values()))), np.int64)
        missing = np.zeros(len(codes), bool)
        spelled: np.ndarray | None = None
        for part in map(self.schema.domain(domain).feature, feature.cross):
            values = columns[part.column]
            missing |= np.asarray(values == MISSING[part.dtype], bool)
            own, distinct = factorize(values)
            texts = distinct.astype(str).astype(object) if part.dtype == "int64" else distinct
            codes, pairs = factorize(codes * (len(distinct) + 1) + own)
            before, now = np.divmod(pairs, len(distinct) + 1)
            spelled = texts[now] if spelled is None else spelled[before] + CROSS + texts[now]
        rows = _hash(spelled, self.schema.table(feature.table).hash_buckets)[codes]
        return np.where(missing, PADDING, rows).astype(np.int32)

    def served(self, domain: str, rows: int) -> dict[str, np.ndarray]:
        """The features that have a `serving_value`, encoded, in so many rows."""
        found = {}
        for f in self.schema.domain(domain).features:
            if f.serving_value is not None:
                value = np.array([f.serving_value], object if f.dtype == "string" else f.dtype)
                found[f.name] = self._encode(domain, f, value).repeat(rows, 0)
        return found

    def _rows(self, values: np.ndarray, feature: Feature) -> np.ndarray:
        missing = values == MISSING[feature.dtype]
        keys, table = self._keys(values, feature), self.schema.table(feature.table)
        if table.hash_buckets is None:
            rows = self.places(table.name, keys) + FIRST_KNOWN  # not found is -1
        else:
            rows = _hash(keys, table.hash_buckets)
        rows[missing] = PADDING
        return rows

    def same(self, other: Encoder) -> bool:
        """Whether the other one encodes alike: vocabularies, means and cuts."""
        numbers = (json.dumps(each.numbers, sort_keys=True) for each in (self, other))
        return (
            len({*numbers}) == 1
            and self.lookups.keys() == other.lookups.keys()
            and all(ids.same(other.lookups[name]) for name, ids in self.lookups.items())
        )

    def typed(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Ids of a table in its vocabulary's type."""
        return ids.astype(np.int64) if as_numbers(self.schema, table) else ids

    def places(self, table: str, ids: np.ndarray) -> np.ndarray:
        """int32 [n]: where ids, as the table spells them, stand in its vocabulary, from 0; -1 for others."""
        return self.lookups[table].find(ids)

    def graph(self, domain: str, features: Iterable[str] | None = None) -> tf.Module:
        """The same encoding as a TensorFlow module, for the serving graph.

        Its call takes `{feature: tensor}` of the raw dtype, id and number [B], ids [B, any length], and gives what
        `encode` gives. A SavedModel that tracks it carries the vocabularies as assets. Its `signature` names the
        tensors it takes.

        Args:
            domain: the domain the rows belong to.
            features: names of the features the graph takes; default all of the domain.
        """
        self._check_adapted()
        from cdrzoo.data.graph import EncoderGraph, lookup_table

        names = None if features is None else set(features)
        used = {f.table for f in self.schema.domain(domain).features if names is None or f.name in names}
        folder = tempfile.TemporaryDirectory(prefix="cdrzoo_vocab_")
        lookups = {}
        for name, ids in self.lookups.items():
            # An empty vocabulary gets no table: TensorFlow refuses one, and every id is unknown.
            if len(ids) and name in used:
                path = pathlib.Path(folder.name) / f"{name}.txt"
                self.write_vocabulary(name, path)
                lookups[name] = lookup_table(path, as_numbers(self.schema, name), len(ids))
        graph = EncoderGraph(self.schema, domain, lookups, self.numbers[domain], names)
        graph.folder = folder  # lives as long as the module
        return graph

    def _check_adapted(self) -> None:
        if any(table.rows is None for table in self.schema.tables):
            raise DataError(
                "The encoder knows no vocabularies yet. Call `adapt` with the training rows, or `Encoder.load`."
            )

    # Files ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes `schema.yaml`, `encoder.json`, `ledger/` and `vocab/TABLE.txt` (one id a line; the first is row 2).

        The ledger is what a warm start has to know of ids (`cdrzoo.data.growth`).
        """
        self._check_adapted()
        folder = pathlib.Path(folder)
        (folder / "vocab").mkdir(parents=True, exist_ok=True)
        self.schema.save(folder / "schema.yaml")
        for name in self.lookups:
            self.write_vocabulary(name, folder / "vocab" / f"{name}.txt")
            if name in self.ledgers:
                self.ledgers[name].save(folder / "ledger", name)
        numbers = {
            domain.name: {
                f.name: dict(zip(("mean", "deviation"), self.numbers[domain.name][f.name], strict=True))
                if f.table is None
                else {"cuts": self.numbers[domain.name][f.name]}
                for f in domain.features
                if f.kind == "number"
            }
            for domain in self.schema.domains
        }
        grown = {"day": self.day, "growth": self.growth} if self.day else {}
        text = json.dumps({"format": _FORMAT, "numbers": numbers, **grown}, indent=2)
        (folder / "encoder.json").write_text(text + "\n", encoding="utf-8")

    def write_vocabulary(self, table: str, path: str | pathlib.Path) -> None:
        """Writes the ids of a table, one a line."""
        self.lookups[table].write(path)

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> Encoder:
        """Reads what `save` wrote."""
        folder = home(folder)
        if not (folder / "encoder.json").exists():
            raise DataError(
                f"{folder} holds no encoder: encoder.json is missing. Give the folder `Encoder.save` wrote."
            )
        mend = "Bring back what `Encoder.save` wrote."
        with reading(folder / "schema.yaml", mend, whole=True):
            encoder = cls(Schema.load(folder / "schema.yaml"))
        config = read_json(folder / "encoder.json", mend, ("format", "numbers"))
        if config.get("format") != _FORMAT:
            raise DataError(
                f"{folder}/encoder.json has format {config.get('format')}; this version reads {_FORMAT}."
            )
        vocabularies = {}
        for table in encoder.schema.tables:
            if encoder.schema.has_vocabulary(table.name):
                path = folder / "vocab" / f"{table.name}.txt"
                try:
                    found = Vocabulary.read(path, as_numbers(encoder.schema, table.name))
                except ValueError as error:
                    raise DataError(f"{path} is damaged: {error}.") from None
                vocabularies[table.name] = found
                if len(found) + FIRST_KNOWN != table.rows:
                    raise DataError(
                        f"{path} holds {len(found)} ids, but schema.yaml says {table.rows} "
                        f"rows (ids + {FIRST_KNOWN}). The files do not belong together: save the encoder again."
                    )
        encoder.set_vocabularies(vocabularies)
        encoder.day, encoder.growth = config.get("day", 0), config.get("growth", {})
        with reading(folder / "ledger", mend):
            encoder.ledgers = {
                name: Ledger.load(folder / "ledger", name, len(found), as_numbers(encoder.schema, name))
                for name, found in vocabularies.items()
            }
        encoder.numbers = {
            domain: {
                name: tuple(entry["cuts"]) if "cuts" in entry else (entry["mean"], entry["deviation"])
                for name, entry in found.items()
            }
            for domain, found in config["numbers"].items()
        }
        return encoder


def _chunks(rows: Any) -> Iterator[Any]:
    if isinstance(rows, (pd.DataFrame, Mapping)):
        yield rows
    else:
        yield from rows


def _number(values: np.ndarray, feature: Feature) -> np.ndarray:
    """float64 with NaN for missing; standardising in float64 keeps what a large integer has below 2**24."""
    numbers = np.asarray(values, np.float64)
    return np.where(values == -1, np.nan, numbers) if feature.dtype == "int64" else numbers


def _hash(keys: np.ndarray, buckets: int) -> np.ndarray:
    """The graph's own hash, run once per distinct id."""
    import tensorflow as tf

    codes, distinct = factorize(keys)
    if not len(distinct):
        return np.zeros(len(keys), np.int32)
    hashed = tf.strings.to_hash_bucket_fast(tf.constant(distinct.astype(object)), buckets).numpy()
    return (hashed[codes] + FIRST_KNOWN).astype(np.int32)
