"""Prepared rows as they are read: by row groups, ahead of what takes them, mixed in a pool that is refilled.

Nothing is done a row at a time: a row group is decoded at once, and a batch is drawn from the pool at once.
"""

from __future__ import annotations

import collections
import concurrent.futures
import copy
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cdrzoo.data.batches import Order, Part, Shapes, aligned, epochs, unpack
from cdrzoo.data.preparation.examples import texts
from cdrzoo.data.raw import factorize
from cdrzoo.data.rows.format import LABEL, MEND, PartRows
from cdrzoo.data.vocabulary import Keys, Vocabulary
from cdrzoo.files import home, reading, seekable

if TYPE_CHECKING:
    import tensorflow as tf

POOL_ROWS = 131_072
"""Rows among which a batch is drawn: 16 row groups."""
READERS = 2
"""Row groups of a domain that are decoded at once, each by a thread."""
_TOGETHER = 16
"""Files whose texts are held before they are told apart."""

Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Packed rows: ids int32 `[n, W]`, numbers float32 `[n, M]`, labels `[n, 1]` or, with weights behind, `[n, 2]`.

Further labels stand behind the first.
"""


@dataclasses.dataclass(frozen=True)
class _Group:
    """A row group of a file, and its rows."""

    path: pathlib.Path
    metadata: Any
    number: int
    rows: int


class StoredPart:
    """The rows of one part of a domain in a folder; what `Part` has, read when it is asked for.

    Args:
        folder: that of the prepared rows.
        rows: what `prepared.json` says of the part.
        shapes: of the domain's features.
        weighted: whether the rows have weights.
        keyed: whether they have users.
        ids, numbers: which columns of the files' ids and numbers these features are; `None`: all.
        maps: ids that are known by other numbers: where a feature lies, and a number for each.
        further: the labels behind the first.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        rows: PartRows,
        shapes: Shapes,
        weighted: bool = False,
        keyed: bool = False,
        ids: np.ndarray | None = None,
        numbers: np.ndarray | None = None,
        maps: Sequence[tuple[slice, np.ndarray]] = (),
        further: Sequence[str] = (),
    ):
        self.folder, self.rows, self.shapes = home(folder), rows, shapes
        self.weighted, self.keyed, self.further = weighted, keyed, tuple(further)
        self._ids, self._numbers, self._maps = ids, numbers, maps
        widths = {
            of: sum(width or 1 for is_id, width in shapes.values() if is_id == of) for of in (True, False)
        }
        self.ids, self.numbers = widths[True], widths[False]

    def __len__(self) -> int:
        return self.rows.rows

    @functools.cached_property
    def groups(self) -> list[_Group]:
        """Its row groups, in order."""
        from pyarrow import parquet

        found = []
        for file, rows in self.rows.shards:
            path = self.folder / file
            with reading(path, MEND, whole=True):
                metadata = parquet.read_metadata(seekable(path))
                if metadata.num_rows != rows:
                    raise ValueError(f"it holds {metadata.num_rows} rows, not {rows}")
            for number in range(metadata.num_row_groups):
                found.append(_Group(path, metadata, number, metadata.row_group(number).num_rows))
        return found

    def share(self, index: int, count: int) -> StoredPart:
        """Every `count`th row group, from the one at `index` on."""
        mine = copy.copy(self)
        mine.__dict__["groups"] = self.groups[index::count]
        rows = sum(group.rows for group in mine.groups)
        mine.rows = dataclasses.replace(self.rows, rows=rows)
        return mine

    def read(self, at: int) -> Block:
        """A row group, decoded."""
        from pyarrow import parquet

        group = self.groups[at]
        names = (
            ["ids"] * bool(self.ids)
            + ["numbers"] * bool(self.numbers)
            + ["label", *(LABEL + name for name in self.further)]
            + ["weight"] * self.weighted
        )
        with reading(group.path, MEND, whole=True):
            file = parquet.ParquetFile(seekable(group.path), metadata=group.metadata)
            table = file.read_row_group(group.number, columns=names, use_threads=False)
        ids = self._matrix(table, "ids", self._ids)
        if self._maps:
            ids = ids.copy() if self._ids is None else ids
            for columns, numbered in self._maps:
                ids[:, columns] = numbered[ids[:, columns]]
        numbers = self._matrix(table, "numbers", self._numbers)
        labels = [table[name].to_numpy() for name in names if name not in ("ids", "numbers")]
        return ids, numbers, np.stack(labels, 1).astype(np.float32, copy=False)

    def _matrix(self, table: pa.Table, name: str, picked: np.ndarray | None) -> np.ndarray:
        if name not in table.column_names:
            return np.zeros((len(table), 0), np.int32 if name == "ids" else np.float32)
        column = table[name]
        array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        found = array.flatten().to_numpy().reshape(len(table), -1)
        return found if picked is None else found[:, picked]

    def column(self, name: str) -> np.ndarray:
        """A column of all rows, `[n]`; equal texts share one object."""
        pieces = list(self._columns(name))
        kind = pieces[0].type if pieces else pa.float32()
        whole = pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], kind)
        return (
            texts(whole) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else whole.to_numpy()
        )

    def coded(self, name: str) -> Keys:
        """A column of keys as numbers: beside the distinct ones the texts of no more than some files are held."""
        pieces: list[pa.DictionaryArray] = []
        for piece in self._columns(name):
            if pa.types.is_integer(piece.type):
                codes, distinct = factorize(self.column(name))
                return Keys(codes, Vocabulary(distinct))
            pieces.append(pa.concat_arrays(piece.cast(pa.large_string()).chunks).dictionary_encode())
            if len(pieces) > _TOGETHER:
                pieces = [_united(pieces)]
        if not pieces:
            return Keys(np.zeros(0, np.int64), Vocabulary(np.zeros(0, object)))
        whole = _united(pieces)
        return Keys(whole.indices.to_numpy(), Vocabulary(whole.dictionary))

    def _columns(self, name: str) -> Iterator[pa.ChunkedArray]:
        """A column, file by file."""
        from pyarrow import parquet

        for file, _ in self.rows.shards:
            with reading(self.folder / file, MEND, whole=True):
                found = parquet.read_table(seekable(self.folder / file), columns=[name])[name]
            yield found

    def ids_of(self, feature: str) -> np.ndarray:
        """int32 [n]: the rows of its table that a feature of one id has in all rows."""
        widths = {name: width or 1 for name, (is_id, width) in self.shapes.items() if is_id}
        at = sum(
            width for name, width in itertools.takewhile(lambda item: item[0] != feature, widths.items())
        )
        blocks = _read_ahead(self, _pieces(self, 0, len(self)))
        return np.concatenate([ids[:, at] for ids, _, _ in blocks] or [np.zeros(0, np.int32)])

    def blocks(self) -> Iterator[Part]:
        """Its rows in pieces, in order, with the first label alone and without users."""
        for ids, numbers, labels in _read_ahead(self, _pieces(self, 0, len(self))):
            yield Part.of(self.shapes, ids, numbers, labels[:, 0], labels[:, -1] if self.weighted else None)

    @property
    def y(self) -> np.ndarray:
        """float32 [n, 1]."""
        return self.column("label").astype(np.float32, copy=False).reshape(-1, 1)

    @property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels behind the first, by name: float32 [n], NaN where missing."""
        return {name: self.column(LABEL + name) for name in self.further}

    @property
    def weight(self) -> np.ndarray | None:
        """float32 [n], or `None`."""
        return self.column("weight") if self.weighted else None

    @property
    def user(self) -> np.ndarray | None:
        """Raw keys [n], or `None`."""
        return self.column("user") if self.keyed else None

    def first(self, count: int) -> dict[str, np.ndarray]:
        """The first rows, as `Part.first`."""
        blocks = _read_ahead(self, _pieces(self, 0, min(count, len(self))))
        ids, numbers, labels = next(_in_order(blocks, count, last=True), self._nothing())
        return Part.of(self.shapes, ids, numbers, labels[:, :1]).x

    def _nothing(self) -> Block:
        return (
            np.zeros((0, self.ids), np.int32),
            np.zeros((0, self.numbers), np.float32),
            np.zeros((0, 1), np.float32),
        )

    def load(self, spool: str | pathlib.Path | None = None, place: np.ndarray | None = None) -> Part:
        """All rows, in memory, or in files in the folder `spool` that are mapped.

        Args:
            spool: the folder.
            place: int64 [n], where each row is to be. Default: as in the log.
        """
        if place is None:
            place = np.argsort(np.argsort(self.column("row"), kind="stable"), kind="stable")

        def room(name: str, width: int, dtype: Any) -> np.ndarray:
            if spool is None or not len(self) * width:
                return aligned((len(self), width), dtype)
            return np.memmap(pathlib.Path(spool, name), dtype, "w+", shape=(len(self), width))

        columns = 1 + len(self.further) + self.weighted
        held = room("ids", self.ids, np.int32), room("numbers", self.numbers, np.float32)
        labels, start = np.empty((len(self), columns), np.float32), 0
        for block in _read_ahead(self, _pieces(self, 0, len(self))):
            at = place[start : start + len(block[2])]
            start += len(at)
            for to, values in zip((*held, labels), block, strict=True):
                to[at] = values
        user = self.user
        if user is not None:
            user = user[np.argsort(place, kind="stable")]
        weight = labels[:, -1].copy() if self.weighted else None
        further = {name: labels[:, at].copy() for at, name in enumerate(self.further, 1)}
        return Part.of(self.shapes, *held, labels[:, :1].copy(), weight, user, further)


Piece = tuple[int, int, int]
"""A row group, and which of its rows."""


def _pieces(part: StoredPart, first: int, last: int, order: Any = None) -> Iterator[Piece]:
    """Rows `first` to `last` of an endless sequence of passes through the row groups; `order(pass)` is theirs."""
    for number in range(first // max(len(part), 1), -(-last // max(len(part), 1))):
        at = number * len(part)
        for group in range(len(part.groups)) if order is None else order(number):
            rows = part.groups[group].rows
            low, high = max(first - at, 0), min(last - at, rows)
            if low < high:
                yield int(group), low, high
            at += rows


def _read_ahead(part: StoredPart, pieces: Iterable[Piece], readers: int = READERS) -> Iterator[Block]:
    """The rows of the pieces in their order, decoded by threads before they are asked for."""
    waiting: collections.deque[tuple[Any, int, int]] = collections.deque()

    def next_one() -> Block:
        found, low, high = waiting.popleft()
        ids, numbers, labels = found.result()
        return ids[low:high], numbers[low:high], labels[low:high]

    with concurrent.futures.ThreadPoolExecutor(readers) as threads:
        for group, low, high in pieces:
            waiting.append((threads.submit(part.read, group), low, high))
            if len(waiting) > readers:
                yield next_one()
        while waiting:
            yield next_one()


class _Feed:
    """Blocks one behind the other, to be taken in any number of rows."""

    def __init__(self, blocks: Iterable[Block]):
        self.blocks = iter(blocks)
        self.block: Block | None = None
        self._advance()

    def _advance(self) -> None:
        self.block, self.at = next(self.blocks, None), 0

    def fill(self, to: Sequence[np.ndarray], places: np.ndarray) -> int:
        """Puts the next rows at these places; how many there were."""
        done = 0
        while self.block is not None and done < len(places):
            rows = min(len(places) - done, len(self.block[2]) - self.at)
            for room, values in zip(to, self.block, strict=True):
                room[places[done : done + rows]] = values[self.at : self.at + rows]
            done, self.at = done + rows, self.at + rows
            if self.at == len(self.block[2]):
                self._advance()
        return done


def _room(like: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
    return [aligned((rows, values.shape[1]), values.dtype) for values in like]


def _in_order(blocks: Iterable[Block], size: int, last: bool = False) -> Iterator[Sequence[np.ndarray]]:
    """Batches of rows in order; `last`: also what is left in the end."""
    feed = _Feed(blocks)
    while feed.block is not None:
        room = _room(feed.block, size)
        rows = feed.fill(room, np.arange(size))
        if rows == size or last:
            yield [values[:rows] for values in room]


def _mixed(blocks: Iterable[Block], size: int, random: np.random.Generator, rows: int) -> Iterator[Any]:
    """Batches that are drawn from a pool of so many rows, which is refilled after each."""
    feed = _Feed(blocks)
    if feed.block is None:
        return
    pool = _room(feed.block, max(rows, size))
    held = feed.fill(pool, np.arange(len(pool[0])))
    while held >= size:
        drawn = random.choice(held, size, replace=False, shuffle=False)
        batch = _room(pool, size)
        for room, values in zip(batch, pool, strict=True):
            np.take(values, drawn, axis=0, out=room, mode="clip")
        yield batch
        empty = drawn[feed.fill(pool, drawn) :]
        if len(empty):  # the feed has ended: the last rows go where rows are missing
            held -= len(empty)
            moved = np.setdiff1d(np.arange(held, held + len(empty)), empty)
            for values in pool:
                values[empty[empty < held]] = values[moved]


def stored_batches(
    parts: Mapping[str, StoredPart],
    target: str,
    batch_size: int | Mapping[str, int] = 256,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epoch: str | int = "target",
    initial_epoch: int = 0,
    share: tuple[int, int] = (0, 1),
    pool_rows: int = POOL_ROWS,
) -> tf.data.Dataset:
    """`training_batches` of rows that stay in their files; the arguments are the same.

    Row groups come in another random order each pass, and a batch is drawn from a pool of `pool_rows` a domain. What
    an epoch gives follows from `seed` and its number alone, so `.skip(step)` goes on in the middle of it.

    Args:
        share: `(index, count)`: the part of one of so many workers. Each reads row groups of its own and gives its part
            of every batch, as many steps as the others.
    """
    import tensorflow as tf

    order = Order(parts, target, batch_size, shuffle=shuffle, seed=seed, epoch=epoch)
    groups = {name: len(part.groups) for name, part in parts.items()}  # a damaged file is found now
    weighted = any(part.weighted for part in parts.values())
    if share[1] > 1:
        parts = {name: part.share(*share) for name, part in parts.items()}
        order.divide({name: len(part) for name, part in parts.items()}, share[1])
        groups = {name: len(part.groups) for name, part in parts.items()}

    def of_domain(name: str, number: int) -> Iterator[Any]:
        part, (first, last) = parts[name], order.span(name, number)
        of_pass = functools.partial(order.permutation, name, count=groups[name])
        blocks = _read_ahead(part, _pieces(part, first, last, of_pass))
        if not shuffle:
            return _in_order(blocks, order.sizes[name])
        pool = min(pool_rows, last - first)
        return _mixed(blocks, order.sizes[name], order.random(f"pool {name}", number), pool)

    def steps(number: int) -> Iterator[Any]:
        for batch in zip(*(of_domain(name, int(number)) for name in parts), strict=True):
            yield tuple(
                _weighed(rows, weighted and not part.weighted) for rows, part in zip(batch, parts.values())
            )

    shapes = {name: part.shapes for name, part in parts.items()}
    further = {name: part.further for name, part in parts.items()}
    signature = tuple(_signature(part, order.sizes[name], weighted) for name, part in parts.items())

    def one_epoch(number: tf.Tensor) -> tf.data.Dataset:
        packed = tf.data.Dataset.from_generator(steps, args=(number,), output_signature=signature)
        return packed.map(lambda *found: unpack(shapes, dict(zip(parts, found, strict=True)), further))

    return epochs(one_epoch, order.steps, initial_epoch)


def stored_rows(part: StoredPart, domain: str, batch_size: int = 4096) -> tf.data.Dataset:
    """`evaluation_batches` of rows that stay in their files: all, in order; the last batch may be short."""
    import tensorflow as tf

    def steps() -> Iterator[Any]:
        blocks = _read_ahead(part, _pieces(part, 0, len(part)))
        return (tuple(batch) for batch in _in_order(blocks, batch_size, last=True))

    packed = tf.data.Dataset.from_generator(steps, output_signature=_signature(part, None, part.weighted))
    further = {domain: part.further}
    batches = packed.map(lambda *found: unpack({domain: part.shapes}, {domain: found}, further))
    return batches.apply(tf.data.experimental.assert_cardinality(-(-len(part) // batch_size))).prefetch(2)


def _united(pieces: Sequence[pa.DictionaryArray]) -> pa.DictionaryArray:
    """Pieces behind one another, each distinct text once."""
    chunks = pa.chunked_array(pieces).unify_dictionaries().chunks
    indices = pa.concat_arrays([chunk.indices for chunk in chunks])
    return pa.DictionaryArray.from_arrays(indices, chunks[0].dictionary)


def _weighed(rows: Sequence[np.ndarray], lacking: bool) -> tuple[np.ndarray, ...]:
    """With weights where another domain has some and this one lacks them."""
    ids, numbers, labels = rows
    if lacking:
        labels = np.concatenate([labels, np.ones_like(labels[:, :1])], 1)
    return ids, numbers, labels


def _signature(part: StoredPart, size: int | None, weighted: bool) -> tuple[tf.TensorSpec, ...]:
    import tensorflow as tf

    widths = (
        (part.ids, tf.int32),
        (part.numbers, tf.float32),
        (1 + len(part.further) + weighted, tf.float32),
    )
    return tuple(tf.TensorSpec([size, width], dtype) for width, dtype in widths)
