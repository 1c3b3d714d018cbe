"""Prepared rows in a folder in the place of rows that were prepared here: held in memory where they fit, else read."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cdrzoo.data.batches import Part, evaluation_batches, shapes_of, training_batches
from cdrzoo.data.encoder import Encoder
from cdrzoo.data.grouping import grouping_column
from cdrzoo.data.preparation.prepared import Prepared
from cdrzoo.data.preparation.splits import PARTS, Split
from cdrzoo.data.raw import factorize
from cdrzoo.data.rows.format import SLICE, Rows, ids_of_target, layout
from cdrzoo.data.rows.reading import StoredPart, stored_batches, stored_rows
from cdrzoo.data.vocabulary import Keys
from cdrzoo.errors import DataError
from cdrzoo.files import home, seekable

if TYPE_CHECKING:
    import tensorflow as tf

HELD_BYTES = 2**31
"""Encoded rows up to this size are held in memory; the same on every machine, so that the order of rows is, too."""


def load_rows(
    folder: str | pathlib.Path, held: bool | None = None, slices: Sequence[str] | None = None
) -> StoredRows:
    """The prepared rows in a folder, for training and evaluation.

    Rows that are held in memory lie there in the order of the log, so a training on them is, to the bit, the training
    on what `prepare` gives. Others are read from the folder as they are needed, in several threads, and drawn at random
    from a pool of 131,072 rows a domain; they need no more memory however many they are.

    ```python
    rows = cdrzoo.data.load_rows("rows")
    model = cdrzoo.models.DNN(rows.schema)
    model.compile(optimizer="adam")
    model.fit(rows.train(2048))
    ```

    Args:
        folder: what `cdrzoo prepare` wrote.
        held: whether the rows are held in memory. Default: if all of them take no more than 2 GiB.
        slices: columns by whose values metrics are given, too. Default: those that the rows were prepared with.

    Raises:
        InputError: the folder holds no prepared rows, damaged ones, or ones without one of the `slices`.
    """
    there, record = home(folder), Rows.load(folder)
    if not (there / "encoder").is_dir():
        raise DataError(
            f"{folder} says no more than what rows were made of, as an unpacked run does. Copy what `cdrzoo prepare` "
            "wrote to that place."
        )
    found = StoredRows(there, record, held)
    for column in slices or ():
        found.check_slice(column)
    found.slices = found.slices if slices is None else tuple(slices)
    return found


class StoredRows(Prepared):
    """What `Prepared` is, of rows in a folder; raw rows are there as far as the folder keeps them.

    Attributes:
        held: whether the rows are held in memory.
        size: bytes that all encoded rows take there.
        warnings: what is doubtful about the data.

    The others are those of `Prepared`; there are no `logs`, and `split.parts` is empty.
    """

    def __init__(
        self, folder: pathlib.Path, rows: Rows, held: bool | None = None, target_alone: bool = False
    ):
        every = self._every = Encoder.load(folder / "encoder")
        self.encoder = Encoder.load(folder / "encoder_target") if target_alone else every
        self.schema, self.slices, self.warnings = self.encoder.schema, rows.slices, rows.warnings
        self.folder, self._rows, self._held, self._target_alone = folder, rows, held, target_alone
        record = rows.split
        self.split = Split(record["name"], record["arguments"], {}, record["parts"], record["hash"], {})
        maps = ids_of_target(every, self.encoder, every.schema) if target_alone else {}
        of = {domain.name: rows.domains[domain.name] for domain in self.schema.domains}
        self.size = sum(
            4 * (found.width + 1 + found.weighted) * part.rows
            for found in of.values()
            for part in found.parts.values()
        )
        self.held = self.size <= HELD_BYTES if held is None else held
        self.stored = {name: {part: self._stored(name, part, maps) for part in PARTS} for name in of}

    def __repr__(self) -> str:
        return f"<Prepared rows in {self.folder} of {self._lengths(self.stored)}; split {self.split.name}>"

    def _stored(self, domain: str, part: str, maps: Mapping[str, np.ndarray | None]) -> StoredPart:
        found, of = self._rows.domains[domain], self.schema.domain(domain)
        ids, numbers = layout(of)
        tables, changed, start = {f.name: f.table for f in of.features}, [], 0
        for name, width in ids:
            numbered = maps.get(tables[name])
            if numbered is not None:
                changed.append((slice(start, start + width), numbered))
            start += width
        return StoredPart(
            self.folder,
            found.parts[part],
            shapes_of(of),
            found.weighted,
            bool(of.user),
            _picked(ids, found.ids),
            _picked(numbers, found.numbers),
            changed,
            [label.name for label in of.labels[1:]],
        )

    @functools.cached_property
    def parts(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        """`parts[domain][part]`: a `Part`, or, of rows that are not held, a `StoredPart`."""
        if not self.held:
            return self.stored
        return {
            domain: {part: rows.load() for part, rows in found.items()}
            for domain, found in self.stored.items()
        }

    def only(self, *domains: str) -> StoredRows:
        """The same rows of the target alone, encoded by what its own training rows show."""
        if domains == tuple(domain.name for domain in self.schema.domains):
            return self
        if domains != (self.schema.target,):
            raise DataError(
                f"{self.folder} has the rows of all domains or of the target alone. Received: {', '.join(domains)}."
            )
        return self._alone

    @functools.cached_property
    def _alone(self) -> StoredRows:
        found = StoredRows(self.folder, self._rows, self._held, target_alone=True)
        found.slices = self.slices
        return found

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
        share: tuple[int, int] = (0, 1),
    ) -> tf.data.Dataset:
        """As `Prepared.train`. Of rows that are not held pairs and groups are read from a temporary copy.

        `group`: a column of the user, the item, the time, a feature of one id, or, of the target, of `slices`.

        With several workers each reads rows of its own (`share`, its index and their number), held or not:

        ```python
        def mine(context):
            return rows.train(4096, share=(context.input_pipeline_id, context.num_input_pipelines))

        model.fit(strategy.distribute_datasets_from_function(mine))
        ```
        """
        for domain in (*(domains or ()), *(group or ())):
            self.schema.domain(domain)
        names = [name for name in self.stored if domains is None or name in domains]
        target = self.schema.target if self.schema.target in names else names[0]
        how: dict[str, Any] = {
            "seed": seed,
            "epoch": epoch,
            "initial_epoch": initial_epoch,
            "shuffle": shuffle,
        }
        groups = {name: column for name, column in (group or {}).items() if name in names}
        if share[1] > 1 and (paired or groups):
            raise DataError("Pairs and groups are not shared among workers. Leave `share` out.")
        if share[1] > 1 or not (self.held or paired or groups):
            stored = {name: self.stored[name]["train"] for name in names}
            return stored_batches(stored, target, batch_size, share=share, **how)
        parts = {
            name: self._grouped(name, groups[name])
            if name in groups
            else self.parts[name]["train"]
            if self.held
            else self._mapped(name)
            for name in names
        }
        return training_batches(parts, target, batch_size, paired=paired, **how)

    @functools.cached_property
    def _spool(self) -> tempfile.TemporaryDirectory[str]:
        """Where mapped rows lie; it goes with these rows."""
        return tempfile.TemporaryDirectory(prefix="cdrzoo_rows_")

    @functools.cached_property
    def _made(self) -> dict[tuple[str, ...], Part]:
        """Mapped and grouped rows, by domain and column."""
        return {}

    def _mapped(self, domain: str) -> Part:
        """Training rows in files that are mapped to memory, from which any row can be read."""
        if (domain,) not in self._made:
            self._made[(domain,)] = self.stored[domain]["train"].load(tempfile.mkdtemp(dir=self._spool.name))
        return self._made[(domain,)]

    def _grouped(self, domain: str, column: str) -> Part:
        """Training rows that come together by a column; those that are mapped lie together by it."""
        if (domain, column) not in self._made:
            self._made[domain, column] = self._by_column(domain, column)
        return self._made[domain, column]

    def _by_column(self, domain: str, column: str) -> Part:
        stored, keys = self.stored[domain]["train"], self._keys(domain, column)
        if self.held:
            order = np.argsort(stored.column("row"), kind="stable")
            return self.parts[domain]["train"].grouped_by(keys[order])
        keys = keys if keys.dtype.kind == "f" else factorize(keys)[0]
        order = np.argsort(keys, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return stored.load(tempfile.mkdtemp(dir=self._spool.name), place).grouped_by(keys[order])

    def _keys(self, domain: str, column: str) -> np.ndarray:
        """The values of a column at a domain's training rows, in the order of the folder."""
        of, stored = self.schema.domain(domain), self.stored[domain]["train"]
        ids = {f.column: f.name for f in of.features if f.kind == "id"}
        slices = self._rows.slices if domain == self.schema.target else ()
        columns = {name: SLICE + name for name in slices}
        columns |= {c: name for name in ("user", "item", "time") if (c := getattr(of, name)) is not None}
        column = grouping_column(of, column, {**columns, **ids})
        if column not in columns:
            return stored.ids_of(ids[column])
        found = stored.column(columns[column])
        return found.astype(np.float64) if columns[column] == "time" else found

    def valid(self, batch_size: int = 4096) -> tf.data.Dataset:
        """The target's validation rows, in order, none dropped."""
        return self._evaluated("valid", batch_size)

    def test(self, batch_size: int = 4096) -> tf.data.Dataset:
        """The target's test rows, in order, none dropped."""
        return self._evaluated("test", batch_size)

    def _evaluated(self, part: str, batch_size: int) -> tf.data.Dataset:
        rows, target = self.parts[self.schema.target][part], self.schema.target
        return (evaluation_batches if self.held else stored_rows)(rows, target, batch_size)

    def _title(self) -> str:
        where = "in memory" if self.held else f"read from {self.folder}"
        return f"{super()._title()}; {self.size / 1e9:.2f} GB of encoded rows, {where}"

    def _counted(self, domain: str, part: str) -> tuple[int, float, int | None, int | None]:
        found = self._rows.domains[domain].parts[part]
        return found.rows, found.labels, found.users, found.items

    def frame(self, domain: str, part: str, rows: int | None = None) -> pd.DataFrame:
        """The first raw rows of a part, of which the folder keeps some (1,024).

        Raises:
            DataError: more are wanted.
        """
        kept = pd.read_parquet(seekable(self.folder / "examples" / domain / f"{part}.parquet"))
        wanted = len(self.stored[domain][part]) if rows is None else min(rows, len(self.stored[domain][part]))
        if wanted > len(kept):
            raise DataError(
                f"{self.folder} keeps the first {len(kept)} raw rows of {part} of {domain!r}. Received: {wanted} rows "
                "wanted. Take them from `cdrzoo.data.prepare`, which reads the logs."
            )
        gone = {f.column for f in self._every.schema.domain(domain).features}
        gone -= {f.column for f in self.schema.domain(domain).features}
        of = self.schema.domain(domain)
        return kept[:wanted].drop(
            columns=gone - {of.user, of.item, of.time, *(label.column for label in of.outputs.values())}
        )

    def examples(self, rows: int) -> pd.DataFrame:
        """As `Prepared.examples`, without cells as they stand in files, which the folder does not keep."""
        return self.frame(self.schema.target, "test", rows)

    def keys(self, domain: str, part: str) -> pd.DataFrame:
        """As `Prepared.keys`."""
        has = self.schema.domain(domain)
        names = [name for name in ("user", "item") if getattr(has, name)]
        found = {name: self._column(domain, part, name) for name in names}
        return pd.DataFrame(found, index=range(len(self.stored[domain][part])))

    def key(self, domain: str, part: str, name: str) -> Keys:
        """As `Prepared.key`, without a Python text a row."""
        found = self.stored[domain][part].coded(name)
        return dataclasses.replace(found, codes=found.codes[self._order(domain, part)])

    def groups(self, part: str) -> pd.DataFrame:
        """As `Prepared.groups`."""
        target = self.schema.target_domain
        if not target.user:
            raise DataError(
                f"Groups are by user, but domain {target.name!r} has none. Set `user: COLUMN` in the schema."
            )
        names = ["target_rows", "source_rows", *(["item_rows"] if target.item else [])]
        counts = {name: self._column(target.name, part, name).astype(np.int64) for name in names}
        found = pd.DataFrame({"user": self._column(target.name, part, "user"), **counts})
        return found.assign(source_rows=0) if self._target_alone else found

    def values(self, column: str, part: str) -> np.ndarray:
        """As `Prepared.values`, of the columns that the rows were prepared with."""
        self.check_slice(column)
        return self._column(self.schema.target, part, SLICE + column)

    def check_slice(self, column: str) -> None:
        """Raises unless the rows were prepared with this column of `slices`."""
        if column not in self._rows.slices:
            raise DataError(
                f"{self.folder} was prepared with slices by: {', '.join(self._rows.slices) or 'none'}. Received: "
                f"{column!r}. Prepare the rows with `slices` that name it."
            )

    def _column(self, domain: str, part: str, name: str) -> np.ndarray:
        """A column in the order of the rows as they are given."""
        return self.stored[domain][part].column(name)[self._order(domain, part)]

    def _order(self, domain: str, part: str) -> Any:
        """Which rows of a part's files stand where they are given."""
        if part == "train" and self.held:
            return np.argsort(self.stored[domain][part].column("row"), kind="stable")
        return slice(None)

    def tables(self, domain: str, part: str) -> Any:
        """Not of rows in a folder."""
        raise DataError(f"{self.folder} keeps encoded rows. Raw ones are written from `cdrzoo.data.prepare`.")


def _picked(wanted: Sequence[tuple[str, int]], there: Sequence[tuple[str, int]]) -> np.ndarray | None:
    """Which columns of those that lie side by side are wanted; `None`: all."""
    if tuple(wanted) == tuple(there):
        return None
    stops = np.cumsum([width for _, width in there]).tolist()
    places = {name: range(stop - width, stop) for (name, width), stop in zip(there, stops, strict=True)}
    return np.array([at for name, _ in wanted for at in places[name]], np.intp)
