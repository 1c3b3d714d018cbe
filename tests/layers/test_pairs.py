"""When rows of domains are pairs."""

from __future__ import annotations

import pytest
import tensorflow as tf

from cdrzoo.errors import InputError
from cdrzoo.layers import crossed


def rows(**domains):
    return {name: {"user": tf.zeros(n, tf.int32)} for name, n in domains.items()}


def test_rows_meet_in_training_alone():
    assert crossed(rows(books=3, films=3), training=True)
    assert not crossed(rows(books=3, films=3), training=False)
    assert not crossed(rows(books=3, films=2), training=False)
    assert not crossed(rows(films=3), training=True)


def test_rows_that_differ_in_number_are_no_pairs():
    with pytest.raises(InputError, match=r"3 rows of books, 2 rows of films.*paired=True"):
        crossed(rows(books=3, films=2), training=True)
