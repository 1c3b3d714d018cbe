"""Shared-Bottom."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cdrzoo.models import DNN, SharedBottom
from tests.models import oracle, slots
from tests.models.toys import three_schema, toy_rows, toy_schema

ROWS = {"books": 20, "music": 10, "films": 15}


def make(schema=None, **changes):
    return oracle.built(
        SharedBottom(schema or toy_schema(), **{"units": (9, 7), "tower_units": (5,), **changes})
    )


@pytest.mark.parametrize("schema", [toy_schema, three_schema])
def test_equals_the_numpy_version(schema):
    if schema is three_schema:  # music lists less of a film's history, and one network cannot read two widths
        made = three_schema()
        domains = [
            dataclasses.replace(d, features=tuple(f for f in d.features if f.role != "history"))
            for d in made.domains
        ]
        used = {f.table for d in domains for f in d.features}
        made = dataclasses.replace(
            made, domains=tuple(domains), tables=tuple(t for t in made.tables if t.name in used)
        )
    else:
        made = toy_schema()
    model = make(made)
    x, _ = toy_rows(made, {d.name: ROWS[d.name] for d in made.domains})
    scores = model(x)
    for name in x:
        h = oracle.mlp(model.towers[name], oracle.mlp(model.bottom, slots.row(model, name, x[name])))
        expected = oracle.sigmoid(oracle.dense(model.heads[name], h))
        np.testing.assert_allclose(scores[name], expected, atol=1e-6)


def test_rows_of_one_domain_teach_neither_tower_nor_head_of_another():
    model = make()
    x, y = toy_rows(model.schema, {"books": 20})
    found = slots.taught(model, x, y)
    others = (*model.towers["films"].variables, *model.heads["films"].variables)
    assert not found & {id(v) for v in others}
    own = (*model.bottom.variables, *model.towers["books"].variables, *model.heads["books"].variables)
    assert {id(v) for v in own} <= found


def test_one_domain_without_a_bottom_of_its_own_is_a_dnn():
    schema = toy_schema().only("films")
    model = make(schema)
    dnn = DNN(schema, units=(9, 7, 5))
    dnn.build()
    dnn.rows.embedding.set_weights(model.rows.embedding.get_weights())
    dnn.mlp.set_weights([*model.bottom.get_weights(), *model.towers["films"].get_weights()])
    dnn.head.set_weights(model.heads["films"].get_weights())
    x, _ = toy_rows(schema, {"films": 12})
    np.testing.assert_allclose(model(x)["films"], dnn(x)["films"], atol=1e-6)


def test_each_head_starts_at_the_base_rate_of_its_domain():
    model = SharedBottom(toy_schema().with_means({"books": 0.8, "films": 0.25}), units=(4,), tower_units=(3,))
    model.build()
    assert float(model.heads["books"].bias[0]) == pytest.approx(np.log(4), rel=1e-5)
    assert float(model.heads["films"].bias[0]) == pytest.approx(-np.log(3), rel=1e-5)
