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
    """`folder` holds films/1; `later` is films/2, not in it; rows by the names of features; scores by version."""
    from cdrzoo.export import export

    root = tmp_path_factory.mktemp("exports")
    encoder, frame = make_encoder(), make_frame("films", 24, seed=2)
    model = make_model(encoder)
    paths = {1: export(model, encoder, root / "models" / "films", examples=frame)}
    model.head.bias.assign([-1.0])
    paths[2] = export(model, encoder, root / "later" / "films", version=2, examples=frame)
    scores = {
        version: np.float32(
            [
                json.loads(line)["score"]
                for line in (path / "assets.extra/replay.jsonl").read_text().splitlines()
            ]
        )
        for version, path in paths.items()
    }
    assert np.abs(scores[1] - scores[2]).min() > 1e-4
    rows = frame.rename(columns={"film id": "film"})
    return SimpleNamespace(folder=root / "models", later=paths[2], rows=rows, scores=scores)


@pytest.fixture
def folder(exports, tmp_path):
    """A copy of the folder, for tests that change it."""
    return shutil.copytree(exports.folder, tmp_path / "models")


@pytest.fixture(scope="module")
def server(exports):
    from cdrzoo.serving import Server

    with Server(exports.folder, port=0, rest_port=0, max_bytes=200_000) as server:
        yield server
