"""Vocabularies: found by hashes, but exactly; a file holds an id a line."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from cdrzoo.data import vocabulary
from cdrzoo.data.statistics import Counts
from cdrzoo.data.vocabulary import Vocabulary

TEXT = ["b", "a\0", "a", "é\u2028", "", "7", "007"]


def objects(values):
    return np.array(values, object)


@pytest.mark.parametrize("buckets", [None, 2**60, 3, 1])
def test_ids_of_one_hash_are_told_apart(monkeypatch, buckets):
    hashes = vocabulary._hashes
    monkeypatch.setattr(vocabulary, "INDEXED", 0 if buckets else 100)
    if buckets:
        monkeypatch.setattr(vocabulary, "_hashes", lambda ids: hashes(ids) % np.uint64(buckets))
    monkeypatch.setattr(vocabulary, "_AT_ONCE", 2)
    found = Vocabulary(objects(TEXT))
    keys = ["a", "nowhere", *TEXT[::-1], "a", "b\0"]
    assert found.find(objects(keys)).tolist() == [2, -1, *range(6, -1, -1), 2, -1]
    assert found.find(objects([])).tolist() == [] and found.array().tolist() == TEXT
    assert Vocabulary(objects([])).find(objects(["a"])).tolist() == [-1]


@pytest.mark.parametrize("indexed", [0, 100])
def test_numbers(monkeypatch, indexed):
    monkeypatch.setattr(vocabulary, "INDEXED", indexed)
    found = Vocabulary(np.array([9, 2**62, -5, 0]))
    assert found.find(np.array([0, 1, -5, 9, 2**62])).tolist() == [3, -1, 2, 0, 1]
    assert found.array().dtype == np.int64 and found.broken() is None


def test_files(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "_AT_ONCE", 3)
    for ids, numbers in ((objects(TEXT), False), (np.array([3, -1, 2**62, 7]), True), (objects([]), False)):
        Vocabulary(ids).write(tmp_path / "ids.txt")
        assert (tmp_path / "ids.txt").read_bytes() == "".join(f"{one}\n" for one in ids).encode()
        assert Vocabulary.read(tmp_path / "ids.txt", numbers).array().tolist() == ids.tolist()
    for damage in (b"a\n\xff\n", b"1\nx\n"):
        (tmp_path / "ids.txt").write_bytes(damage)
        with pytest.raises(ValueError):
            Vocabulary.read(tmp_path / "ids.txt", numbers=damage[:1] == b"1")
    assert (
        Vocabulary(objects(["a", "b\rc"])).broken() == "b\rc" and Vocabulary(objects(["a"])).broken() is None
    )


def test_counts_of_pieces_are_those_of_the_whole(monkeypatch):
    monkeypatch.setattr("cdrzoo.data.statistics._TOKENS", 5)
    random, total, whole = np.random.default_rng(0), Counts(), Counts()
    ids = objects([f"u{n}" for n in random.integers(0, 50, 400)] + ["a\0", "a", "é"])
    for low in range(0, len(ids), 40):
        piece = Counts()
        piece.add(ids[low : low + 40], np.full(len(ids[low : low + 40]), 2))
        total.merge(piece)
    whole.add(ids, np.full(len(ids), 2))
    seen = {one: 2 * ids.tolist().count(one) for one in ids}
    want = sorted((one for one in seen if seen[one] >= 10), key=lambda one: (-seen[one], one))
    for counts in (total, whole):
        assert counts.result(10).to_pylist() == want and isinstance(counts.result(10), pa.Array)
        assert dict(zip(*(column.tolist() for column in counts.merged()), strict=True)) == seen
    digits = Counts()
    digits.add(objects(["10", "9", "9"]))
    assert (
        digits.result(1, numbers=True).tolist() == [9, 10] and Counts().result(1, numbers=True).tolist() == []
    )
