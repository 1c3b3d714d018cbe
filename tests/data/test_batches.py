"""Batches: shapes, orders, pairs, weights, and that a resumed run sees what an uninterrupted one sees."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cdrzoo.data import Part, batches, evaluation_batches, training_batches
from cdrzoo.errors import DataError


def part(rows: int, users: int = 7, weight: bool = False, seed: int = 0) -> Part:
    random = np.random.default_rng(seed)
    number = np.arange(rows)
    return Part(
        x={
            "item": number.astype(np.int32),  # each row its own, so a batch tells its rows
            "seen": np.stack([number, number + 1, 0 * number], 1).astype(np.int32),
            "price": number.astype(np.float32) / 2,
        },
        y=(number % 2).astype(np.float32)[:, None],
        weight=number.astype(np.float32) if weight else None,
        user=random.integers(0, users, rows),
    )


def items(dataset, domain: str) -> list[list[int]]:
    return [batch[0][domain]["item"].numpy().tolist() for batch in dataset]


PARTS = {"books": part(50, seed=1), "films": part(23)}


def test_a_batch_is_whole_and_its_shapes_are_static():
    data = training_batches(PARTS, "films", {"books": 8, "films": 5})
    x, y = data.element_spec
    assert (
        x["books"]["item"].shape == (8,)
        and x["books"]["seen"].shape == (8, 3)
        and x["films"]["price"].shape == (5,)
    )
    assert y["films"].shape == (5, 1)
    assert data.cardinality() == 4 and len(list(data)) == 4  # 23 // 5
    for x, y in data:
        for domain in PARTS:
            item = x[domain]["item"].numpy()
            assert list(x[domain]) == ["item", "seen", "price"]
            np.testing.assert_array_equal(x[domain]["seen"].numpy(), np.stack([item, item + 1, 0 * item], 1))
            np.testing.assert_array_equal(x[domain]["price"].numpy(), item / 2)
            np.testing.assert_array_equal(y[domain].numpy()[:, 0], item % 2)
            assert x[domain]["item"].dtype == np.int32 and y[domain].dtype == np.float32


def test_rows_of_one_group_come_together():
    """Of text and whole numbers the groups are in random order, of floats, such as a time, in order."""
    shop, when = np.array(["c", "a", "b", "d"])[np.arange(50) % 4], np.arange(50)[::-1] / 7
    for group, alike in (
        (
            shop,
            lambda rows: len(set(shop[rows])) <= 2,
        ),  # a group of 12 or 13 fills no whole number of batches
        (when, lambda rows: np.ptp(when[rows]) < 8 / 7),
    ):
        parts = {"books": dataclasses.replace(PARTS["books"], group=group), "films": PARTS["films"]}
        whole = training_batches(
            parts, "films", {"books": 8, "films": 4}
        )  # 5 batches an epoch, of 6 a time round
        epochs = [items(whole, "books") for _ in range(3)]
        assert all(alike(np.array(rows)) for rows in sum(epochs, []))
        assert len({tuple(sum(epoch, [])) for epoch in epochs}) == 3
        assert len(set(sum(sum(epochs, [])[:6], []))) == 48  # no row twice before all came
        resumed = training_batches(parts, "films", {"books": 8, "films": 4}, initial_epoch=2)
        assert items(resumed, "books") == epochs[2]
    few = training_batches(parts, "films", {"books": 60, "films": 4})
    assert sorted(items(few, "books")[0][:50]) == list(range(50))


def test_every_epoch_has_its_own_order_and_covers_the_target_once():
    data = training_batches(PARTS, "films", 5)
    epochs = [sum(items(data, "films"), []) for _ in range(4)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert set().union(*epochs) == set(range(23))  # which rows are left out changes


@pytest.mark.slow
@pytest.mark.parametrize("epoch", ["target", "longest", 7])
@pytest.mark.parametrize("paired", [False, True])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(epoch, paired):
    arguments = {"batch_size": {"books": 4, "films": 5}, "epoch": epoch, "paired": paired, "seed": 9}
    whole = training_batches(PARTS, "films", **arguments)
    epochs = [[items([batch], d) for batch in whole for d in PARTS] for _ in range(4)]
    resumed = training_batches(PARTS, "films", **arguments, initial_epoch=2)
    assert [[items([batch], d) for batch in resumed for d in PARTS] for _ in range(2)] == epochs[2:]
    other = training_batches(PARTS, "films", **{**arguments, "seed": 10})
    assert [items([batch], d) for batch in other for d in PARTS] != epochs[0]


def test_a_look_at_the_first_batch_is_no_epoch():
    data = training_batches(PARTS, "films", 5)
    fresh = training_batches(PARTS, "films", 5)
    first = items(fresh, "films")
    for _ in range(3):
        next(iter(data))
    assert items(data, "films") == first


def test_keras_fit_resumes_with_the_same_batches():
    import keras

    def run(data, epochs, initial_epoch=0):
        seen = []

        class Watch(keras.Model):
            def __init__(self):
                super().__init__()
                self.w = self.add_weight(shape=(), name="w")

            def call(self, x):
                return x["films"]["price"][:, None] * self.w

            def train_step(self, batch):
                import tensorflow as tf

                seen.append(tf.identity(batch[0]["films"]["item"]))
                return {"loss": tf.zeros(())}

        model = Watch()
        model.compile(run_eagerly=True)
        model.fit(data, epochs=epochs, initial_epoch=initial_epoch, verbose=0, shuffle=False)
        return [rows.numpy().tolist() for rows in seen if hasattr(rows, "numpy")]

    whole = run(training_batches(PARTS, "films", 5), 3)
    resumed = run(training_batches(PARTS, "films", 5, initial_epoch=2), 3, initial_epoch=2)
    assert len(whole) == 12 and whole[8:] == resumed


def test_a_long_source_is_cut_and_goes_on_in_the_next_epoch():
    data = training_batches(PARTS, "films", {"books": 5, "films": 5})  # 4 steps: 20 of 50 books an epoch
    taken = [sum(items(data, "books"), []) for _ in range(5)]
    assert sorted(taken[0] + taken[1] + taken[2][:10]) == list(range(50))
    assert sorted(taken[2][10:] + taken[3] + taken[4]) == list(range(50))


def test_a_short_source_is_repeated_evenly():
    parts = {"books": part(6), "films": part(24)}
    taken = sum(items(training_batches(parts, "films", {"books": 4, "films": 4}), "books"), [])
    assert np.bincount(taken).tolist() == [4] * 6


def test_longest_repeats_the_target():
    data = training_batches(PARTS, "films", 5, epoch="longest")
    assert data.cardinality() == 10
    batches = list(data)
    assert len(set(sum(items(batches, "books"), []))) == 50
    assert np.bincount(sum(items(batches, "films"), [])).min() >= 2


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("steps", [2, 9])  # less than a pass over the films, and more than one
def test_an_epoch_of_so_many_steps_runs_on_through_all_rows(steps, paired):
    data = training_batches(PARTS, "films", 5, epoch=steps, paired=paired)
    assert data.cardinality() == steps
    epochs = [sum(items(data, "films"), []) for _ in range(4)]
    assert {len(epoch) for epoch in epochs} == {5 * steps}
    counts = np.unique(sum(epochs, []), return_counts=True)[1]
    assert counts.max() - counts.min() <= 1  # no row is preferred
    assert data.element_spec[0]["films"]["item"].shape == (5,)


def test_unshuffled_keeps_the_order():
    data = training_batches(PARTS, "films", 5, shuffle=False)
    assert sum(items(data, "films"), []) == list(range(20)) == sum(items(data, "films"), [])


def test_paired_rows_share_the_user():
    parts = {"books": part(50, users=5, seed=1), "films": part(40, users=9)}
    data = training_batches(parts, "films", {"films": 6}, paired=True)
    has_books = np.isin(parts["films"].user, parts["books"].user)
    assert data.cardinality() == has_books.sum() // 6
    partners = set()
    for _ in range(3):
        for x, _ in data:
            films, books = x["films"]["item"].numpy(), x["books"]["item"].numpy()
            assert films.shape == books.shape == (6,)
            np.testing.assert_array_equal(parts["films"].user[films], parts["books"].user[books])
            partners |= set(zip(films.tolist(), books.tolist(), strict=True))
    assert len(partners) > has_books.sum() * 1.5  # another partner each epoch


def test_weights_come_along_and_are_one_where_none_are_given():
    parts = {"books": part(50), "films": part(23, weight=True)}
    for x, _, w in training_batches(parts, "films", 5):
        np.testing.assert_array_equal(w["films"].numpy(), x["films"]["item"].numpy())
        np.testing.assert_array_equal(w["books"].numpy(), np.ones(5))
    ((x, y, w),) = evaluation_batches(parts["films"], "films")
    np.testing.assert_array_equal(w["films"].numpy(), np.arange(23))


def test_evaluation_gives_every_row_in_order():
    data = evaluation_batches(PARTS["films"], "films", 10)
    assert [len(batch) for batch in items(data, "films")] == [10, 10, 3]
    assert sum(items(data, "films"), []) == list(range(23))
    assert data.cardinality() == 3
    x, y = data.element_spec
    assert list(x) == ["films"] and x["films"]["seen"].shape == (None, 3) and y["films"].shape == (None, 1)


def test_evaluation_of_no_rows_gives_no_batch():
    assert items(evaluation_batches(part(0), "films", 10), "films") == []


def test_the_target_alone_and_features_of_one_kind():
    only = {"films": Part(x={"price": np.arange(4, dtype=np.float32)}, y=np.ones((4, 1), np.float32))}
    ((x, y),) = training_batches(only, "films", 4)
    assert sorted(x["films"]["price"].numpy()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 24}, "wants 24 rows, but there are only 23 training rows. Lower `batch_size`"),
        (
            {"batch_size": {"films": 5}},
            "`batch_size` of domain 'books' must be a whole number from 1. Received: None",
        ),
        ({"batch_size": 0}, "Received: 0"),
        ({"epoch": "source"}, "target, longest or a number of steps. Received: 'source'"),
        ({"epoch": 0}, "Received: 0"),
        ({"epoch": True}, "Received: True"),
    ],
)
def test_mistakes_are_said(arguments, words):
    with pytest.raises(DataError) as caught:
        training_batches(PARTS, "films", **arguments)
    assert words in str(caught.value)


def test_more_mistakes():
    nobody = {name: Part(each.x, each.y) for name, each in PARTS.items()}
    with pytest.raises(DataError, match="need the user of every row, but 'books' has none"):
        training_batches(nobody, "films", 5, paired=True)
    apart = {
        "books": Part(PARTS["books"].x, PARTS["books"].y, user=PARTS["books"].user + 100),
        "films": PARTS["films"],
    }
    with pytest.raises(DataError, match="only 0 training rows whose user stands in every domain"):
        training_batches(apart, "films", 5, paired=True)
    with pytest.raises(DataError, match="need the target 'music'"):
        training_batches(PARTS, "music", 5)
    with pytest.raises(DataError, match="'books' has no training rows"):
        training_batches({**PARTS, "books": part(0)}, "films", 5)


def test_rows_are_held_once():
    held = part(50)
    before = {name: values.copy() for name, values in held.x.items()}
    ids, numbers = held.packed
    assert all(
        np.shares_memory(values, numbers if name == "price" else ids) for name, values in held.x.items()
    )
    for name, values in before.items():
        np.testing.assert_array_equal(held.x[name], values)
    tensor = batches._tensor(ids)
    ids[0, 0] = 77  # the tensor is the same memory
    assert tensor[0, 0] == 77 and held.x["item"][0] == 77
