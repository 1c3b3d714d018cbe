"""What rows add up to, in any order and any division: exact sums, moments, occurrences of ids.

Sums of floating-point numbers depend on their order in the last bits. Here nothing is rounded before the end, so that
rows in one array, in chunks, or on several machines give the same numbers to the bit.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.raw import factorize
from cdrzoo.schema import Table

_BITS = 1126  # a unit is 2**-1126: whatever float64 holds is a whole number of units
_SPLIT = 2.0**27 + 1  # Dekker's: the halves of a float64
_ROWS = 1 << 24  # at once: sums of 27 bits stay exact in float64
_TOKENS = 1 << 16  # that lie apart before they are added up, and as many as lie together already


@dataclasses.dataclass
class ExactSum:
    """A sum of finite float64 without rounding.

    Args:
        units: the sum as a whole number of `2**-1126`.
    """

    units: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> ExactSum:
        """The sum of `values`, [n]."""
        total = 0
        for low in range(0, len(values), _ROWS):
            mantissas, exponents = np.frexp(np.asarray(values[low : low + _ROWS], np.float64))
            whole = np.ldexp(mantissas, 53).astype(np.int64)
            least = int(exponents.min())
            for half, shift in ((whole >> 26, 26), (whole & (2**26 - 1), 0)):
                sums = np.bincount(exponents - least, half)
                for at in np.flatnonzero(sums).tolist():
                    total += int(sums[at]) << (shift + at + least + _BITS - 53)
        return cls(total)

    def __add__(self, other: ExactSum) -> ExactSum:
        return ExactSum(self.units + other.units)

    def exactly(self) -> Fraction:
        """The sum as it is."""
        return Fraction(self.units, 1 << _BITS)

    def __float__(self) -> float:
        return self.units / (1 << _BITS)


@dataclasses.dataclass
class Moments:
    """Mean and deviation of numbers; NaN are left out."""

    count: int = 0
    total: ExactSum = dataclasses.field(default_factory=ExactSum)
    squares: ExactSum = dataclasses.field(default_factory=ExactSum)

    def add(self, values: np.ndarray) -> None:
        """Adds float64 [n] of less than 1e150."""
        values = values[~np.isnan(values)]
        # A square and what its rounding lost (Dekker, 1971): together they are exact.
        high = _SPLIT * values
        high = high - (high - values)
        low, squares = values - high, values * values
        lost = ((high * high - squares) + 2 * high * low) + low * low
        self.merge(Moments(len(values), ExactSum.of(values), ExactSum.of(squares) + ExactSum.of(lost)))

    def merge(self, other: Moments) -> None:
        """Adds what another has seen."""
        self.count += other.count
        self.total, self.squares = self.total + other.total, self.squares + other.squares

    def result(self) -> tuple[float, float]:
        """Mean and deviation; 1 for a deviation of (nearly) 0."""
        if not self.count:
            return 0.0, 1.0
        mean = self.total.exactly() / self.count
        deviation = math.sqrt(self.squares.exactly() / self.count - mean**2)
        return float(mean), deviation if deviation > 1e-12 * max(1.0, abs(float(mean))) else 1.0


class Counts:
    """Occurrences of ids; text is held as Arrow holds it."""

    def __init__(self) -> None:
        self.parts: list[tuple[pa.Array, np.ndarray]] = []
        self.together = 0

    def add(self, tokens: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Adds ids [n], each `weights` times (default once)."""
        codes, distinct = factorize(tokens)
        ids = pa.array(distinct, pa.large_string() if distinct.dtype == object else pa.int64())
        self.parts.append((ids, np.bincount(codes, weights, minlength=len(distinct)).astype(np.int64)))
        self._gather()

    def merge(self, other: Counts) -> None:
        """Adds what another has seen."""
        self.parts += other.parts
        self._gather()

    def _gather(self) -> None:
        """Adds pieces up before they take much more room than their sum."""
        if sum(len(tokens) for tokens, _ in self.parts) > 2 * self.together + _TOKENS:
            self.parts = [self._merged()]
            self.together = len(self.parts[0][0])

    def _merged(self) -> tuple[pa.Array, np.ndarray]:
        if len(self.parts) < 2:
            return self.parts[0] if self.parts else (pa.array([], pa.large_string()), np.array([], np.int64))
        kind = self.parts[0][0].type
        coded = pa.concat_arrays([tokens.cast(kind) for tokens, _ in self.parts]).dictionary_encode()
        counts = np.concatenate([counts for _, counts in self.parts])
        distinct = coded.dictionary
        return distinct, np.bincount(coded.indices, counts, minlength=len(distinct)).astype(np.int64)

    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct ids, and how often each was seen."""
        tokens, counts = self._merged()
        text = pa.types.is_large_string(tokens.type)
        return np.asarray(tokens.to_numpy(zero_copy_only=False), object if text else np.int64), counts

    def result(self, min_count: int, numbers: bool = False) -> pa.Array | np.ndarray:
        """Ids that were seen so often, the most frequent first, equals in their own order: text of Arrow, or int64.

        Args:
            min_count: how often at least.
            numbers: whether they are int64, or texts of digits that stand for such.
        """
        tokens, counts = self._merged()
        tokens = tokens.cast(pa.int64()) if numbers else tokens
        often = counts >= min_count
        table = pa.table({"id": tokens.filter(pa.array(often)), "count": counts[often]})
        order = pc.sort_indices(table, [("count", "descending"), ("id", "ascending")])
        found = table["id"].combine_chunks().take(order)
        found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        return found.to_numpy() if numbers else found

    def rare(self, min_count: int, numbers: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Ids that were seen less often, and how often each."""
        tokens, counts = self._merged()
        tokens = tokens.cast(pa.int64()) if numbers else tokens
        seldom = counts < min_count
        ids = tokens.filter(pa.array(seldom)).to_numpy(zero_copy_only=False)
        return np.asarray(ids, np.int64 if pa.types.is_int64(tokens.type) else object), counts[seldom]


@dataclasses.dataclass
class Spread:
    """How numbers lie: what buckets are cut by; NaN are left out.

    Numbers are counted by their first 16 bits, so that whole numbers below 65,536 are exact, others to 2**-15 of their
    size, and what is held stays small. Counts add up in any order and any division.
    """

    counts: Counts = dataclasses.field(default_factory=lambda: Counts())
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Adds float64 [n], each `weights` times (default once)."""
        present = ~np.isnan(values)
        if present.any():
            values = values[present]
            self.counts.add(coarse(values), weights if weights is None else weights[present])
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def merge(self, other: Spread) -> None:
        """Adds what another has seen."""
        self.counts.merge(other.counts)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def cuts(self, table: Table) -> tuple[float, ...]:
        """Where the buckets of a table but the first begin, ascending; 0 where no number was seen."""
        parts = np.arange(1, table.buckets, dtype=np.int64)
        if self.low > self.high:
            return (0.0,) * len(parts)
        if table.by == "width":
            return tuple((self.low + (self.high - self.low) * (parts / table.buckets)).tolist())
        keys, counts = self.counts.merged()
        values = keys.astype(np.int64).view(np.float64)
        order = np.argsort(values, kind="stable")
        upto = np.cumsum(counts[order])
        at = np.searchsorted(upto, parts * upto[-1] // table.buckets, side="right")
        return tuple(values[order][at].tolist())


KEPT = -(1 << 37)
"""The bits of a float64 by which `Spread` counts it: sign, exponent and 15 of the mantissa."""


def coarse(values: np.ndarray) -> np.ndarray:
    """int64 [n], the bits of float64 [n] that are counted; 0 and -0 are one."""
    return np.where(values == 0, 0.0, values).view(np.int64) & KEPT


@dataclasses.dataclass
class Statistics:
    """What the training rows of one domain teach an encoder.

    Args:
        counts: of each feature of ids.
        moments: of each number.
        spreads: of each number that is cut into buckets.
    """

    counts: dict[str, Counts] = dataclasses.field(default_factory=dict)
    moments: dict[str, Moments] = dataclasses.field(default_factory=dict)
    spreads: dict[str, Spread] = dataclasses.field(default_factory=dict)

    def merge(self, other: Statistics) -> None:
        """Adds what another has seen."""
        for feature, counts in other.counts.items():
            self.counts.setdefault(feature, Counts()).merge(counts)
        for feature, moments in other.moments.items():
            self.moments.setdefault(feature, Moments()).merge(moments)
        for feature, spread in other.spreads.items():
            self.spreads.setdefault(feature, Spread()).merge(spread)
