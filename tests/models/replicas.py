"""A process with two devices that trains what it is asked for on one of them and on both, and says what differs.

The number of devices cannot change once TensorFlow has started, so the tests ask another process (`answers`): each
line that it reads is the name of a model or of one of `FURTHER`, each line that it writes the answer.
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

GRAPHS = ("cml", "dadin", "cctl")
"""Models whose step is traced; tracing is what takes the time, so that others run eagerly."""
STACKED = ("nfm",)
"""Models that drop what the rows of all domains, one below the other, have: replicas draw other numbers for them."""


@contextlib.contextmanager
def answers(log: pathlib.Path) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A function that asks a process of its own; what that says besides its answers goes to the file."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tests.models.replicas"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=pathlib.Path(__file__).parents[2],
        ) as process,
    ):

        def ask(name: str) -> dict[str, Any]:
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, log.read_text()[-3000:]
            return json.loads(line)

        yield ask


def main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    for name in map(str.strip, sys.stdin):
        answer = {"differences": FURTHER[name]() if name in FURTHER else of_model(name)}
        print(json.dumps(answer), file=out, flush=True)


def of_model(name: str, rows: dict[str, int] | None = None, dropout: float = 0.3, **changes) -> list[str]:
    """What differs after some weighted steps of a model of the conformance tests, with dropout if it knows any."""
    import tensorflow as tf

    from cdrzoo.optimizers import SGD
    from tests.models import conformance
    from tests.models.cases import CASES

    case = next(case for case in CASES if case.name == name)
    changes |= {"dropout": dropout} if "dropout" in case.changes and name not in STACKED else {}

    def weigh(x, y):
        return x, y, {d: tf.cast(tf.range(tf.shape(labels)[0]) % 5, "float32") for d, labels in y.items()}

    def train(one_device: bool, seen):
        model = case.build(**changes)
        # Not Adam: what should have no gradient has one of rounding errors, which Adam makes as large as others.
        eager = one_device or name not in GRAPHS
        model.compile(SGD(0.5), loss_weights={"films": 0.7}, run_eagerly=eager)
        model.fit(conformance.data(model, 2, rows=rows).map(weigh), verbose=0, callbacks=[seen])
        return conformance.variables(model)

    return compared(train)


def with_callbacks() -> list[str]:
    """What differs after epochs of prepared rows whose validation is a callback's."""
    from cdrzoo.data import prepare, synthetic
    from cdrzoo.models import DNN
    from cdrzoo.optimizers import Adam
    from cdrzoo.training.callbacks import Evaluate

    made = synthetic.synthesize(
        0.5, users=80, source_rows=600, target_rows=200, source_items=20, target_items=15
    )
    prepared = prepare(made.schema, made.sources)

    def train(one_device: bool, seen):
        model = DNN(prepared.schema, units=(8, 4))
        model.compile(Adam(0.01), loss_weights={"books": 0.5})
        callbacks = [Evaluate(prepared.valid()), seen]
        model.fit(prepared.train({"books": 16, "films": 8}), epochs=2, verbose=0, callbacks=callbacks)
        return model.variables

    return compared(train, logged={"val_auc", "val_log_loss", "books_loss"})


def gone_on() -> list[str]:
    """What differs of a model whose tables have grown, and that goes on with what another one has learnt."""
    import numpy as np

    from cdrzoo.training.warm import carry
    from tests.models import conformance
    from tests.models.cases import CASES
    from tests.training.test_warm import made

    case = next(case for case in CASES if case.name == "dnn")
    schema = case.schema()
    larger = schema.with_rows({t.name: t.rows + 3 for t in schema.tables}).with_first_rows(schema)
    rows = {t.name: np.arange(t.rows - 1, t.rows + 3) for t in schema.tables}

    def train(one_device: bool, seen):
        before, after = made(case, schema), made(case, larger)
        before.fit(conformance.data(before, 2), verbose=0)
        carry(before, after, rows, functools.partial(made, case))
        after.fit(conformance.data(after, 2), verbose=0, callbacks=[seen])
        return after.variables

    return compared(train)


FURTHER: dict[str, Callable[[], list[str]]] = {
    "callbacks": with_callbacks,
    # Draws are those of one device where replicas have as many rows.
    "uneven": lambda: of_model("mem", {"books": 23, "films": 9}, dropout=0.0),
    "gone on": gone_on,
    # CCTL's towers become one, and its selector learns from the rewards of all replicas.
    "windows": lambda: of_model("cctl", sync_every=2, selector_learning_rate=1.0),
}


@functools.cache
def both_devices():
    """The strategy: once, because the keys of what replicas say to each other begin anew with each one."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def compared(train: Callable[..., Any], logged: set[str] = frozenset()) -> list[str]:
    """What differs between the logs and variables of a training on one device and on two.

    Args:
        train: trains, given whether it is on one device and a callback that is to see the logs; gives the variables.
        logged: what the logs of an epoch must hold.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    class Logs(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.steps, self.epochs = [], []

        def on_train_batch_end(self, batch, logs=None):
            self.steps.append(dict(logs))

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(dict(logs))

    two, found = both_devices(), []
    for strategy in (tf.distribute.get_strategy(), two):
        keras.utils.set_random_seed(1)
        logs = Logs()
        with strategy.scope():
            variables = train(strategy is not two, logs)
        found.append((logs.steps + logs.epochs, variables))
    (logs, variables), (other_logs, other_variables) = found
    assert logged <= logs[-1].keys(), logs[-1]

    differences = []
    for step, (one, other) in enumerate(zip(logs, other_logs, strict=True)):
        assert one.keys() == other.keys()
        pairs = ((f"{name} of step {step}", one[name], other[name]) for name in one)
        differences += [f"{what}: {a} and {b}" for what, a, b in pairs if abs(a - b) > 1e-5]
    for one, other in zip(variables, other_variables, strict=True):
        first, second = (v.numpy().astype("float64") for v in two.experimental_local_results(other.value))
        gap = np.abs(one.numpy().astype("float64") - [first, second]).max()
        differences += [f"{one.path}: by {gap}"] if gap > 1e-5 else []
    return differences


if __name__ == "__main__":
    main()
