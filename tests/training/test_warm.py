"""Warm starts: tables of every model grow, known rows stay, and before the first step a score is what it was."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from cdrzoo.models import card
from cdrzoo.optimizers import Adam, slots
from cdrzoo.training.variables import optimizers_of
from cdrzoo.training.warm import carry
from tests.models.cases import CASES
from tests.models.conformance import both, data

TAKEN, GROWN = 4, 5
"""The known row that another id takes, and how many rows each table gets."""
OWN_STATE = ("cctl", "finetuned_dnn", "ctnet", "sscdr", "wide_deep", "lr")
"""Models with something of their own that has the rows of a table, and those with a first stage of each kind."""


NOT_AS_UNKNOWN = {
    "emcdr": "it asks which domain has trained a user, and nobody has trained a new one",
    "ptupcdr": "the same",
    "sscdr": "the same",
    "wide_deep": "a pair of ids has a bucket of its own",
}
"""Models for which a new id does not score as an unknown one before it is trained."""


def cases():
    def mark(name):
        return [] if name == "dnn" else pytest.mark.slow if name in OWN_STATE else pytest.mark.exhaustive

    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name, marks=mark(c.name)) for c in CASES])


def made(case, schema, first=None):
    """The compiled model of a case; a second stage on this first one, or on a new one."""
    given = {**case.arguments, **case.parts(schema), **({"pretrained": first} if first else {})}
    model = card(case.name).load()(schema, **given)
    model.compile(optimizer=Adam(0.01))
    return model


def alike(model, schema):
    """A new model of another schema."""
    found = type(model).from_config({**model.get_config(), "schema": schema.to_dict(), "name": None})
    found.build()
    return found


def changed(x, schema, of, to):
    """Rows with other ids: those for which `of` holds become what `to` says of their table's rows."""

    def ids(domain, name, values):
        table, values = schema.domain(domain).feature(name).table, np.array(values)
        if table is None or schema.table(table).hash_buckets:
            return values
        return np.where(of(values), to(schema.table(table).rows), values)

    return {d: {n: ids(d, n, v) for n, v in features.items()} for d, features in x.items()}


def same_scores(one, two):
    assert set(one) == set(two)
    for domain in one:
        np.testing.assert_array_equal(one[domain], two[domain], err_msg=domain)


@cases()
def test_tables_grow_and_no_score_moves(case):
    schema = case.schema()
    larger = schema.with_rows({t.name: t.rows + GROWN for t in schema.tables}).with_first_rows(schema)
    # A user whose row is taken is off SSCDR's lists, so that scores of his neighbours move: there nobody is gone.
    taken = [] if case.name == "sscdr" else [TAKEN]
    rows = {t.name: np.array([*taken, *range(t.rows, t.rows + GROWN)]) for t in schema.tables}
    before, first = made(case, schema), None
    for batch in data(before, 2):
        before.train_step(batch)
    if card(case.name).after:
        first = alike(before.pretrained, larger)
        first.compile(optimizer=Adam(0.01))  # as one that was trained
        carry(before.pretrained, first, rows, functools.partial(alike, before.pretrained))
    after = made(case, larger, first)
    carry(before, after, rows, functools.partial(made, case))

    known = changed(both(before)[0], schema, lambda v: v == TAKEN, lambda rows: TAKEN + 1)
    same_scores(before(known), after(known))
    new = changed(known, schema, lambda v: v == TAKEN + 1, lambda rows: rows + 1)
    unknown = changed(known, schema, lambda v: v == TAKEN + 1, lambda rows: 1)
    if case.name not in NOT_AS_UNKNOWN:
        same_scores(before(unknown), after(new))

    for one, two in zip(before.weights, after.weights, strict=True):
        if one.shape == two.shape:  # no table
            np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=one.path)
    starts = made(case, larger, first)
    for old, optimizer, start in zip(*(list(optimizers_of(m)) for m in (before, after, starts))):
        assert int(optimizer.iterations) == int(old.iterations)
        for one, two, three in zip(*(each._trainable_variables for each in (old, optimizer, start))):
            for a, b, c in zip(slots(old, one), slots(optimizer, two), slots(start, three)):
                if a.shape == b.shape:
                    np.testing.assert_array_equal(a.numpy(), b.numpy())
                    continue
                fresh = [*taken, *range(a.shape[0], b.shape[0])]
                kept = np.setdiff1d(np.arange(a.shape[0]), fresh)
                np.testing.assert_array_equal(a.numpy()[kept], b.numpy()[kept])
                np.testing.assert_array_equal(b.numpy()[fresh], c.numpy()[fresh])
    assert max(int(optimizer.iterations) for optimizer in optimizers_of(after)) > 0
    for batch in data(after, 1):
        after.train_step(batch)
