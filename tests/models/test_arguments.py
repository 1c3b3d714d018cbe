"""What every model of the registry takes and refuses when it is made."""

from __future__ import annotations

import dataclasses
import inspect
import re

import keras
import numpy as np
import pytest

from cdrzoo.errors import InputError, SchemaError
from cdrzoo.models import CARDS, card
from cdrzoo.optimizers import Adam
from tests.models.cases import CASES, SLOTS, Elsewhere
from tests.models.conformance import both, data, each_case, saved, state
from tests.models.toys import three_schema

ONE_HEAD = {
    "afm",
    "cctl",
    "dadin",
    "dann",
    "dcn",
    "deepfm",
    "din",
    "dnn",
    "fibinet",
    "fm",
    "lr",
    "nfm",
    "wide_deep",
}
ONE_HEAD |= {"xdeepfm", "youtube_dnn"}
"""Models that score the rows of all domains with one head."""
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)  # it takes no time


# The table of cases -------------------------------------------------------------------------------------------------


def test_every_model_of_the_registry_has_a_case():
    assert sorted(case.name for case in CASES) == sorted(one.name for one in CARDS)


@every_case
def test_the_table_of_changes_covers_the_signature(case):
    arguments = [
        p.name
        for p in inspect.signature(card(case.name).load().__init__).parameters.values()
        if p.name not in ("self", "schema") and p.kind is not p.VAR_KEYWORD
    ]
    assert sorted(case.changes) == sorted(set(arguments) - set(case.parts(case.schema())))
    assert set(case.without_effect) <= set(case.changes)


@every_case
def test_a_default_that_was_another_is_todays_in_the_table(case):
    parameters = inspect.signature(card(case.name).load().__init__).parameters
    for name, default in card(case.name).now.items():
        assert parameters[name].default == default != card(case.name).before[name]


# Configuration ------------------------------------------------------------------------------------------------------


@each_case(own=None)
def test_configuration_holds_what_was_given(case):
    cls, schema = card(case.name).load(), case.schema()
    for changes in ({}, {k: v for k, v in case.changes.items() if not isinstance(v, Elsewhere)}):
        model = case.build(schema, **changes)
        config = model.get_config()
        for name, value in {**case.arguments, **changes}.items():
            assert config[name] == (list(value) if isinstance(value, tuple) else value), name
        again = cls.from_config(config)
        assert again.get_config() == config
        assert again.schema == schema


@every_case
def test_an_unknown_argument_is_an_error(case):
    with pytest.raises((TypeError, ValueError), match="unitz"):
        case.build(unitz=3)


@pytest.mark.once
@each_case()
def test_no_hidden_layer_is_no_layer_or_a_clear_error(case):
    """None is meant where the docstring says so; else another model would train, and nobody be told."""
    cls = card(case.name).load()
    for argument, value in case.changes.items():
        if not (argument.endswith("units") and isinstance(value, tuple)):
            continue
        said = re.search(rf"^ +{argument}: (.*?)(?=^ +[a-z_, ]+: |^$)", cls.__doc__, re.M | re.S)[1]
        assert (argument in cls.may_be_empty) == ("`()`: none" in said), argument
        if argument not in cls.may_be_empty:
            with pytest.raises(InputError, match=f"`{argument}` of .* must name at least one hidden layer"):
                case.build(**{argument: ()})
            continue
        model = case.build(**{argument: ()})
        x, _ = both(model)
        for name, scores in model(x).items():
            assert scores.shape == (len(x[name]["user"]), 1) and np.isfinite(scores).all(), argument


WRONG = {
    bool: ("x", 1, None),
    tuple: (None, 5, [0], [-3], [2.5], [True], [2**16 + 1], "ab", {}),
    int: ("x", -1, 1.5, True, None, [3], 10**12),
    float: ("x", -1.0, float("nan"), None, [1.0], True),
    str: ("x", 5, None, []),
    type(None): ("x y", -1, [0], {}),
}


@every_case
def test_an_argument_of_another_kind_is_an_error(case):
    """An `InputError`, before a layer is made: the command line prints it on a line."""
    cls, schema = card(case.name).load(), case.schema()
    parts = dict.fromkeys(case.parts(schema))  # not looked at
    for p in inspect.signature(cls.__init__).parameters.values():
        if p.default is inspect.Parameter.empty:
            continue
        for wrong in WRONG[type(p.default)]:
            given = {**case.arguments, **case.parts(schema)} if isinstance(p.default, str) else parts
            with pytest.raises(InputError):
                cls(schema, **{**given, p.name: wrong})
                pytest.fail(f"{p.name}={wrong!r}")


def _trace(case, schema, **changes):
    """Shapes, then weights, then what each of three steps of training leaves: computed as far as it is asked for."""
    keras.utils.set_random_seed(2)
    try:
        model = case.build(schema, **changes)
        model.compile(Adam(0.01))
    except SchemaError:
        yield "refused"
        return
    yield [v.shape for v in model.weights]
    yield [v.numpy().tolist() for v in model.weights]
    for batch in data(model, 3):
        model.train_step(batch)
        yield [array.tolist() for array in state(model)]


@pytest.mark.once
@pytest.mark.exhaustive
@every_case
def test_every_argument_changes_something(case):
    usual, same = {}, []  # by schema; what changed nothing
    for argument, change in case.changes.items():
        schema, value = case.schema(), change
        if isinstance(change, Elsewhere):
            schema, value = change.schema(), change.value
        if schema not in usual:
            usual[schema] = list(_trace(case, schema))
        changed = _trace(case, schema, **{argument: value})
        if all(one == other for one, other in zip(changed, usual[schema])):
            same.append(argument)
    assert sorted(same) == sorted(case.without_effect)


@each_case(quick=False)
def test_a_file_is_loaded_under_the_policy_it_was_saved_under(case, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = case.build()
    x, _ = both(model)
    expected = {name: score.numpy() for name, score in model(x).items()}
    path = saved(model, tmp_path)
    keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(path)
    assert keras.config.dtype_policy().name == "float32"
    for name, score in loaded(x).items():
        np.testing.assert_array_equal(score, expected[name])


@each_case(own=None)
def test_histories_that_a_model_cannot_read_are_named(case):
    assert ("the same histories in all" in card(case.name).needs) == (case.uneven == SLOTS)
    if case.uneven is None:
        case.build(three_schema())
    else:
        with pytest.raises(SchemaError, match=case.uneven):
            case.build(three_schema())


@each_case(own=None)
def test_one_head_for_clicks_and_ratings_is_refused(case):
    schema = case.schema()
    odd = "click" if schema.target_domain.task == "rating" else "rating"
    sources = (dataclasses.replace(source, task=odd) for source in schema.sources)
    mixed = dataclasses.replace(schema, domains=(*sources, schema.target_domain))
    if case.name in ONE_HEAD:
        with pytest.raises(SchemaError, match="both tasks"):
            case.build(mixed)
    else:
        case.build(mixed)


# Mistakes -----------------------------------------------------------------------------------------------------------


@every_case
def test_a_schema_without_rows_is_refused(case):
    config = case.schema().to_dict()
    del config["tables"]["user"]["rows"]
    with pytest.raises(SchemaError, match="rows of table 'user'"):
        card(case.name).load()(config, **{**case.arguments, **case.parts(case.schema())})


@each_case(own=("compile",), quick=False)
def test_an_unknown_domain_is_refused(case):
    model = case.build()
    for argument in (
        {"loss": {"filmz": "mse"}},
        {"loss_weights": {"filmz": 1.0}},
        {"metrics": {"filmz": ["auc"]}},
    ):
        with pytest.raises(SchemaError, match="Did you mean 'films'"):
            model.compile(Adam(0.01), **argument)
    x, _ = both(model)
    with pytest.raises(ValueError, match="filmz"):
        model({"filmz": x["films"]})
