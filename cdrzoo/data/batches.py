"""Batches: encoded rows of every domain as a tf.data.Dataset that Keras trains on.

Rows are never mapped one by one: an epoch is an order of row numbers, and a step gathers its rows at once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cdrzoo.data.grouping import grouped
from cdrzoo.data.raw import factorize, missing
from cdrzoo.errors import DataError, is_whole, shown
from cdrzoo.schema import Domain

if TYPE_CHECKING:
    import tensorflow as tf

EPOCHS = ("target", "longest")

Shapes = Mapping[str, tuple[bool, int | None]]
"""Of each feature, whether it holds ids, and how many values a row (`Feature.values`); `None`: one, `[n]`."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Encoded rows of one domain.

    They are held once: `packed` lays them side by side, and the arrays of `x` are views of that from then on.

    Args:
        x: feature to array: id int32 [n], ids int32 [n, length], number float32 [n] or [n, values].
        y: float32 [n, 1].
        weight: float32 [n], or `None`.
        user: raw keys [n] (for pairing and for GAUC), or `None`.
        group: keys [n] by which rows come together in training batches (`grouped`), or `None`.
        labels: of several labels those behind the first, by name: float32 [n], NaN where missing.
    """

    x: dict[str, np.ndarray]
    y: np.ndarray
    weight: np.ndarray | None = None
    user: np.ndarray | None = None
    group: np.ndarray | None = None
    labels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def grouped_by(self, keys: np.ndarray) -> Part:
        """The same rows, not a copy, that come together by these keys."""
        found = dataclasses.replace(self, group=keys)
        found.__dict__["packed"] = self.packed
        return found

    @functools.cached_property
    def packed(self) -> tuple[np.ndarray, np.ndarray]:
        """All ids of a row side by side, int32 `[n, W]`, and all its numbers, float32 `[n, M]`, in the order of `x`."""
        ids = [name for name, values in self.x.items() if values.dtype == np.int32]
        return self._pack(ids, np.int32), self._pack([n for n in self.x if n not in ids], np.float32)

    def blocks(self) -> Iterator[Part]:
        """Its rows in pieces: one, for they are held."""
        yield self

    def first(self, count: int) -> dict[str, np.ndarray]:
        """Its first rows, as a model takes them."""
        return {name: values[:count] for name, values in self.x.items()}

    @classmethod
    def of(
        cls,
        shapes: Shapes,
        ids: np.ndarray,
        numbers: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None = None,
        user: np.ndarray | None = None,
        labels: Mapping[str, np.ndarray] | None = None,
    ) -> Part:
        """Rows that are `packed` already."""
        x, starts = {}, {True: 0, False: 0}
        for feature, (is_id, width) in shapes.items():
            start = starts[is_id]
            starts[is_id] += width or 1
            of = ids if is_id else numbers
            x[feature] = of[:, start : start + width] if width else of[:, start]
        part = cls(x, y.reshape(-1, 1), weight, user, labels=dict(labels or {}))
        part.__dict__["packed"] = ids, numbers
        return part

    def _pack(self, names: Sequence[str], dtype: Any) -> np.ndarray:
        widths = [math.prod(self.x[name].shape[1:]) for name in names]
        found = aligned((len(self), sum(widths)), dtype)
        for name, stop, width in zip(names, np.cumsum(widths).tolist(), widths, strict=True):
            view = found[:, stop - width : stop] if self.x[name].ndim == 2 else found[:, stop - 1]
            view[...] = self.x[name]
            self.x[name] = view  # the array that stood there goes: no more than one is held twice
        return found


def shapes_of(domain: Domain) -> Shapes:
    """The features of a domain as they lie in its encoded rows."""
    return {f.name: (f.is_id, f.values) for f in domain.tensors}


def stacked(blocks: list[np.ndarray], width: int, dtype: Any) -> np.ndarray:
    """Blocks `[any, width]` one behind the other, `aligned`; each block goes as it is copied."""
    found, start = aligned((sum(map(len, blocks)), width), dtype), 0
    for at, block in enumerate(blocks):
        found[start : start + len(block)] = block
        start += len(block)
        blocks[at] = block[:0].copy()
    return found


def aligned(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array, uninitialised, at an address from which TensorFlow reads it without a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def training_batches(
    parts: Mapping[str, Part],
    target: str,
    batch_size: int | Mapping[str, int] = 256,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epoch: str | int = "target",
    paired: bool = False,
    initial_epoch: int = 0,
) -> tf.data.Dataset:
    """Training batches `(x, y[, w])`, each a dictionary by domain, with static shapes.

    Iterating over the dataset once is an epoch. The order of epoch `k` follows from `seed` and `k` alone, so a run that
    is resumed with `initial_epoch=k` sees what an uninterrupted one sees. The number goes up when an epoch's last batch
    has been taken; a look at the first batch (Keras takes one of its own) changes nothing, unless it is the only one.

    The domain that sets the length of the epoch is shuffled anew each epoch, and its last incomplete batch is left out.
    The other domains run on from epoch to epoch through their rows, in a new order each time round, so a long source is
    cut and a short one repeated, and none of its rows is preferred. Of a part with `group` each batch is alike inside.

    Args:
        parts: the training rows of every domain that is to be in the batches.
        target: the target's name.
        batch_size: rows a step, for all domains or by domain.
        shuffle: `False` keeps the order of the rows.
        seed: of the order.
        epoch: what ends an epoch: all of the `target`'s rows, all rows of the domain with the most batches (`longest`;
            the others repeat), or a number of steps (all domains run on).
        paired: the i-th rows of all domains have the same user: to each target row a random row of each source. Target
            rows of users whom a source lacks are left out. All domains have the target's batch size.
        initial_epoch: the number of the first epoch.

    Returns:
        A dataset of known cardinality. `w` is there when any domain has weights; domains without get ones.
    """
    order = Order(parts, target, batch_size, shuffle=shuffle, seed=seed, epoch=epoch, paired=paired)
    gather = _gather(parts)

    def one_epoch(number: tf.Tensor) -> tf.data.Dataset:
        import tensorflow as tf

        found = tf.numpy_function(order, [number], [tf.int64] * len(order.sizes))
        rows = {
            name: tf.reshape(of_domain, [order.steps, size])
            for (name, size), of_domain in zip(order.sizes.items(), found, strict=True)
        }
        return tf.data.Dataset.from_tensor_slices(rows).map(
            gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    return epochs(one_epoch, order.steps, initial_epoch)


def evaluation_batches(part: Part, domain: str, batch_size: int = 4096) -> tf.data.Dataset:
    """Every row of one domain in order: `({domain: x}, {domain: y}[, {domain: w}])`; the last batch may be short."""
    import tensorflow as tf

    gather = _gather({domain: part})
    starts = tf.data.Dataset.range(0, len(part), batch_size)
    batches = starts.map(
        lambda start: gather({domain: tf.range(start, tf.minimum(start + batch_size, len(part)))}),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return batches.prefetch(2)


def epochs(
    one_epoch: Callable[[tf.Tensor], tf.data.Dataset], steps: int, initial_epoch: int = 0
) -> tf.data.Dataset:
    """A dataset that is another epoch each time round.

    Args:
        one_epoch: the batches of an epoch by its number, int64 [].
        steps: how many these are.
        initial_epoch: the number of the first.
    """
    import tensorflow as tf

    counter = tf.Variable(initial_epoch, dtype=tf.int64, trainable=False, name="epoch")

    def tick(step: Any, batch: Any) -> Any:
        counter.assign_add(tf.cast(step == steps - 1, tf.int64))
        return batch

    dataset = tf.data.Dataset.range(1).flat_map(lambda _: one_epoch(counter.read_value())).prefetch(4)
    # Behind the prefetch, so that what is counted is what was taken.
    dataset = dataset.enumerate().map(tick, num_parallel_calls=None)
    return dataset.apply(tf.data.experimental.assert_cardinality(steps))


def _sizes(parts: Mapping[str, Part], target: str, batch_size: Any, paired: bool) -> dict[str, int]:
    if target not in parts:
        raise DataError(
            f"Training batches need the target {target!r}. Received the domains: {', '.join(parts)}."
        )
    sizes = dict(batch_size) if isinstance(batch_size, Mapping) else dict.fromkeys(parts, batch_size)
    if paired:
        sizes = dict.fromkeys(parts, sizes.get(target))
    for name in parts:
        size = sizes.get(name)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise DataError(
                f"`batch_size` of domain {name!r} must be a whole number from 1. Received: {shown(size)}."
            )
        if not len(parts[name]):
            raise DataError(
                f"Domain {name!r} has no training rows, so it cannot be trained on. Check the split."
            )
    return {name: sizes[name] for name in parts}


class Order:
    """Which rows of each domain an epoch takes, and in which order: the arguments are those of `training_batches`.

    Each domain has an endless sequence, all of its rows in a random order, then all in another one, and so on, and
    every epoch is a `span` of it. Called with the epoch's number it gives these rows, [steps * batch size] a domain.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        target: str,
        batch_size: int | Mapping[str, int],
        *,
        shuffle: bool = True,
        seed: int = 0,
        epoch: str | int = "target",
        paired: bool = False,
    ):
        if epoch not in EPOCHS and not is_whole(epoch, 1):
            raise DataError(
                f"`epoch` must be {', '.join(EPOCHS)} or a number of steps. Received: {shown(epoch)}."
            )
        sizes = _sizes(parts, target, batch_size, paired)
        self.sizes, self.shuffle, self.seed = sizes, shuffle, seed
        self.rows = {name: len(part) for name, part in parts.items()}
        keys = {name: getattr(part, "group", None) for name, part in parts.items() if shuffle and not paired}
        self.groups = {name: group for name, group in keys.items() if group is not None}
        self.rows |= {
            name: self.rows[name] // sizes[name] * sizes[name] or self.rows[name] for name in self.groups
        }
        self.target, self.partners = target, None
        leader = target
        if paired:
            self.eligible, self.partners = _partners(parts, target)
            self.rows[target] = len(self.eligible)
        elif epoch == "longest":
            leader = max(parts, key=lambda name: self.rows[name] // sizes[name])
        self.steps = self.rows[leader] // sizes[leader]
        if not self.steps:
            raise DataError(
                f"A batch of {leader!r} wants {sizes[leader]} rows, but there are only "
                f"{self.rows[leader]} training rows"
                f"{' whose user stands in every domain' if paired else ''}. Lower `batch_size`."
            )
        self.leader: str | None = leader
        if isinstance(epoch, int):
            self.leader, self.steps = None, epoch

    def __call__(self, epoch: Any) -> list[np.ndarray]:
        epoch = int(epoch)
        if self.partners is not None:
            return self._paired(epoch)
        return [self._rows(name, epoch) for name in self.sizes]

    def divide(self, rows: Mapping[str, int], workers: int) -> None:
        """From now on the order of one of some workers, who has so many rows, in as many steps."""
        for name, size in self.sizes.items():
            if size % workers or not rows[name]:
                raise DataError(
                    f"{workers} workers cannot share a batch of {size} rows of {name!r}, one of whom has {rows[name]}. "
                    "Give a `batch_size` that can be divided, and no more workers than there are row groups."
                )
        self.sizes = {name: size // workers for name, size in self.sizes.items()}
        self.rows = dict(rows)

    def random(self, name: str, number: int) -> np.random.Generator:
        """What draws for a domain in the pass of this number."""
        return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode()), number]))

    def permutation(self, name: str, number: int, count: int) -> np.ndarray:
        """An order of `count` things for a domain's pass of this number."""
        return self.random(name, number).permutation(count) if self.shuffle else np.arange(count)

    def span(self, name: str, epoch: int) -> tuple[int, int]:
        """Where in a domain's endless sequence an epoch begins and ends."""
        size = self.steps * self.sizes[name]
        first = epoch * (self.rows[name] if name == self.leader else size)
        return first, first + size

    def _rows(self, name: str, epoch: int) -> np.ndarray:
        (first, last), rows = self.span(name, epoch), self.rows[name]
        passes = range(first // rows, -(-last // rows))
        order = np.concatenate([self._pass(name, number, rows) for number in passes])
        return order[first - passes[0] * rows :][: last - first]

    def _pass(self, name: str, number: int, rows: int) -> np.ndarray:
        if name in self.groups:
            return grouped(self.random(name, number), self.groups[name], self.sizes[name])
        return self.permutation(name, number, rows)

    def _paired(self, epoch: int) -> list[np.ndarray]:
        order = self._rows(self.target, epoch)
        target_rows, found = self.eligible[order], []
        for name in self.sizes:
            if name == self.target:
                found.append(target_rows)
                continue
            sources, starts, counts = self.partners[name]
            share = self.random(f"partner {name}", epoch).random(len(order))
            found.append(sources[starts[order] + (share * counts[order]).astype(np.int64)])
        return found


def _partners(parts: Mapping[str, Part], target: str) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, ...]]]:
    """Target rows whose user every source has, and for each of them the source rows of the same user."""
    users = {name: part.user for name, part in parts.items()}
    for name, user in users.items():
        if user is None:
            raise DataError(
                f"Paired batches need the user of every row, but {name!r} has none. Set `user` in the schema."
            )
    codes = factorize(np.concatenate(list(users.values())))[0]
    coded = dict(
        zip(users, np.split(codes, np.cumsum([len(user) for user in users.values()])[:-1]), strict=True)
    )
    ranges = {}
    keep = ~missing(users[target])
    for name in parts:
        if name != target:
            order = np.argsort(coded[name], kind="stable")
            ordered = coded[name][order]
            starts = np.searchsorted(ordered, coded[target], side="left")
            counts = np.searchsorted(ordered, coded[target], side="right") - starts
            ranges[name] = (order, starts, counts)
            keep &= counts > 0
    eligible = np.flatnonzero(keep)
    return eligible, {
        name: (order, starts[keep], counts[keep]) for name, (order, starts, counts) in ranges.items()
    }


def _gather(parts: Mapping[str, Part]) -> Any:
    """Row numbers by domain to a batch.

    The bytes of a row lie together, so a step gathers two or three times a domain, however many features it has.
    """
    import tensorflow as tf

    weighted = any(part.weight is not None for part in parts.values())
    held, shapes = {}, {}
    labels = {name: tuple(part.labels) for name, part in parts.items()}
    for name, part in parts.items():
        columns = [part.y.reshape(-1, 1), *(values.reshape(-1, 1) for values in part.labels.values())]
        if weighted:
            columns.append(np.ones_like(columns[0]) if part.weight is None else part.weight.reshape(-1, 1))
        held[name] = [*map(_tensor, part.packed), _tensor(np.concatenate(columns, 1, dtype=np.float32))]
        shapes[name] = {
            f: (values.dtype == np.int32, values.shape[1] if values.ndim == 2 else None)
            for f, values in part.x.items()
        }

    def gather(rows: dict[str, tf.Tensor]) -> Any:
        taken = {name: [tf.gather(each, rows[name]) for each in found] for name, found in held.items()}
        return unpack(shapes, taken, labels)

    return gather


def _tensor(values: np.ndarray) -> tf.Tensor:
    """The same memory as a tensor, if it is `aligned`."""
    import tensorflow as tf

    if values.size and values.ctypes.data % 64 == 0:
        return tf.experimental.dlpack.from_dlpack(values.__dlpack__())
    with tf.device("CPU:0"):
        return tf.constant(values)


def unpack(
    shapes: Mapping[str, Shapes],
    rows: Mapping[str, Sequence[tf.Tensor]],
    further: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """A batch of packed rows: by domain their ids `[B, W]`, numbers `[B, M]`, and labels with or without weights.

    `further`: by domain the labels behind the first, which stand as DOMAIN.LABEL. One that is missing weighs 0.
    """
    import tensorflow as tf

    x, y, w = {}, {}, {}
    several = further is not None and any(further.values())
    for name, (ids, numbers, labels) in rows.items():
        found = {}
        for of, packed in ((True, ids), (False, numbers)):
            widths = {f: width for f, (is_id, width) in shapes[name].items() if is_id == of}
            pieces = tf.split(packed, [width or 1 for width in widths.values()], axis=1) if widths else ()
            for (f, width), piece in zip(widths.items(), pieces, strict=True):
                found[f] = piece if width else tf.squeeze(piece, 1)
        x[name] = {f: found[f] for f in shapes[name]}
        y[name], names = labels[:, :1], further[name] if further is not None else ()
        weighted = labels.shape[1] == 2 + len(names)
        if weighted or several:
            w[name] = labels[:, -1] if weighted else tf.ones_like(labels[:, 0])
        for at, label in enumerate(names, 1):
            known = ~tf.math.is_nan(labels[:, at])
            y[f"{name}.{label}"] = tf.where(known, labels[:, at], 0.0)[:, None]
            w[f"{name}.{label}"] = tf.where(known, w[name], 0.0)
    return (x, y, w) if w else (x, y)
