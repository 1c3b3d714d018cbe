"""A tiny model in two versions, and a server on free ports, for the tests of serving."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from tests.serving_case import make_encoder, make_frame, make_model


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """`folder` holds films/1; `later` is films/2, not in it; rows by the names of features; scores by version.

    Version 2 is version 1 with another bias, put into its checkpoint: an export takes seconds.
    """
    import tensorflow as tf

    from cdrzoo.export import save

    root = tmp_path_factory.mktemp("exports")
    encoder, frame = make_encoder(), make_frame("films", 24, seed=2)
    path = save(make_model(encoder), encoder, root / "models" / "films", examples=frame)
    later = shutil.copytree(path, root / "later" / "films" / "2")
    prefix = str(later / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
    (bias,) = [name for name, value in values.items() if np.shape(value) == (1,)]
    values[bias] = values[bias] - np.float32(1)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )
    lines = (path / "assets.extra/replay.jsonl").read_text().splitlines()
    first = np.array([json.loads(line)["score"] for line in lines])
    second = 1 / (1 + np.e * (1 - first) / first)
    scores = {1: np.float32(first), 2: np.float32(second)}
    assert np.abs(first - second).min() > 1e-4
    rows = frame.rename(columns={"film id": "film"})
    return SimpleNamespace(folder=root / "models", later=later, rows=rows, scores=scores)


@pytest.fixture
def folder(exports, tmp_path):
    """A copy of the folder, for tests that change it."""
    return shutil.copytree(exports.folder, tmp_path / "models")


@pytest.fixture(scope="module")
def server(exports):
    from cdrzoo.serving import Server

    with Server(exports.folder, port=0, rest_port=0, max_bytes=200_000) as server:
        yield server
