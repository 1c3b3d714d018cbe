"""Workers that are processes of their own: each reads its share, and together they train what one would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from cdrzoo.data import load_rows, synthetic
from cdrzoo.data.rows import combine, tasks
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.data.rows.plan import Settings
from tests.conftest import PROJECT

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of 200 rows, row groups of 32."""
    path = tmp_path_factory.mktemp("rows")
    made = synthetic.synthesize(
        0.5, users=120, source_rows=1500, target_rows=600, source_items=40, target_items=30
    )
    for name, frame in made.frames.items():
        frame.to_parquet(path / f"{name}.parquet")
    data = {name: str(path / f"{name}.parquet") for name in made.frames}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combine, "SHARD_ROWS", 200)
        patch.setattr(tasks, "GROUP_ROWS", 32)
        prepare_to(path / "rows", Settings(made.schema, data), partitions=2)
    return path / "rows"


def start(folder, out, name, **environment):
    script = PROJECT / "tests" / "tfx_pipeline" / "worker.py"
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(out), name],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": "", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process) -> None:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said[-3000:]


def two_places() -> list[str]:
    """The `TF_CONFIG` of each of two workers on this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]}
    for each in sockets:
        each.close()
    tasks = ({"type": "worker", "index": index} for index in range(2))
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


def workers(folder, tmp_path) -> list[dict[str, np.ndarray]]:
    """Two processes that find each other on this machine."""
    outs = [tmp_path / f"{index}.npz" for index in range(2)]
    places = zip(outs, two_places(), strict=True)
    started = [start(folder, out, "multi_worker", TF_CONFIG=place) for out, place in places]
    for process in started:
        ended(process)
    return [dict(np.load(out)) for out in outs]


def one_process(folder, count: int) -> dict[str, np.ndarray]:
    """The same training by one process, of batches that hold the parts of so many workers one behind the other."""
    import tensorflow as tf

    from tests.tfx_pipeline import worker

    rows = load_rows(folder, held=False)

    def joined():
        parts = [rows.train(worker.BATCH, seed=2, share=(index, count)) for index in range(count)]
        together = tf.data.Dataset.zip(tuple(parts))
        return together.map(lambda *each: tf.nest.map_structure(lambda *v: tf.concat(v, 0), *each))

    return worker.train(rows, joined)


def check_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert len(wanted["loss"]) == 2 and wanted["loss"][1] < wanted["loss"][0]
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-5, atol=2e-6, err_msg=name)


def test_two_workers_read_shares_and_train_what_one_would(folder, tmp_path):
    found = workers(folder, tmp_path)
    groups = [set(each["groups"]) for each in found]
    assert not groups[0] & groups[1]
    stored = load_rows(folder, held=False).stored
    every = {
        f"{group.path.relative_to(folder)} {group.number}"
        for parts in stored.values()
        for group in parts["train"].groups
    }
    assert groups[0] | groups[1] == every
    wanted = one_process(folder, 2)
    for each in found:
        check_same(each, wanted)


def test_replicas_of_a_worker_divide_its_batch(folder, tmp_path):
    ended(start(folder, tmp_path / "out.npz", "mirrored"))
    check_same(dict(np.load(tmp_path / "out.npz")), one_process(folder, 1))
