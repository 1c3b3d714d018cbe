"""The twin of a run: the same but for the source."""

from __future__ import annotations

import pytest

from cdrzoo.errors import InputError
from cdrzoo.evaluation.twin import twin_of
from cdrzoo.training.config import RunConfig, Training
from tests.models.toys import toy_schema

DATA = {"books": "books.csv", "films": "films.csv"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model": "dnn", "domains": "all", "arguments": {"units": [8]}}, ("dnn", {"units": [8]})),
        ({"model": "star", "arguments": {"pooling": "attention"}}, ("star", {"pooling": "attention"})),
        ({"model": "cctl"}, ("din", {"units": [256, 128, 32], "dropout": 0.0})),
        (
            {"model": "cctl", "arguments": {"pooling": "mean", "units": [8], "alpha": 0.5}},
            ("dnn", {"units": [8], "dropout": 0.0}),
        ),
        (
            {"model": "dacdr", "arguments": {"dropout": 0.3}},
            ("din", {"units": [256, 128, 64], "dropout": 0.3}),
        ),
        # What a second stage does not have itself it has from its first.
        ({"model": "finetuned_dnn", "first": {"units": [9]}}, ("dnn", {"units": [9], "dropout": 0.0})),
    ],
)
def test_the_twin_is_the_same_but_for_the_source(given, expected):
    training = Training(batch_size=64, epochs=3)
    config = RunConfig(schema=toy_schema(), data=DATA, seed=5, width=8, training=training, **given)
    twin, why = twin_of(config)
    assert (twin.model, twin.arguments) == expected and twin.domains == "target" and why
    assert (twin.seed, twin.width, twin.training) == (5, 8, training)
    twin.model_arguments()


def test_without_a_source_there_is_nothing_to_measure():
    with pytest.raises(InputError, match="saw the target alone"):
        twin_of(RunConfig(schema=toy_schema(), data=DATA, model="dnn"))
