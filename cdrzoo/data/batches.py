"""Batches: encoded rows of every domain as a tf.data.Dataset that Keras trains on.

Rows are never mapped one by one: an epoch is an order of row numbers, and a step gathers its rows at once.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cdrzoo.data.raw import factorize
from cdrzoo.errors import DataError, is_whole, shown

if TYPE_CHECKING:
    import tensorflow as tf

EPOCHS = ("target", "longest")


@dataclasses.dataclass(frozen=True)
class Part:
    """Encoded rows of one domain.

    Args:
        x: feature to array: id int32 [n], ids int32 [n, length], number float32 [n].
        y: float32 [n, 1].
        weight: float32 [n], or `None`.
        user: raw keys [n] (for pairing and for GAUC), or `None`.
    """

    x: dict[str, np.ndarray]
    y: np.ndarray
    weight: np.ndarray | None = None
    user: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


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
    cut and a short one repeated, and none of its rows is preferred.

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
    if epoch not in EPOCHS and not is_whole(epoch, 1):
        raise DataError(
            f"`epoch` must be {', '.join(EPOCHS)} or a number of steps. Received: {shown(epoch)}."
        )
    sizes = _sizes(parts, target, batch_size, paired)
    plan = _Order(parts, target, sizes, shuffle, seed, epoch, paired)
    return _epochs(plan, _gather(parts), initial_epoch)


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


def _epochs(plan: _Order, gather: Any, initial_epoch: int) -> tf.data.Dataset:
    """The batches of an order: each time round those of the next epoch."""
    import tensorflow as tf

    counter = tf.Variable(initial_epoch, dtype=tf.int64, trainable=False, name="epoch")

    def one_epoch(_: Any) -> tf.data.Dataset:
        orders = tf.numpy_function(plan, [counter.read_value()], [tf.int64] * len(plan.sizes))
        rows = {
            name: tf.reshape(order, [plan.steps, size])
            for (name, size), order in zip(plan.sizes.items(), orders, strict=True)
        }
        return tf.data.Dataset.from_tensor_slices(rows).map(
            gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def tick(step: Any, batch: Any) -> Any:
        counter.assign_add(tf.cast(step == plan.steps - 1, tf.int64))
        return batch

    dataset = tf.data.Dataset.range(1).flat_map(one_epoch).prefetch(4)
    # Behind the prefetch, so that what is counted is what was taken.
    dataset = dataset.enumerate().map(tick, num_parallel_calls=None)
    return dataset.apply(tf.data.experimental.assert_cardinality(plan.steps))


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


class _Order:
    """The rows of each step of an epoch. Called with the epoch's number; gives [steps * batch size] for each domain."""

    def __init__(
        self,
        parts: Mapping[str, Part],
        target: str,
        sizes: dict[str, int],
        shuffle: bool,
        seed: int,
        epoch: str | int,
        paired: bool,
    ):
        self.sizes, self.shuffle, self.seed = sizes, shuffle, seed
        self.rows = {name: len(part) for name, part in parts.items()}
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

    def _random(self, name: str, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode()), number]))

    def _permutation(self, name: str, number: int) -> np.ndarray:
        rows = self.rows[name]
        return (
            self._random(name, number).permutation(rows) if self.shuffle else np.arange(rows, dtype=np.int64)
        )

    def _rows(self, name: str, epoch: int) -> np.ndarray:
        if name == self.leader:
            return self._permutation(name, epoch)[: self.steps * self.sizes[name]]
        return self._endless(name, epoch)

    def _endless(self, name: str, epoch: int) -> np.ndarray:
        size, rows = self.steps * self.sizes[name], self.rows[name]
        first, last = epoch * size, (epoch + 1) * size
        rounds = range(first // rows, -(-last // rows))
        order = np.concatenate([self._permutation(name, number) for number in rounds])
        return order[first - rounds[0] * rows :][:size]

    def _paired(self, epoch: int) -> list[np.ndarray]:
        order = self._rows(self.target, epoch)
        target_rows, found = self.eligible[order], []
        for name in self.sizes:
            if name == self.target:
                found.append(target_rows)
                continue
            sources, starts, counts = self.partners[name]
            share = self._random(f"partner {name}", epoch).random(len(order))
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
    keep = np.asarray(users[target] != (-1 if users[target].dtype == np.int64 else ""))
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

    All ids of a domain lie side by side in one matrix and all numbers in another, so a step gathers twice a domain,
    however many features it has, and the bytes of a row lie together.
    """
    import tensorflow as tf

    weighted = any(part.weight is not None for part in parts.values())
    packed = {}
    for name, part in parts.items():
        ids = {
            f: a.reshape(len(part), math.prod(a.shape[1:])) for f, a in part.x.items() if a.dtype == np.int32
        }
        numbers = {f: a.reshape(len(part), 1) for f, a in part.x.items() if a.dtype != np.int32}
        numbers["@y"] = part.y.reshape(-1, 1)
        if weighted:
            numbers["@w"] = (
                np.ones((len(part), 1), np.float32) if part.weight is None else part.weight.reshape(-1, 1)
            )
        with tf.device("CPU:0"):
            packed[name] = (
                tf.constant(np.concatenate(list(ids.values()), 1)) if ids else None,
                tf.constant(np.concatenate(list(numbers.values()), 1)),
                {f: a.shape[1] for f, a in ids.items()},
                list(numbers),
            )

    def gather(rows: dict[str, tf.Tensor]) -> Any:
        x: dict[str, Any] = {}
        y: dict[str, Any] = {}
        w: dict[str, Any] = {}
        for name, part in parts.items():
            ids, numbers, widths, columns = packed[name]
            found = {}
            if ids is not None:
                pieces = tf.split(tf.gather(ids, rows[name]), list(widths.values()), axis=1)
                for (feature, _width), piece in zip(widths.items(), pieces, strict=True):
                    found[feature] = piece if part.x[feature].ndim == 2 else tf.reshape(piece, [-1])
                    if part.x[feature].ndim == 1 and rows[name].shape[0] is not None:
                        found[feature].set_shape([rows[name].shape[0]])
            pieces = tf.unstack(tf.gather(numbers, rows[name]), axis=1)
            found.update(zip(columns, pieces, strict=True))
            y[name] = found.pop("@y")[:, None]
            if weighted:
                w[name] = found.pop("@w")
            x[name] = {feature: found[feature] for feature in part.x}
        return (x, y, w) if weighted else (x, y)

    return gather
