"""Vocabularies that grow: ids by hand over several days, what is counted of them, and files that give it back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import Encoder
from cdrzoo.data.growth import describe, fresh_rows, grown
from cdrzoo.errors import InputError
from cdrzoo.schema import Domain, Feature, Schema, Table

SCHEMA = Schema(
    domains=(
        Domain(
            "films",
            (
                Feature("user", "id", "user", "int64", "user"),
                Feature("item", "id", "item", table="film"),
                Feature("seen", "ids", "history", table="film", length=2, of="films", field="item"),
                Feature("tag", "id", "item", table="tag"),
                Feature("price", "number", "item"),
            ),
        ),
    ),
    target="films",
    tables=(Table("user"), Table("film", min_count=2), Table("tag", hash_buckets=7)),
)


def rows(users, items, prices=None):
    n = len(users)
    frame = {
        "user": users,
        "item": items,
        "seen": [["a"][:0]] * n,
        "tag": ["t"] * n,
        "price": prices or [1.0] * n,
    }
    return {"films": pd.DataFrame(frame)}


def vocabulary(encoder, table):
    return list(encoder.vocabularies[table])


@pytest.fixture()
def first():
    return Encoder(SCHEMA).adapt(rows([7, 7, 8], ["a", "a", "b"], [1.0, 2.0, 3.0]))


def test_known_ids_keep_their_rows_and_new_ones_come_behind(first):
    assert vocabulary(first, "film") == ["a"]  # b was seen once
    second = grown(first, rows([9, 9, 5], ["c", "c", "c"], [9.0, 9.0, 9.0]))
    assert vocabulary(second, "user") == [7, 8, 9, 5] and vocabulary(second, "film") == ["a", "c"]
    assert vocabulary(first, "user") == [7, 8] and first.day == 0  # it stays as it is
    assert second.numbers == first.numbers  # a part of what the model computes
    assert {t.name: (t.rows, t.first_rows) for t in second.schema.tables} == {
        "user": (6, 4),
        "film": (4, 3),
        "tag": (9, None),
    }
    assert {k: v.tolist() for k, v in fresh_rows(first, second).items()} == {"user": [4, 5], "film": [3]}
    x = rows([7, 8, 9], ["a", "b", "c"])
    for name, values in second.encode("films", x["films"], ["user", "item"]).items():
        old = first.encode("films", x["films"])[name]
        np.testing.assert_array_equal(values[old != 1], old[old != 1], err_msg=name)


def test_an_id_is_admitted_once_its_events_over_days_suffice(first):
    second = grown(first, rows([7], ["b"]))
    assert vocabulary(second, "film") == ["a", "b"]  # once on each day
    assert second.growth["film"] == {
        "known": 1, "seen": 0, "admitted": 1, "taken": 0, "gone": 0, "waiting": 0
    }  # fmt: skip
    other = grown(first, rows([7, 7], ["x", "y"]))
    assert vocabulary(other, "film") == ["a"] and other.growth["film"]["waiting"] == 3
    assert vocabulary(grown(other, rows([7], ["y"])), "film") == ["a", "y"]


def test_an_id_that_is_gone_gives_its_row_to_a_new_one(first):
    second = grown(first, rows([8], ["q"]), forget_after=1)  # 7 was seen on day 0 alone
    third = grown(second, rows([8], ["q"]), forget_after=1)
    assert vocabulary(third, "user") == [7, 8]  # gone, and known until its row is wanted
    assert third.growth["user"]["gone"] == 1
    assert vocabulary(third, "film") == ["q"]  # seen once on each of two days; a is gone
    fourth = grown(third, rows([1, 1, 2], ["q", "q", "q"]), forget_after=1)
    assert vocabulary(fourth, "user") == [1, 8, 2]  # the most frequent takes it, the next comes behind
    assert fourth.growth["user"] == {
        "known": 2, "seen": 0, "admitted": 2, "taken": 1, "gone": 0, "waiting": 0
    }  # fmt: skip
    assert {k: v.tolist() for k, v in fresh_rows(third, fourth).items()} == {"user": [2, 4], "film": []}
    assert "1 of them in rows of ids that are gone" in describe(fourth.growth)


def test_an_id_that_waits_is_forgotten_too(first):
    second = grown(first, rows([7], ["a"]), forget_after=1)
    assert second.growth["film"]["waiting"] == 1  # b, of day 0
    third = grown(second, rows([7], ["a"]), forget_after=1)
    assert third.growth["film"]["waiting"] == 0
    assert vocabulary(grown(third, rows([7], ["b"])), "film") == ["a"]


def test_files_give_all_of_it_back(first, tmp_path):
    one = first
    for day, (users, items) in enumerate([([8, 8], ["c", "d"]), ([8, 3], ["c", "e"]), ([9], ["f"])]):
        one.save(tmp_path / str(day))
        one = grown(one, rows(users, items), forget_after=2)
        two = grown(Encoder.load(tmp_path / str(day)), rows(users, items), forget_after=2)
        assert one.day == two.day == day + 1 and one.growth == two.growth and one.schema == two.schema
        for table in one.vocabularies:
            np.testing.assert_array_equal(one.vocabularies[table], two.vocabularies[table])
            np.testing.assert_array_equal(one.ledgers[table].seen, two.ledgers[table].seen)
    one.save(tmp_path / "last")
    np.save(tmp_path / "last/ledger/user.seen.npy", np.zeros(1, np.int32))
    with pytest.raises(InputError, match="damaged"):
        Encoder.load(tmp_path / "last")
