"""Progressive layered extraction."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cdrzoo import layers
from cdrzoo.models import PLE, SharedBottom
from tests.models import oracle, slots
from tests.models.toys import toy_rows, toy_schema

ROWS = {"books": 20, "films": 15}
DOMAINS = ("books", "films")


def make(**changes):
    return oracle.built(PLE(toy_schema(), **{"expert_units": (9, 7), "tower_units": (5,), **changes}))


def mixed(kernel, x, experts):
    g = slots.softmax(x @ oracle.array(kernel))
    return sum(g[:, [i]] * f for i, f in enumerate(experts))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_equals_the_numpy_version(levels):
    model = make(levels=levels, specific_experts=2, shared_experts=2)
    x, _ = toy_rows(model.schema, ROWS)
    scores = model(x)
    for name in x:
        of_all = slots.row(model, name, x[name])
        of = dict.fromkeys(DOMAINS, of_all)
        for level, cgc in enumerate(model.extraction.extractors):
            own = {
                d: [oracle.mlp(e, of[d]) for e in cgc.specific_experts[2 * i : 2 * i + 2]]
                for i, d in enumerate(DOMAINS)
            }
            shared = [oracle.mlp(e, of_all) for e in cgc.shared_experts]
            below = of_all
            if level < levels - 1:  # over the experts of every domain, then the shared ones
                of_all = mixed(cgc.gate_of_all.kernel, below, own["books"] + own["films"] + shared)
            of = {d: mixed(cgc.gates[i].kernel, of[d], own[d] + shared) for i, d in enumerate(DOMAINS)}
        z = oracle.dense(model.heads[name], oracle.mlp(model.towers[name], of[name]))
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are using a softmax")
def test_one_shared_expert_alone_is_a_shared_bottom():
    model = make(levels=1, specific_experts=0)
    bottom = SharedBottom(model.schema, units=(9, 7), tower_units=(5,))
    bottom.build()
    bottom.rows.embedding.set_weights(model.rows.embedding.get_weights())
    bottom.bottom.set_weights(model.extraction.extractors[0].shared_experts[0].get_weights())
    for name in ROWS:
        bottom.towers[name].set_weights(model.towers[name].get_weights())
        bottom.heads[name].set_weights(model.heads[name].get_weights())
    x, _ = toy_rows(model.schema, ROWS)
    for name, score in bottom(x).items():
        np.testing.assert_allclose(model(x)[name], score, atol=1e-6)


def test_rows_of_one_domain_do_not_teach_the_others_experts_of_the_last_level():
    model = make()
    x, y = toy_rows(model.schema, {"films": 20})
    found = slots.taught(model, x, y)
    first, last = model.extraction.extractors
    others = (
        *last.specific_experts[0].variables,
        *last.gates[0].variables,
        *model.towers["books"].variables,
        *model.heads["books"].variables,
    )
    assert not found & {id(v) for v in others}
    # Below the last level the shared gate mixes the other domain's experts in, by design.
    assert {id(v) for v in first.specific_experts[0].variables} <= found
    assert {id(v) for v in last.specific_experts[1].variables} <= found


def test_the_model_and_the_layer_of_one_name_are_told_apart(tmp_path):
    model = make()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, PLE) and isinstance(again.extraction, layers.PLE)
    config = keras.saving.serialize_keras_object(layers.PLE(DOMAINS, (3,)))
    assert isinstance(keras.saving.deserialize_keras_object(config), layers.PLE)
