"""Examples that Beam builds by partitions of users are those of rows in memory."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

pytest.importorskip(
    "tfx_bsl", reason="the pipeline needs the extra `tfx`, which this environment does not have"
)

import tensorflow as tf

from cdrzoo.data import Encoder, prepare
from cdrzoo.data.quality import warnings_of
from cdrzoo.data.rows import executors
from cdrzoo.data.rows.making import write_raw
from cdrzoo.data.statistics import Statistics
from tests.data.rows.test_preparing import case
from tfx_pipeline import continual, rows

IN_MEMORY = ("--direct_running_mode=in_memory", "--direct_num_workers=1")
PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def in_order(one: bytes) -> bytes:
    """An example whose features, which have no order, stand by name."""
    return tf.train.Example.FromString(one).SerializeToString(deterministic=True)


def examples(folder) -> list[bytes]:
    found = tf.data.TFRecordDataset(sorted(map(str, folder.glob("*")))).as_numpy_iterator()
    return [in_order(one) for one in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "partitions"),
    [(IN_MEMORY, 1), (IN_MEMORY, 3), pytest.param(PROCESSES, 3, marks=pytest.mark.exhaustive)],
)
@pytest.mark.parametrize("name", ["negatives, last", "weights, time"])
def test_examples_of_beam_are_those_of_memory(name, flags, partitions, tmp_path):
    settings = case(name, tmp_path)
    if name == "weights, time":
        time = prepare(settings.schema, settings.data, split=settings.split).logs["films"].time
        settings = dataclasses.replace(settings, since={"films": float(np.quantile(time, 0.3))})
    arguments = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    prepared = prepare(arguments.pop("schema"), arguments.pop("data"), **arguments)
    split, warnings = write_raw(
        tmp_path / "made",
        settings,
        functools.partial(rows.write_partition, settings.schema, ()),
        partitions=partitions,
        executor=executors.beam(flags),
    )
    assert split.to_dict() == prepared.split.to_dict()
    parts = ["books_train", "films_train", "films_valid", "films_test"]
    assert sorted(path.parent.name for path in (tmp_path / "made").glob("*/*")) == sorted(parts * partitions)
    for each in parts:
        domain, part = each.split("_")
        log, at, further = prepared.logs[domain], prepared.split.parts[domain][part], {}
        if domain == "films":
            further[rows.USERS] = np.full(len(log), "warm", object)
            further[rows.USERS][at[prepared.groups(part)["target_rows"] == 0]] = "cold"
        pieces = rows.serialized(settings.schema, log, at, further)
        wanted = [in_order(one) for piece in pieces for one in piece]
        found = examples(tmp_path / "made" / each)
        assert found == wanted if partitions == 1 else sorted(found) == sorted(wanted)
    counted = {domain.name: Statistics() for domain in settings.schema.domains}
    for at, file in enumerate(sorted((tmp_path / "made").glob("*_train/*"))):
        domain = file.parent.name.removesuffix("_train")
        task = domain, str(file), str(tmp_path / f"{at}.pkl")
        for _ in range(2):  # the second finds what the first has written
            found = continual.count(settings.schema, task)
        counted[domain].merge(found)
    learnt = Encoder(settings.schema).learn(counted)
    # Of sequences the examples hold the last steps, be they missing or not.
    kept = {domain.name: prepared.frame(domain.name, "train") for domain in settings.schema.domains}
    wanted = Encoder(settings.schema).adapt(kept)
    assert learnt.numbers == wanted.numbers == prepared.encoder.numbers
    for table, ids in wanted.vocabularies.items():
        np.testing.assert_array_equal(learnt.vocabularies[table], ids)
    if partitions == 1:
        assert warnings == warnings_of(prepared.schema, prepared.logs, prepared.split)
