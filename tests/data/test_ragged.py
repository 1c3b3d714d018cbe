"""Ragged rows against Python lists."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.data.ragged import Ragged


def random_rows(seed: int, skipping: bool) -> tuple[Ragged, list[list[int]]]:
    random = np.random.default_rng(seed)
    values = random.integers(0, 5, 40)
    starts = random.integers(0, 40, 25)
    stops = np.minimum(starts + random.integers(0, 9, 25), 40)
    skip = np.where(random.random(25) < 0.7, random.integers(0, 40, 25), -1) if skipping else None
    lists = []
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        lists.append([int(values[at]) for at in range(start, stop) if skip is None or at != skip[i]])
    return Ragged(values, starts, stops, skip), lists


@pytest.mark.parametrize("skipping", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_everything_agrees_with_lists(seed, skipping):
    rows, lists = random_rows(seed, skipping)
    assert [list(row) for row in rows.to_lists()] == lists
    assert list(rows.lengths()) == [len(row) for row in lists]
    for length in (1, 3, 50):
        wanted = [row[-length:] + [-1] * (length - len(row[-length:])) for row in lists]
        assert rows.last(length, -1).tolist() == wanted
        flat, counts = rows.flat(length)
        assert list(flat) == [v for row in lists for v in row[-length:]]
        assert list(counts) == [len(row[-length:]) for row in lists]
        # how often each value is read, summed over its places
        seen = np.bincount(rows.values, rows.occurrences(length), minlength=5)
        assert list(seen) == [sum(row[-length:].count(v) for row in lists) for v in range(5)]
    kept = rows.compress(rows.values != 2)
    assert [list(row) for row in kept.to_lists()] == [[v for v in row if v != 2] for row in lists]
    some = rows.take(np.array([3, 0, 3]))
    assert [list(row) for row in some.to_lists()] == [lists[3], lists[0], lists[3]]
    alone = some.reached()
    assert [list(row) for row in alone.to_lists()] == [lists[3], lists[0], lists[3]]
    assert len(alone.values) <= len(lists[3]) + len(lists[0])


def test_position_minus_one_gives_an_empty_row():
    rows = Ragged.from_lists([[1, 2], None, [3]], np.int64)
    assert [list(row) for row in rows.take(np.array([-1, 2, 1])).to_lists()] == [[], [3], []]


def test_no_rows_and_no_values():
    empty = Ragged.from_lists([], np.int64)
    assert empty.last(4).shape == (0, 4)
    assert Ragged.from_lists([[], []], np.int64).last(2).tolist() == [[0, 0], [0, 0]]
    assert list(empty.occurrences(3)) == []


def test_a_text_that_was_read_coded_is_looked_up_once():
    codes, distinct = np.array([0, 1, 0, 2], np.int32), np.array(["a", "b", "c"], object)
    rows = Ragged.of_codes(codes, distinct, np.array([0, 2]), np.array([2, 4]))
    seen = []
    found = rows.map(lambda values: seen.append(len(values)) or values * 2)
    assert [list(row) for row in found.to_lists()] == [["aa", "bb"], ["aa", "cc"]]
    assert seen == [3] and found.coded is None
    kept = rows.compress(rows.values != "a").take(np.array([1, 0]))
    assert [list(row) for row in kept.to_lists()] == [["c"], ["b"]]
    assert list(kept.coded[1][kept.coded[0]]) == list(kept.values)
