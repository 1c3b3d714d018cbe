"""Wide & Deep."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import WideDeep
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


@pytest.fixture
def model():
    return oracle.built(WideDeep(toy_schema(), units=(9, 7), buckets=5000))


def test_equals_the_numpy_version_on_both_domains(model):
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    for name, rows in x.items():
        rows = {key: oracle.array(value) for key, value in rows.items()}
        for of, table in (("books", "book"), ("films", "film")):
            candidate = "book" if name == "books" else "film"
            for history, feature, one, two in (
                ("seen", "item", table, candidate),
                ("genres", "genre", "genre", "genre"),
            ):
                a, b = rows[f"{of}_{history}"].astype("int64"), rows[feature][:, None].astype("int64")
                pair = 1 + (a * model.schema.table(two).rows + b) % 4999  # the greatest prime below 5000
                cross = f"{of}_{history}_x_{feature}"
                rows[cross] = np.where((a > 0) & (b > 0), pair, 0)
                assert model.cross.crossed.domain(name).feature(cross).table == f"{one}_x_{two}"
        wide = oracle.first_order(model.wide, name, rows)
        fields = oracle.fields(model.rows.fields[name], oracle.tables(model.rows.embedding), rows)
        deep = oracle.mlp(model.mlp, oracle.slots(model.rows.concat, name, fields))
        z = wide + oracle.dense(model.head, deep)
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


def test_the_wide_part_remembers_one_pair_of_a_history_and_a_candidate():
    schema = Schema(
        target="apps",
        tables=(Table("app", rows=6, width=2),),
        domains=(
            Domain(
                "apps",
                (
                    Feature("app", "id", "item", table="app"),
                    Feature("installed", "ids", "history", table="app", length=3, of="apps"),
                ),
                task="rating",
            ),
        ),
    )
    model = WideDeep(schema, units=(4,))
    model.build()
    model.head.kernel.assign(tf.zeros_like(model.head.kernel))
    rows = {"app": [4, 5, 4, 2, 0], "installed": [[3, 5, 0], [3, 4, 0], [0, 0, 0], [2, 0, 0], [3, 0, 0]]}
    x = {"apps": {name: tf.constant(value) for name, value in rows.items()}}
    np.testing.assert_array_equal(model(x)["apps"], np.zeros((5, 1)))  # a pair never seen weighs nothing
    table = model.wide.embedding.table("installed_x_app_app_x_app")
    crossed = model.cross(x)["apps"]["installed_x_app"].numpy()
    assert crossed.tolist()[2:] == [[0, 0, 0], [1 + 2 * 6 + 2, 0, 0], [0, 0, 0]]
    table.assign(tf.tensor_scatter_nd_update(table.value, [[crossed[0, 0]]], [[3.0]]))
    np.testing.assert_allclose(model(x)["apps"], [[1.5], [0], [0], [0], [0]])  # the mean over two events


def test_without_a_history_to_cross_the_wide_part_is_logistic_regression():
    features = tuple(f for f in toy_schema().target_domain.features if f.role != "history")
    domain = Domain("films", features)
    tables = tuple(t for t in toy_schema().tables if t.name in {f.table for f in features})
    model = WideDeep(Schema((domain,), "films", tables), units=(4,))
    assert model.cross.crossed == model.schema
