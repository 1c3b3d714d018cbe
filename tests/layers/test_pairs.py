"""When rows of domains are pairs."""

from __future__ import annotations

import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers.pairs import crossed, user_keys
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models.toys import toy_schema

USERS = {"books": "user", "films": "viewer", "music": "user"}


def rows(**domains):
    return {name: {USERS[name]: tf.constant(users)} for name, users in domains.items()}


def test_rows_meet_in_training_alone():
    assert crossed(rows(books=[3, 1], films=[3, 1]), True, USERS)
    assert not crossed(rows(books=[3, 1], films=[3, 1]), False, USERS)
    assert not crossed(rows(books=[3, 1], films=[3, 2, 1]), False, USERS)
    assert not crossed(rows(films=[3, 1]), True, USERS)


def test_rows_that_differ_in_number_are_no_pairs():
    with pytest.raises(InputError, match=r"2 rows of books, 1 rows of films.*paired=True"):
        crossed(rows(books=[3, 1], films=[3]), True, USERS)


@pytest.mark.parametrize("last", ["films", "music"])
def test_rows_of_different_users_are_no_pairs(last):
    x = {**rows(books=[3, 1], films=[3, 1], music=[3, 1]), **rows(**{last: [3, 2]})}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rows of different users.*paired=True"):
        crossed(x, True, USERS)
    traced = tf.function(lambda x: crossed(x, True, USERS))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rows of different users.*paired=True"):
        traced(x)
    assert not crossed(x, False, USERS) and crossed(x, True, {})


def test_the_key_of_a_user_is_compared_where_it_is_one_id_in_all_domains():
    assert user_keys(toy_schema()) == {"books": "user", "films": "user"}

    def schema(table="user", **films):
        def user(name):
            return Feature(name, "id", "user", table="user" if name == "user" else table)

        age = Feature("age", "id", "user", table="age")
        domains = (
            Domain("books", (age, user("user")), user="user"),
            Domain("films", (user("viewer"),), **{"user": "viewer", **films}),
        )
        return Schema(domains, "films", tuple(map(Table, dict.fromkeys(("age", "user", table)))))

    assert user_keys(schema()) == {"books": "user", "films": "viewer"}
    assert user_keys(schema("viewer")) == {}  # two vocabularies
    assert user_keys(schema(user="account")) == {}  # a key that is no feature
