"""What a layer says of its output's shape is what it gives, and `model.summary()` shows it."""

from __future__ import annotations

import inspect

import keras
import pytest
from keras import tree

from cdrzoo import layers, models
from tests.models.conformance import each_case

OWN = ("compute_output_shape", "compute_output_spec")


@pytest.mark.parametrize("name", [name for name in layers.__all__ if isinstance(getattr(layers, name), type)])
def test_a_public_layer_says_its_shape(name):
    layer = getattr(layers, name)
    assert any(getattr(layer, own) is not getattr(keras.layers.Layer, own) for own in OWN)


@each_case()
def test_shapes_are_what_calls_give(case, monkeypatch):
    given = {}
    call = keras.layers.Layer.__call__

    def recorded(self, *arguments, **keywords):
        built, out = self.built, call(self, *arguments, **keywords)
        if not built:  # what it was built for
            given[id(self)] = tree.map_structure(lambda x: () if x is None else tuple(x.shape), out)
        return out

    model = case.build()
    with monkeypatch.context() as patched:
        patched.setattr(keras.layers.Layer, "__call__", recorded)
        model.compile()
    ours = [one for one in model._flatten_layers() if type(one).__module__.startswith("cdrzoo.layers")]
    called = [one for one in ours if id(one) in given and one._build_shapes_dict]
    for layer in called:
        said, gave = layer.compute_output_shape(**layer._build_shapes_dict), given[id(layer)]
        if "return_weights" in inspect.signature(layer.call).parameters and isinstance(gave[0], tuple):
            gave = gave[0]
        assert said == gave, f"{layer.name} says {said} and gives {gave}"
    lines: list[str] = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    # A layer of dropout that is 0 is never called; a first stage says its shapes where it was compiled.
    passed_over = ("Dropout", *(models.card(card.after).cls for card in models.CARDS if card.after))
    rows = [line for line in "\n".join(lines).splitlines() if "?" in line]
    unknown = [row for row in rows if not any(f"({name})" in row for name in passed_over)]
    assert not unknown, "\n".join(unknown)
