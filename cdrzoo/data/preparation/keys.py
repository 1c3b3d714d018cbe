"""Keys of rows: hashes of their content that agree on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from cdrzoo.data.raw import factorize


def fingerprints(columns: Sequence[np.ndarray]) -> np.ndarray:
    """uint64 [n]: a hash of each row's content, the same on every machine and with every version of the libraries."""
    total = np.zeros(len(columns[0]), np.uint64)
    for values in columns:
        total = _mix(total ^ _bits(values))
    return total


def drawn(columns: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """uint64 [n]: a random number for each row, or key, that depends on its content and the seed alone."""
    return _mix(fingerprints(columns) ^ _mix(np.array([seed], np.uint64)))


def totals(keys: np.ndarray) -> tuple[int, int]:
    """Two sums over keys, modulo 2**64, that name the keys in any order. Those of several pieces add up."""
    salted = (_mix(keys ^ _mix(np.array([salt], np.uint64))) for salt in (1, 2))
    return tuple(int(np.add.reduce(mixed, dtype=np.uint64)) for mixed in salted)  # type: ignore[return-value]


def counted(seeds: Sequence[int], *counters: np.ndarray) -> np.ndarray:
    """uint64 [n]: random bits for each row of `counters`, int64 [n] each, that depend on it and the seeds alone."""
    state = np.zeros(1, np.uint64)
    for seed in seeds:
        state = _mix(state ^ np.array([seed], np.uint64))
    for counter in counters:
        state = _mix(state ^ counter.astype(np.int64).view(np.uint64))
    return state


def uniform(seeds: Sequence[int], *counters: np.ndarray) -> np.ndarray:
    """float64 [n], at least 0 and below 1, likewise."""
    return (counted(seeds, *counters) >> np.uint64(11)) * 2.0**-53


def _bits(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        codes, distinct = factorize(values)
        digests = [hashlib.blake2b(str(value).encode(), digest_size=8).digest() for value in distinct]
        return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)[codes]
    if values.dtype.kind == "f":
        values = values.astype(np.float64) + 0.0  # no negative zero
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        # 4 and 4.0 are the same label, whichever way a file wrote it
        return np.where(
            whole, np.where(whole, values, 0).astype(np.int64).view(np.uint64), values.view(np.uint64)
        )
    return values.astype(np.int64).view(np.uint64)


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood, 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
