"""Deep & Cross Network."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.errors import InputError
from cdrzoo.models import DCN, DNN
from tests.models import oracle
from tests.models.toys import toy_rows, toy_schema


def made(**arguments):
    if arguments.get("cross") != "dcn":
        pytest.importorskip("tensorflow_recommenders", reason="tensorflow-recommenders is not installed")
    model = DCN(toy_schema(), **{"units": (9, 7), **arguments})
    model.build()
    oracle.randomise(model, scale=0.15)
    return model


@pytest.mark.parametrize("structure", ["stacked", "parallel"])
@pytest.mark.parametrize("cross", ["dcn_v2", "dcn"])
def test_equals_the_numpy_version_on_both_domains(cross, structure):
    model = made(cross=cross, structure=structure)
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    scores = model(x)
    weights = [oracle.array(v) for v in model.crosses.trainable_variables]
    order = sorted(weights, key=lambda w: w.ndim == 1) if cross == "dcn" else [*weights[::2], *weights[1::2]]
    for name, rows in x.items():
        fields = oracle.fields(model.rows.fields[name], oracle.tables(model.rows.embedding), rows)
        first = crossed = oracle.slots(model.rows.concat, name, fields)
        for w, b in zip(order[:2], order[2:]):
            if cross == "dcn":
                crossed = first * (crossed @ w) + b + crossed
            else:
                crossed = first * (crossed @ w + b) + crossed
        if structure == "stacked":
            last = oracle.mlp(model.mlp, crossed)
        else:
            last = np.concatenate([crossed, oracle.mlp(model.mlp, first)], axis=-1)
        z = oracle.dense(model.head, last)
        np.testing.assert_allclose(scores[name], oracle.sigmoid(z), atol=1e-4)


def test_without_weights_in_its_crosses_it_is_the_dnn():
    model = made()
    for variable in model.crosses.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    twin = DNN(model.schema, units=(9, 7))
    twin.build()
    for part in ("rows", "mlp", "head"):
        getattr(twin, part).set_weights(getattr(model, part).get_weights())
    x, _ = toy_rows(model.schema, {"books": 30, "films": 20})
    for name, scores in twin(x).items():
        np.testing.assert_allclose(model(x)[name], scores, atol=1e-6)


def test_another_structure_is_refused():
    with pytest.raises(InputError, match="must be one of stacked, parallel. Received: 'both'"):
        DCN(toy_schema(), structure="both", cross="dcn")
