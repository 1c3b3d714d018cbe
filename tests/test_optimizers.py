"""The row-sparse optimizers against Keras's own and against the formulas."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo import optimizers, replicas
from cdrzoo.errors import InputError
from cdrzoo.layers import FeatureEmbedding
from cdrzoo.schema import Domain, Feature, Schema, Table

ROWS = 11
DENSE_CASES = [
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "beta_1": 0.8, "epsilon": 1e-3}),
    ("Adam", {"weight_decay": 0.1, "clipnorm": 0.5}),
    ("Adam", {"global_clipnorm": 0.5}),
    ("Adam", {"clipvalue": 0.05, "loss_scale_factor": 4.0}),
    ("Adagrad", {"weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"momentum": 0.9, "clipnorm": 0.5}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
]


def rows_of_gradient(rng, rows=ROWS, picks=30, width=3):
    """A gradient in which rows stand more than once."""
    return tf.IndexedSlices(
        tf.constant(rng.normal(size=(picks, width)).astype("float32")),
        tf.constant(rng.integers(0, rows, picks).astype("int32")),
        tf.constant([rows, width]),
    )


def dense(gradient):
    return tf.convert_to_tensor(gradient)


@pytest.mark.parametrize(("name", "arguments"), DENSE_CASES)
def test_dense_variables_behave_exactly_as_in_keras(name, arguments):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype("float32") for shape in ((4, 3), (3,))]
    ours, theirs = ([keras.Variable(v, name=f"v{i}") for i, v in enumerate(start)] for _ in range(2))
    one, two = getattr(optimizers, name)(**arguments), getattr(keras.optimizers, name)(**arguments)
    for optimizer in (one, two):
        optimizer.exclude_from_weight_decay(var_names=["v1"])
    for _ in range(4):
        gradients = [tf.constant(rng.normal(size=v.shape).astype("float32")) for v in start]
        one.apply(gradients, ours)
        two.apply(gradients, theirs)
    for a, b in zip([*ours, *one.variables], [*theirs, *two.variables]):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(("name", "arguments"), DENSE_CASES)
@pytest.mark.parametrize("way", ["eager", "graph", "compiled"])
def test_touching_every_row_equals_keras_on_the_dense_gradient(name, arguments, way, monkeypatch):
    monkeypatch.setattr(replicas, "on_gpu", lambda: way == "compiled")
    rng = np.random.default_rng(1)
    table, bias = rng.normal(size=(ROWS, 3)).astype("float32"), rng.normal(size=3).astype("float32")
    ours, theirs = ([keras.Variable(table), keras.Variable(bias)] for _ in range(2))
    one, two = getattr(optimizers, name)(**arguments), getattr(keras.optimizers, name)(**arguments)
    one.build(ours)
    two.build(theirs)
    step = (lambda g, b: one.apply([g, b])) if way == "eager" else tf.function(lambda g, b: one.apply([g, b]))
    for _ in range(4):
        gradient = rows_of_gradient(rng)
        extra = tf.constant(np.arange(ROWS, dtype="int32"))  # so that no row is left out
        gradient = tf.IndexedSlices(
            tf.concat([gradient.values, tf.ones((ROWS, 3)) * 0.01], 0),
            tf.concat([gradient.indices, extra], 0),
            gradient.dense_shape,
        )
        other = tf.constant(rng.normal(size=3).astype("float32"))
        step(gradient, other)
        two.apply([dense(gradient), other])
    for a, b in zip([*ours, *one.variables], [*theirs, *two.variables]):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


def lazy_numpy(name, table, steps, rate, decay):
    """The formulas of the docstrings, row by row, in float64."""
    table = table.astype("float64")
    m, v, a = np.zeros_like(table), np.zeros_like(table), np.full_like(table, 0.1)
    for t, gradient in enumerate(steps, start=1):
        total = np.zeros_like(table)
        np.add.at(total, gradient.indices.numpy(), gradient.values.numpy())
        for r in sorted(set(gradient.indices.numpy().tolist())):
            g = total[r]
            if name == "Adam":
                m[r] = 0.9 * m[r] + 0.1 * g
                v[r] = 0.999 * v[r] + 0.001 * g**2
                change = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m[r] / (np.sqrt(v[r]) + 1e-7)
            elif name == "Adagrad":
                a[r] += g**2
                change = rate * g / np.sqrt(a[r] + 1e-7)
            else:
                m[r] = 0.9 * m[r] - rate * g
                change = -m[r]
            table[r] = table[r] - rate * decay * table[r] - change
    return table


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(("picks", "form"), [(5, optimizers._Rows), (30, optimizers._Tables)])
@pytest.mark.parametrize("name", ["Adam", "Adagrad", "SGD"])
def test_only_touched_rows_and_their_slots_change(name, picks, form, gpu, monkeypatch):
    """Of two tables of one width, on a CPU's path and on a GPU's, which XLA compiles, by rows and as a whole."""
    monkeypatch.setattr(replicas, "on_gpu", lambda: gpu)
    rng = np.random.default_rng(2)
    starts = [rng.normal(size=(ROWS, 3)).astype("float32") for _ in range(2)]
    tables = [keras.Variable(start) for start in starts]
    arguments = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(optimizers, name)(learning_rate=0.05, weight_decay=0.2, **arguments)
    steps = [[rows_of_gradient(rng, rows=6, picks=picks) for _ in tables] for _ in range(4)]
    assert optimizer._form(steps[0][0], tables[0]) is form
    step = tf.function(optimizer.apply) if gpu else optimizer.apply
    optimizer.build(tables)
    for gradients in steps:
        step(gradients)
    for table, start, gradients in zip(tables, starts, zip(*steps)):
        np.testing.assert_allclose(
            np.asarray(table), lazy_numpy(name, start, gradients, 0.05, 0.2), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(np.asarray(table)[6:], start[6:])
        for slot in optimizers.slots(optimizer, table):
            assert len(np.unique(np.asarray(slot)[6:])) == 1, "an untouched row's slot moved"
            assert len(np.unique(np.asarray(slot)[:6])) > 1


def test_excluded_tables_do_not_decay():
    start = np.ones((ROWS, 2), "float32")
    table = keras.Variable(start, name="item_table")
    optimizer = optimizers.SGD(learning_rate=0.5, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["item"])
    optimizer.apply(
        [tf.IndexedSlices(tf.zeros((2, 2)), tf.constant([3, 4]), tf.constant([ROWS, 2]))], [table]
    )
    np.testing.assert_array_equal(np.asarray(table), start)


def test_clipnorm_sees_the_summed_row():
    # Row 2 stands twice with (3, 0) and (0, 4): summed, its norm is 5, not sqrt(9 + 16) of two rows by chance alone.
    # Row 1 stands twice with (1, 0) and (-1, 0): summed, it vanishes; unsummed it would count.
    values = tf.constant([[3.0, 0.0], [0.0, 4.0], [1.0, 0.0], [-1.0, 0.0]])
    gradient = tf.IndexedSlices(values, tf.constant([2, 2, 1, 1]), tf.constant([ROWS, 2]))
    for clip in ("clipnorm", "global_clipnorm"):
        table = keras.Variable(np.zeros((ROWS, 2), "float32"))
        optimizers.SGD(learning_rate=1.0, **{clip: 1.0}).apply([gradient], [table])
        expected = np.zeros((ROWS, 2))
        expected[2] = [-0.6, -0.8]
        np.testing.assert_allclose(np.asarray(table), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 2, 3), (100 * ROWS, 2)])
def test_tables_of_any_rank_and_size(shape):
    rng = np.random.default_rng(3)
    start = rng.normal(size=shape).astype("float32")
    ids, values = np.array([4, 1, 4], "int64"), rng.normal(size=(3, *shape[1:])).astype("float32")
    table = keras.Variable(start)
    optimizers.SGD(learning_rate=1.0).apply([tf.IndexedSlices(values, ids, tf.constant(shape))], [table])
    expected = start.copy()
    np.subtract.at(expected, ids, values)
    np.testing.assert_allclose(np.asarray(table), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arguments", [{"use_ema": True}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("name", ["Adam", "Adagrad", "SGD"])
def test_what_cannot_be_sparse_is_refused(name, arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        getattr(optimizers, name)(**arguments)


@pytest.mark.parametrize(
    ("name", "arguments"), [("Adam", {"beta_1": 0.7}), ("Adagrad", {}), ("SGD", {"momentum": 0.5})]
)
def test_configuration_round_trip(name, arguments):
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = getattr(optimizers, name)(learning_rate=rate, weight_decay=0.3, clipnorm=2.0, **arguments)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()


# In a model ---------------------------------------------------------------------------------------------------------

SCHEMA = Schema(
    (
        Domain(
            "shop",
            (
                Feature("user", "id", "user", table="user"),
                Feature("item", "id", "item", table="item"),
                Feature("seen", "ids", "history", table="item", length=4, of="shop"),
            ),
        ),
    ),
    "shop",
    (Table("user", 4, rows=30), Table("item", 4, rows=50)),
)


@keras.saving.register_keras_serializable(package="cdrzoo_tests")
class Small(keras.Model):
    def __init__(self, schema, **kwargs):
        super().__init__(**kwargs)
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.embedding = FeatureEmbedding(self.schema)
        self.head = keras.layers.Dense(1, activation="sigmoid", dtype="float32")

    def call(self, x):
        f = self.embedding(x)["shop"]
        return self.head(
            keras.ops.concatenate([f["user"] * f["item"], keras.ops.sum(f["seen"], axis=1)], axis=-1)
        )

    def get_config(self):
        return {**super().get_config(), "schema": self.schema.to_dict()}


def data(rows=64, schema=SCHEMA, seed=0):
    rng = np.random.default_rng(seed)
    size = {table.name: table.rows for table in schema.tables}
    x = {
        "user": rng.integers(0, size["user"], rows).astype("int32"),
        "item": rng.integers(0, size["item"], rows).astype("int32"),
        "seen": rng.integers(0, size["item"], (rows, 4)).astype("int32"),
    }
    return {"shop": x}, rng.integers(0, 2, (rows, 1)).astype("float32")


def model(optimizer, schema=SCHEMA, seed=7):
    keras.utils.set_random_seed(seed)
    small = Small(schema)
    small.compile(optimizer, "binary_crossentropy")
    return small


def fit(small, x, y, epochs=1):
    return small.fit(x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0)


def weights(small):
    return [np.asarray(v) for v in [*small.variables, *small.optimizer.variables]]


@pytest.mark.parametrize(
    "name", ["Adam", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("Adagrad", "SGD"))]
)
def test_resumed_training_equals_uninterrupted(tmp_path, name):
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.9)

    def optimizer():
        arguments = {"momentum": 0.9} if name == "SGD" else {}
        return getattr(optimizers, name)(learning_rate=rate, weight_decay=0.01, clipnorm=1.0, **arguments)

    x, y = data()
    whole = model(optimizer())
    fit(whole, x, y, epochs=4)

    half = model(optimizer())
    fit(half, x, y, epochs=2)
    half.save(tmp_path / "half.keras")
    half.save_weights(tmp_path / "half.weights.h5")
    for resumed in (keras.saving.load_model(tmp_path / "half.keras"), model(optimizer(), seed=8)):
        if not resumed.built:
            resumed(x)
            resumed.optimizer.build(resumed.trainable_variables)
            resumed.load_weights(tmp_path / "half.weights.h5")
        assert type(resumed.optimizer) is getattr(optimizers, name)
        fit(resumed, x, y, epochs=2)
        for a, b in zip(weights(whole), weights(resumed)):
            np.testing.assert_array_equal(a, b)


def tensors_of_a_step(optimizer, rows):
    """Shapes of all tensors of a training step that have `rows` in them."""
    schema = SCHEMA.with_rows({"user": rows, "item": rows})
    small = model(optimizer, schema)
    x, y = data(schema=schema)
    fit(small, x, y)
    batch = tf.nest.map_structure(tf.constant, x), tf.constant(y)
    graph = tf.function(small.train_step).get_concrete_function(batch).graph
    shapes = [out.shape for op in graph.get_operations() for out in op.outputs]
    return [shape for shape in shapes if shape.rank and rows in shape.as_list()]


@pytest.mark.slow
def test_no_tensor_of_a_step_has_the_rows_of_a_table():
    rows = 7919  # a number that nothing else in the step has
    assert tensors_of_a_step(keras.optimizers.Adam(), rows), "the check itself is blind"
    assert not tensors_of_a_step(optimizers.Adam(weight_decay=0.01, global_clipnorm=1.0, amsgrad=True), rows)
    assert not tensors_of_a_step(optimizers.LossScaleOptimizer(optimizers.Adam()), rows)
    assert not tensors_of_a_step(optimizers.Adagrad(), rows)
    assert not tensors_of_a_step(optimizers.SGD(momentum=0.9, nesterov=True), rows)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_float32_tables(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        x, y = data()
        small = model(optimizers.Adam(0.05))
        losses = fit(small, x, y, epochs=8).history["loss"]
        if policy == "mixed_float16":
            assert isinstance(small.optimizer, keras.optimizers.LossScaleOptimizer)
        assert small.embedding(x)["shop"]["item"].dtype == policy.removeprefix("mixed_")
        assert all(v.dtype == "float32" for v in small.embedding.trainable_variables)
        assert losses[-1] < losses[0] - 0.01
        assert not np.asarray(small.embedding.table("item"))[0].any()
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.slow
def test_loss_scaling_changes_nothing_but_skips_steps_that_overflow():
    x, y = data()
    plain = model(optimizers.Adam(0.05, clipnorm=1.0))
    fit(plain, x, y)
    scaled = model(optimizers.LossScaleOptimizer(optimizers.Adam(0.05, clipnorm=1.0), initial_scale=1024.0))
    fit(scaled, x, y)
    for a, b in zip(plain.variables, scaled.variables):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-5)
    table = scaled.embedding.table("item")
    before, scale = np.asarray(table).copy(), float(scaled.optimizer.dynamic_scale)
    rows = tf.constant([[np.inf] * 4, [0.1] * 4])  # of one item, and Keras would look at the last one alone
    bad = [
        tf.IndexedSlices(rows, tf.constant([3, 3]), tf.constant(v.shape)) if v.shape[0] > 20 else v * 0
        for v in scaled.trainable_variables
    ]
    scaled.optimizer.apply(bad, scaled.trainable_variables)
    np.testing.assert_array_equal(np.asarray(table), before)
    assert float(scaled.optimizer.dynamic_scale) == scale / 2


MIRRORED = """
    import sys
    import numpy as np, tensorflow as tf, keras
    sys.path[:0] = [".", {folder!r}]
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from test_optimizers import Small, SCHEMA, data, model, fit, optimizers, weights
    x, y = data()
    for name, arguments in (
        ("Adam", {{"weight_decay": 0.1}}),
        ("Adagrad", {{"clipnorm": 0.01}}),
        ("SGD", {{"momentum": 0.9, "global_clipnorm": 0.01}}),
    ):
        single = model(getattr(optimizers, name)(0.05, **arguments))
        fit(single, x, y, epochs=2)
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            double = model(getattr(optimizers, name)(0.05, **arguments))
        fit(double, x, y, epochs=2)
        assert double.distribute_strategy.num_replicas_in_sync == 2
        for a, b in zip(weights(single), weights(double)):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=name)
    print("equal")
"""


@pytest.mark.once
@pytest.mark.exhaustive
def test_two_replicas_equal_one_device_on_the_same_global_batch(tmp_path):
    # In a process of its own: the number of virtual devices cannot change once TensorFlow has started.
    script = tmp_path / "mirrored.py"
    here = pathlib.Path(__file__).parent
    script.write_text(textwrap.dedent(MIRRORED.format(folder=str(here))))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=here.parent)
    assert "equal" in done.stdout, done.stderr[-3000:]
