"""What the conformance tests share: which models a test runs on and when, and how they are fed and looked at."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cdrzoo.models import CARDS, card
from cdrzoo.models.base import CrossDomainModel
from tests.models.cases import CASES, Case
from tests.models.toys import toy_dataset, toy_rows

REPRESENTATIVES = ("dnn", "cctl", "mkt", "dadin", "conet")
"""The plainest model; one with a training step of its own, a second stage, one that aligns, and one for pairs."""
ROWS = {"books": 24, "films": 16}


def each_case(own: tuple[str, ...] | None = (), quick: bool = True):
    """Runs a test on every model: on the representatives at once, on others with `make test`, on the rest last.

    Args:
        own: `make test` runs the test on the representatives, and on the models that have one of these methods of the
            base class of their own. `None`: on all models.
        quick: whether `make check` runs it on the representatives; if not, `make test` does.
    """

    def marks(case: Case) -> list:
        if case.name in REPRESENTATIVES:
            return [] if quick else [pytest.mark.slow]
        early = own is None or any(_overrides(case, method) for method in own)
        return [pytest.mark.slow if early else pytest.mark.exhaustive]

    # The scope lets a fixture of the module hold the case's trained model.
    cases = [pytest.param(case, id=case.name, marks=marks(case)) for case in CASES]
    return pytest.mark.parametrize("case", cases, scope="module")


def _overrides(case: Case, method: str) -> bool:
    return getattr(card(case.name).load(), method) is not getattr(CrossDomainModel, method)


def rows_of(model) -> dict[str, int]:
    """Rows of each domain in a training batch; as many in all if they are pairs."""
    return {name: ROWS["films" if paired(model) else name] for name in model.training_domains}


def paired(model) -> bool:
    return {one.cls: one.paired for one in CARDS}[type(model).__name__]


def data(model, batches: int, seed: int = 0, rows: dict[str, int] | None = None) -> tf.data.Dataset:
    """Batches of a task that the model can learn; of other `rows` of each domain than `rows_of`, if given."""
    learns = {card(case.name).cls: case.learns for case in CASES}[type(model).__name__]
    return toy_dataset(model.schema, rows or rows_of(model), batches, seed, learns or "genre", paired(model))


def both(model, seed: int = 3, missing: bool = True):
    """Rows of the domains that the model trains on, and of the target."""
    rows = {model.schema.target: ROWS[model.schema.target], **rows_of(model)}
    return toy_rows(model.schema, rows, seed, missing, paired(model))


def losses(model, batch) -> dict[str, float]:
    x, y = batch
    return {k: float(v) for k, v in model.domain_losses(y, model(x)).items()}


def variables(model) -> list[keras.Variable]:
    """Whatever training changes: weights, state, slots."""
    optimizers = [v for v in vars(model).values() if isinstance(v, keras.optimizers.Optimizer)]
    return [*model.variables, *(v for o in optimizers for v in o.variables)]


def state(model) -> list[np.ndarray]:
    return [np.asarray(v.numpy()) for v in variables(model)]


def restore(model, values) -> None:
    for variable, value in zip(variables(model), values, strict=True):
        variable.assign(value)


def same(one, two) -> bool:
    """Whether two states are equal to the bit."""
    return len(one) == len(two) and all(a.shape == b.shape and (a == b).all() for a, b in zip(one, two))


def steps(model, batches) -> None:
    for batch in batches:
        model.train_step(batch)


def saved(model, folder):
    model.save(folder / "model.keras")
    return folder / "model.keras"
