"""What does not fit in memory is refused before it is taken."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import sys

import pytest

from cdrzoo import memory
from cdrzoo.errors import InputError, SchemaError
from cdrzoo.models import DNN
from cdrzoo.schema import Feature
from cdrzoo.training import fitting
from cdrzoo.training.config import RunConfig, Training
from tests.models.toys import toy_schema


@pytest.fixture
def mib(monkeypatch):
    """Of 1 MiB."""
    monkeypatch.setattr(memory, "most", lambda: 2.0**20)


def test_a_container_has_less_than_its_machine(monkeypatch, tmp_path):
    said = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CONTAINER", str(said))
    whole = memory.most()
    assert whole > 2**26
    for text, most in (("1000\n", 1000), ("max\n", whole), ("9" * 20, whole)):
        said.write_text(text)
        assert memory.most() == most


def test_tables_and_layers(mib):
    schema = toy_schema()
    large = dataclasses.replace(
        schema,
        tables=tuple(dataclasses.replace(t, rows=2**17 if t.name == "film" else 9) for t in schema.tables),
    )
    with pytest.raises(
        InputError, match="largest, 'film', has 131,072 rows of 4 columns. Lower `hash_buckets`"
    ):
        DNN(large)
    with pytest.raises(InputError, match="The layers of `units` of DNN.*Give narrower ones"):
        DNN(schema, units=(512, 512))
    DNN(schema, units=(512, 8))


@pytest.mark.parametrize(
    ("table", "feature", "training", "message"),
    [
        ({"hash_buckets": 30_000}, {}, {}, "Tables of which training holds 3 copies would take .* 'film'"),
        ({"hash_buckets": 30_000}, {}, {"optimizer": "sgd"}, None),
        (
            {},
            {"length": 70_000},
            {"batch_size": 1},
            "one batch of 1 rows.*the `length` of feature 'films_seen'",
        ),
        ({}, {}, {"batch_size": 4096}, "one batch of 4,096 rows.*Lower `batch_size`"),
    ],
)
def test_before_the_rows_are_read(mib, table, feature, training, message):
    schema = toy_schema()
    tables = tuple(
        dataclasses.replace(t, rows=None, **(table if t.name == "film" else {})) for t in schema.tables
    )
    domains = tuple(
        dataclasses.replace(
            d,
            features=tuple(
                dataclasses.replace(f, **(feature if f.of == "films" else {})) for f in d.features
            ),
        )
        for d in schema.domains
    )
    schema = dataclasses.replace(schema, tables=tables, domains=domains)
    config = RunConfig(
        schema=schema,
        data={"books": "b.csv", "films": "f.csv"},
        model="dnn",
        training=Training(**{"batch_size": 2, **training}),
    )
    if message is None:
        return fitting.check_memory(config, schema)
    with pytest.raises(InputError, match=message):
        fitting.check_memory(config, schema)


def test_a_length_has_a_bound():
    with pytest.raises(
        SchemaError, match="`length` of feature 'seen' must be a whole number from 1 to 1048576"
    ):
        Feature("seen", "ids", "item", table="film", length=10**9)


FAULTS = """
import resource
from cdrzoo import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(100 * 2**20)  # filled with zeros: every page is touched
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
handed_back = faults()
memory.keep()
faults()
print(handed_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
@pytest.mark.parametrize(("said", "keeps"), [({}, True), ({"MALLOC_MMAP_MAX_": "65536"}, False)])
def test_a_process_keeps_large_blocks_that_it_has_freed(said, keeps):
    """Unless the user has said otherwise."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    run = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**plain, **said}, capture_output=True, text=True, check=True
    )
    before, after = map(int, run.stdout.split())
    assert before > 10_000  # pages of 4 KiB
    assert (after < 100) == keeps


@pytest.mark.parametrize(
    ("command", "says"), [("['models']", "kept, []"), ("['rows', 'nothing', '--out', 'x']", "")]
)
def test_commands_that_train_keep_memory_before_anything_starts_threads(command, says, tmp_path):
    code = f"""
import sys
from cdrzoo import memory
from cdrzoo.cli import main

memory.keep = lambda: print("kept,", [name for name in ("pandas", "pyarrow", "tensorflow") if name in sys.modules])
main({command})
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert [line for line in run.stdout.splitlines() if line.startswith("kept")] == [says] * bool(says)
