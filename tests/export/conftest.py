"""An export that several files look at: making one takes seconds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.serving_case import make_encoder, make_frame, make_model


@pytest.fixture(scope="session")
def encoder():
    return make_encoder()


@pytest.fixture(scope="session")
def frame():
    return make_frame("films", 40, seed=2)


@pytest.fixture(scope="session")
def cctl(encoder, frame, tmp_path_factory):
    """A model with a source, companion tables and a selector, and its export."""
    from cdrzoo.export import save
    from cdrzoo.models import CCTL

    model = make_model(encoder, CCTL)
    model.synchronise()
    metrics = {"test": {"auc": np.float32(0.75)}}
    card = {"split": {"name": "time", "hash": "abc123"}, "metrics": metrics, "limits": "None."}
    folder = tmp_path_factory.mktemp("models") / "films"
    return model, save(model, encoder, folder, examples=frame, card=card)
