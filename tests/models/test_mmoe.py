"""Multi-gate mixture-of-experts."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.models import MMoE, SharedBottom
from tests.models import oracle, slots
from tests.models.toys import toy_rows, toy_schema

ROWS = {"books": 20, "films": 15}


def make(**changes):
    return oracle.built(MMoE(toy_schema(), **{"expert_units": (9, 7), "tower_units": (5,), **changes}))


def test_equals_the_numpy_version():
    model = make(experts=4)
    x, _ = toy_rows(model.schema, ROWS)
    scores, gates = model(x), model.gates(x)
    for index, name in enumerate(x):
        v = slots.row(model, name, x[name])
        g = slots.softmax(v @ oracle.array(model.mixture.gates[index].kernel))
        np.testing.assert_allclose(gates[name], g, atol=1e-6)
        experts = [oracle.mlp(expert, v) for expert in model.mixture.shared_experts]
        mixed = sum(g[:, [i]] * f for i, f in enumerate(experts))
        z = oracle.dense(model.heads[name], oracle.mlp(model.towers[name], mixed))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are using a softmax")
def test_one_expert_is_a_shared_bottom():
    model = make(experts=1)
    bottom = SharedBottom(model.schema, units=(9, 7), tower_units=(5,))
    bottom.build()
    bottom.rows.embedding.set_weights(model.rows.embedding.get_weights())
    bottom.bottom.set_weights(model.mixture.shared_experts[0].get_weights())
    for name in ROWS:
        bottom.towers[name].set_weights(model.towers[name].get_weights())
        bottom.heads[name].set_weights(model.heads[name].get_weights())
    x, _ = toy_rows(model.schema, ROWS)
    for name, score in bottom(x).items():
        np.testing.assert_allclose(model(x)[name], score, atol=1e-6)


def test_rows_of_one_domain_teach_all_experts_and_neither_gate_nor_tower_of_another():
    model = make()
    x, y = toy_rows(model.schema, {"films": 20})
    found = slots.taught(model, x, y)
    books, films = model.mixture.gates
    others = (*books.variables, *model.towers["books"].variables, *model.heads["books"].variables)
    assert not found & {id(v) for v in others}
    experts = [v for expert in model.mixture.shared_experts for v in expert.variables]
    assert {id(v) for v in (*experts, *films.variables, *model.towers["films"].variables)} <= found


def test_gates_have_no_bias_and_sum_to_one():
    model = make()
    assert all(gate.bias is None for gate in model.mixture.gates)
    for gates in model.gates(toy_rows(model.schema, ROWS)[0]).values():
        np.testing.assert_allclose(np.sum(gates, axis=1), 1, atol=1e-6)
