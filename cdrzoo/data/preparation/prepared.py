"""The front door: a schema and where each domain's rows lie, in; encoded parts and batches, out."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cdrzoo.data.batches import Part, evaluation_batches, training_batches
from cdrzoo.data.encoder import Encoder
from cdrzoo.data.grouping import grouping_column
from cdrzoo.data.preparation.assignment import assign, check_since_rows, only_training, trained_since
from cdrzoo.data.preparation.cells import cells
from cdrzoo.data.preparation.examples import arrow, as_frame, raw_columns
from cdrzoo.data.preparation.logs import Log, add_histories
from cdrzoo.data.preparation.negatives import (
    add_negatives,
    catalogues,
    check_positives,
    record,
    values_of_items,
)
from cdrzoo.data.preparation.reading import read_logs
from cdrzoo.data.preparation.splits import PARTS, Split, part_column, settle
from cdrzoo.data.raw import factorize, missing, occurrences
from cdrzoo.data.vocabulary import Keys, Vocabulary
from cdrzoo.errors import DataError, is_number, is_whole, shown
from cdrzoo.metrics import auc_error
from cdrzoo.schema import Schema
from cdrzoo.schema.overview import Block, as_html
from cdrzoo.schema.reading import AS_TEXT

if TYPE_CHECKING:
    import tensorflow as tf

_TABLE_ROWS = 65_536
_ROW_GROUP = 8_192
"""Rows that a file gives at once: many, so that whoever reads in random order mixes well."""


def prepare(
    schema: Schema,
    sources: Mapping[str, Any],
    *,
    split: str | Mapping[str, Any] = "time",
    include_ties: bool = False,
    history: str = "before",
    seed: int = 0,
    slices: Sequence[str] = (),
    since: Mapping[str, float] | None = None,
    folder: str | pathlib.Path = ".",
    encoder: Encoder | Callable[[Mapping[str, Any]], Encoder] | None = None,
) -> Prepared:
    """Reads every domain's rows, labels and splits them, builds histories and encodes them.

    Args:
        schema: the schema.
        sources: for every domain where its rows are: a path, a DataFrame, or a mapping (it may stand in YAML) with

            - `path`: a file, a list of files, or `data`: a DataFrame. `.csv`, `.parquet`, `.jsonl`, `.tfrecord`
              (all but Parquet also `.gz`); `.tsv` is a CSV file with tabs. A folder or a pattern stands for its files
              that hold rows; folders in it such as `dt=2024-05-01` give a column.
            - `kind`: `interactions` (default; histories are built from the logs) or `examples` (rows hold them).
            - `join`: list of `{path: items.csv, on: item}`: files whose columns are added to the rows by key.
            - `negatives`: `{per_positive: 4, how: uniform | popularity}` for a log that holds only positives.
            - `separator`: what joins the ids of a sequence in a CSV cell; default `|`.
            - `delimiter`: what stands between the cells of a CSV file; default a comma. A `join` may have its own.
            - `weight`: the column of sample weights.
            - `history_min_label`: only rows whose raw label is at least this are listed in histories.

        split: `time`, `days`, `last`, `users`, `random`, `resample`, `given`, or a mapping such as
            `{by: time, fractions: [0.7, 0.1, 0.2]}`; see `splits`.
        include_ties: histories also list what happened at the row's own time (the row itself excepted). Where that, or
            a split that is `given`, would show a training row a held-out event, histories list training events alone.
        history: `before` (strictly before the row's time), or `others`, for logs without time: every other
            *training* event of the user.
        seed: of negatives and random splits.
        slices: columns of the target by whose values metrics are to be given too, be they features or not.
        since: `{domain: time}`: training rows up to that time are left out, because a model has been trained on them;
            histories list them all the same. A warm start fills it in. Default: none.
        folder: what relative paths are relative to.
        encoder: one that was adapted before (of a trained model), or what makes one of the training rows of every
            domain; default: a new one, adapted on them.

    Raises:
        DataError: on whatever is wrong with the data, before anything is trained.
    """
    check_arguments(schema, split, include_ties, history, seed, slices, since)
    rows = read_logs(schema, sources, folder, part_column(*settle(split, seed)), slices)
    name, arguments, codes = assign(schema, rows, split, seed)
    arguments |= record({domain: log.source for domain, log in rows.items()}, seed)
    _add_negatives(rows, codes, seed)
    only = only_training(arguments["by"], rows, codes, include_ties)
    add_histories(schema, rows, codes, include_ties, history, only)
    made = _split(schema, name, arguments, rows, codes, since)
    prepared = Prepared(_encoder(encoder or Encoder(schema).adapt, rows, made), made, rows, tuple(slices))
    prepared.only_training = only
    return prepared


def _split(
    schema: Schema,
    name: str,
    arguments: dict[str, Any],
    rows: Mapping[str, Log],
    codes: Mapping[str, np.ndarray],
    since: Mapping[str, float] | None,
) -> Split:
    """The split of the rows, without those that a model has been trained on."""
    if since:
        codes, arguments = trained_since(rows, codes, since), arguments | {"since": dict(since)}
        trained = int((codes[schema.target] == 0).sum())
        check_since_rows(schema, since, trained, rows[schema.target].times())
    made = Split.of(name, arguments, rows, codes)
    for domain, log in rows.items():
        made.check_weights(domain, schema.target, log.source, log.where)
    return made


def _encoder(
    given: Encoder | Callable[[Mapping[str, Any]], Encoder], logs: Mapping[str, Log], split: Split
) -> Encoder:
    """The encoder, or what makes it of the training rows."""
    if isinstance(given, Encoder):
        return given
    return given({domain: log.take(split.parts[domain]["train"]) for domain, log in logs.items()})


def check_arguments(
    schema: Schema,
    split: Any,
    include_ties: Any,
    history: Any,
    seed: Any,
    slices: Sequence[str],
    since: Any = None,
) -> None:
    """Mistakes that are found before the rows are read."""
    settle(split, seed)
    check_since(schema, since)
    for name, value, fine, wanted in (
        ("include_ties", include_ties, isinstance(include_ties, bool), "true or false"),
        ("history", history, history in ("before", "others"), "before or others"),
        ("seed", seed, is_whole(seed), "a whole number of at least 0"),
    ):
        if not fine:
            raise DataError(f"`{name}` must be {wanted}. Received: {shown(value)}.")
    for column in slices:
        if any(f.column == column and f.kind not in ("id", "number") for f in schema.target_domain.inputs()):
            raise DataError(f"`slices` are by columns of one value. Received: {shown(column)}, a sequence.")


def check_since(schema: Schema, since: Any) -> None:
    """Raises unless `since` gives times by domain."""
    if since is not None and (not isinstance(since, Mapping) or not all(map(is_number, since.values()))):
        raise DataError(
            f"`since` must be a mapping from domain to a time, a number. Received: {shown(since)}. Example: since: "
            f"{{{schema.target}: 1714521600}}."
        )
    for domain in since or ():
        schema.domain(domain)


def _add_negatives(logs: dict[str, Log], codes: dict[str, np.ndarray], seed: int) -> None:
    """Puts each log with its drawn negatives in its place, and their parts."""
    for domain, log in logs.items():
        if log.source.negatives is not None:
            check_positives(log)
            alike = [name for name, values in values_of_items(log).items() if values is not None]
            logs[domain] = add_negatives(log, codes[domain], seed, catalogues(log, codes[domain]), alike)
            codes[domain] = codes[domain][logs[domain].event]  # a negative goes where its positive goes


class Prepared:
    """Encoded rows of every domain by part, and what made them.

    Attributes:
        schema: the schema with the rows of the tables filled in (give this one to the model).
        encoder: the `Encoder`, adapted on training rows.
        split: the `Split`: `.name`, `.hash`, `.describe()`, `.parts[domain][part]`.
        parts: `parts[domain]["train" | "valid" | "test"]`: a `Part` with `x`, `y`, `weight`, `user`.
        slices: columns of the target by whose values metrics are given, too.
        logs: the raw rows of every domain, drawn negatives behind the events.
        only_training: whether histories list training events alone.
    """

    only_training = False
    held = True  # in memory

    def __init__(self, encoder: Encoder, split: Split, logs: Mapping[str, Log], slices: tuple[str, ...] = ()):
        encoder.schema = split.with_means(encoder.schema)
        self.schema, self.encoder, self.split, self.slices = encoder.schema, encoder, split, slices
        self._views: dict[tuple[str, ...], Prepared] = {}
        self.logs = {domain.name: logs[domain.name] for domain in self.schema.domains}
        self.parts = {
            domain: {part: self.encoded(domain, part, rows) for part, rows in split.parts[domain].items()}
            for domain in self.logs
        }

    def __repr__(self) -> str:
        return f"<Prepared rows of {self._lengths(self.parts)}; split {self.split.name}>"

    def _lengths(self, parts: Mapping[str, Mapping[str, Any]]) -> str:
        return "; ".join(
            f"{domain}{' (target)' if domain == self.schema.target else ''}: "
            + ", ".join(f"{part} {len(rows):,}" for part, rows in found.items() if len(rows))
            for domain, found in parts.items()
        )

    def _repr_html_(self) -> str:
        return as_html(self.overview())

    def overview(self) -> list[Block]:
        """Rows, labels and ids of every part, the standard error of an AUC there, and the rows of the tables."""
        heading, cells = ["domain", "part", "rows", "labels", "AUC error", "users", "items"], []
        for domain in self.schema.domains:
            for part in PARTS:
                rows, labels, *ids = self._counted(domain.name, part)
                if not rows:
                    continue
                said, error = f"mean {labels / rows:.4g}", "-"
                if domain.task == "click":
                    said = f"{int(labels):,} clicks ({labels / rows:.1%})"
                    if part != "train":
                        error = f"{auc_error(int(labels), rows - int(labels)):.3f}"
                keys = ("-" if count is None else f"{count:,}" for count in ids)
                cells.append([domain.name, part, f"{rows:,}", said, error, *keys])
        tables = [[table.name, str(table.width), f"{table.rows:,}"] for table in self.schema.tables]
        return [Block(self._title(), heading, cells), Block("tables", ["table", "width", "rows"], tables)]

    def _title(self) -> str:
        return f"split {self.split.name}"

    def _counted(self, domain: str, part: str) -> tuple[int, float, int | None, int | None]:
        """Rows of a part, the sum of their labels, users and items; `None` where the domain has no such key."""
        log, rows, y = self.logs[domain], self.split.parts[domain][part], self.parts[domain][part].y
        users, items = (
            None if found is None else int((~missing(factorize(found[rows])[1])).sum())
            for found in (log.user, log.item)
        )
        return len(y), float(y.sum(dtype=np.float64)), users, items

    def only(self, *domains: str) -> Prepared:
        """The same rows of these domains alone, encoded by what their own training rows show.

        A model of the target alone must not know ids that only a source has seen: it would have no row for them that
        training reaches.
        """
        if domains not in self._views:
            rows = {domain: self.logs[domain].take(self.split.parts[domain]["train"]) for domain in domains}
            encoder = Encoder(self.schema.only(*domains)).adapt(rows)
            self._views[domains] = Prepared(encoder, self.split, self.logs, self.slices)
            self._views[domains].only_training = self.only_training
        return self._views[domains]

    def encoded(self, domain: str, part: str, rows: np.ndarray) -> Part:
        """Rows of a domain, by their places in its log, encoded as a part is."""
        log = self.logs[domain]
        return Part(
            x=self.encoder.encode(domain, log.take(rows), serving=part != "train"),
            y=log.y[rows].reshape(-1, 1),
            weight=None if log.weight is None else log.weight[rows].astype(np.float32),
            user=None if log.user is None else log.user[rows],
            labels={name: values[rows] for name, values in log.labels.items()},
        )

    def train(
        self,
        batch_size: int | Mapping[str, int] = 256,
        *,
        domains: tuple[str, ...] | None = None,
        seed: int = 0,
        epoch: str | int = "target",
        paired: bool = False,
        initial_epoch: int = 0,
        shuffle: bool = True,
        group: Mapping[str, str] | None = None,
    ) -> tf.data.Dataset:
        """Training batches of all domains, or of `domains`.

        `group`: `{domain: column}` by which a domain's rows come together, such as its user, its time or a category.
        The other arguments are those of `training_batches`.
        """
        for domain in (*(domains or ()), *(group or ())):
            self.schema.domain(domain)
        parts = {d: parts["train"] for d, parts in self.parts.items() if domains is None or d in domains}
        for domain in set(parts) & set(group or ()):
            parts[domain] = parts[domain].grouped_by(self._keys(domain, group[domain]))
        return training_batches(
            parts,
            self.schema.target if domains is None or self.schema.target in domains else domains[0],
            batch_size,
            seed=seed,
            epoch=epoch,
            paired=paired,
            initial_epoch=initial_epoch,
            shuffle=shuffle,
        )

    def _keys(self, domain: str, column: str) -> np.ndarray:
        """The values of a column at a domain's training rows."""
        log = self.logs[domain]
        known = {
            f.column: log.columns[f.column] for f in log.domain.inputs() if f.kind in ("id", "number")
        } | log.extra
        known |= {log.domain.time: None if log.time is None else log.time.astype(np.float64)}
        known |= {log.domain.user: log.user, log.domain.item: log.item}
        known = {name: values for name, values in known.items() if values is not None}
        return known[grouping_column(log.domain, column, known)][self.split.parts[domain]["train"]]

    def valid(self, batch_size: int = 4096) -> tf.data.Dataset:
        """The target's validation rows, in order, none dropped."""
        return evaluation_batches(self.parts[self.schema.target]["valid"], self.schema.target, batch_size)

    def test(self, batch_size: int = 4096) -> tf.data.Dataset:
        """The target's test rows, in order, none dropped."""
        return evaluation_batches(self.parts[self.schema.target]["test"], self.schema.target, batch_size)

    def frame(self, domain: str, part: str, rows: int | None = None) -> pd.DataFrame:
        """Raw rows of a part (its first `rows`), as a file of examples would hold them.

        Every feature by its column (sequences as lists, cut to their length), then the raw label, time and keys.
        """
        return as_frame(self._raw(domain, self.split.parts[domain][part][:rows]))

    def examples(self, rows: int) -> pd.DataFrame:
        """The target's first test rows, as `frame` gives them, and `@text COLUMN`: cells as they stand in its files."""
        target = self.schema.target_domain
        text = cells(self.logs[target.name], target.inputs(), self.split.parts[target.name]["test"][:rows])
        frame = self.frame(target.name, "test", rows)
        return frame.assign(**{AS_TEXT + column: values for column, values in text.items()})

    def _raw(self, domain: str, at: np.ndarray) -> dict[str, tuple[Any, int | None]]:
        return raw_columns(self.schema.domain(domain), self.logs[domain], at)

    def keys(self, domain: str, part: str) -> pd.DataFrame:
        """Raw keys of the rows of a part: `user` and `item`, as far as the domain has them."""
        log, rows = self.logs[domain], self.split.parts[domain][part]
        keys = {"user": log.user, "item": log.item}
        found = {name: values[rows] for name, values in keys.items() if values is not None}
        return pd.DataFrame(found, index=range(len(rows)))

    def key(self, domain: str, part: str, name: str) -> Keys:
        """The keys of the rows of a part, of `user` or `item`, as numbers."""
        codes, distinct = factorize(self.keys(domain, part)[name].to_numpy())
        return Keys(codes, Vocabulary(distinct))

    def groups(self, part: str) -> pd.DataFrame:
        """For each of the target's rows: `user`, and how many training rows they have in the target and in the sources.

        Where the rows have items `item_rows`, too: the target's training rows of the item. Drawn negatives are not
        counted; a missing user or item has no rows.
        """
        target = self.schema.target
        users = self.parts[target][part].user
        if users is None:
            raise DataError(
                f"Groups are by user, but domain {target!r} has none. Set `user: COLUMN` in the schema."
            )
        counts = {domain: self._count(domain, log.user, users) for domain, log in self.logs.items()}
        sources = sum((n for domain, n in counts.items() if domain != target), np.zeros(len(users), np.int64))
        found = {"user": users, "target_rows": counts[target], "source_rows": sources}
        items = self.logs[target].item
        if items is not None:
            found["item_rows"] = self._count(target, items, items[self.split.parts[target][part]])
        return pd.DataFrame(found)

    def values(self, column: str, part: str) -> np.ndarray:
        """The target's values of a column of `slices`, or of a feature of one value, in a part; ids are text."""
        return self.logs[self.schema.target].values(column)[self.split.parts[self.schema.target][part]]

    def _count(self, domain: str, keys: np.ndarray | None, of: np.ndarray) -> np.ndarray:
        """int64 [n]: in how many training events of a domain each of these keys stands."""
        if keys is None:
            return np.zeros(len(of), np.int64)
        trained = self.logs[domain].happened(self.split.parts[domain]["train"])
        return occurrences(keys[trained], of)

    def tables(self, domain: str, part: str) -> Iterator[pa.Table]:
        """Raw rows of a part as `frame` gives them, as Arrow tables of some ten thousand rows, in order."""
        rows = self.split.parts[domain][part]
        for low in range(0, len(rows), _TABLE_ROWS):
            yield arrow(self._raw(domain, rows[low : low + _TABLE_ROWS]))

    def write(self, folder: str | pathlib.Path) -> None:
        """Writes every part to `DOMAIN/PART.parquet` as examples, drawn negatives included, and `split.json`.

        Raises:
            DataError: one of these files is there already.
        """
        from pyarrow import parquet

        folder = pathlib.Path(folder)
        names = [f"{domain}/{part}.parquet" for domain in self.split.parts for part in PARTS]
        for path in (folder / name for name in [*names, "split.json"]):
            if path.exists():
                raise DataError(f"{path} exists. Choose a new folder; nothing is overwritten.")
        for domain in self.split.parts:
            (folder / domain).mkdir(parents=True, exist_ok=True)
            for part in PARTS:
                with contextlib.ExitStack() as stack:
                    writer = None
                    for table in self.tables(domain, part):
                        if writer is None:
                            writer = stack.enter_context(
                                parquet.ParquetWriter(str(folder / domain / f"{part}.parquet"), table.schema)
                            )
                        writer.write_table(table, row_group_size=_ROW_GROUP)
        (folder / "split.json").write_text(
            json.dumps(self.split.to_dict(), indent=2) + "\n", encoding="utf-8"
        )
