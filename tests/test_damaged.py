"""Whatever happens to a file that cdrzoo wrote: what reads it works, or says on a line which file it is."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

import cdrzoo
from cdrzoo.data import synthetic
from cdrzoo.errors import InputError
from cdrzoo.evaluation.transfer import Transfer
from cdrzoo.experiments.comparison import Comparison
from cdrzoo.experiments.results import Results
from cdrzoo.export.card import check_files, read_card
from cdrzoo.export.verification import _examples
from cdrzoo.training import callbacks, fitting
from cdrzoo.training.config import RunConfig, Training
from tests.training.test_damaged import DAMAGES

pytestmark = [pytest.mark.exhaustive, pytest.mark.once]

SIZES = {"users": 60, "source_rows": 400, "target_rows": 300, "source_items": 30, "target_items": 20}
OTHERS = (5, [], {}, "x", None, [5], {"a": 5}, [[]])
"""What a value of JSON may be instead."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One run of two stages and all that is made of it, each once; copies are damaged."""
    root = tmp_path_factory.mktemp("world")
    made = synthetic.synthesize(**SIZES)
    made.write(root)
    training = Training(batch_size=64, epochs=2)
    data = {name: str(root / f"{name}.csv") for name in ("books", "films")}
    config = RunConfig(
        schema=made.schema,
        data=data,
        model="ctnet",
        arguments={"units": [4]},
        first={"units": [4]},
        training=training,
    )
    run = cdrzoo.train(config, root / "run")
    version = run.export(root / "models")

    alone = config.with_changes({"model": "dnn", "units": [4], "domains": "all"})
    cdrzoo.compare(alone, "lr", root / "compare", seeds=1)
    cdrzoo.train(alone, root / "all")
    cdrzoo.transfer(root / "all", root / "transfer", seeds=1)
    model = cdrzoo.load_run(root / "all").model
    return SimpleNamespace(root=root, config=config, alone=alone, run=run, version=version, model=model)


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another."""
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


def damages(name: str, content: bytes) -> Iterator[tuple[str, bytes | None]]:
    yield from ((what, change and change(content)) for what, change in DAMAGES.items())
    yield from (("flipped", flipped(content)), ("a text", b'"x"\n'))
    if name.endswith((".json", ".jsonl")):
        head, _, tail = content.partition(b"\n") if name.endswith(".jsonl") else (content, b"", b"")
        found = json.loads(head)
        for key, value in found.items():
            for other in OTHERS:
                yield f"{key} is {other!r}", json.dumps({**found, key: other}).encode() + b"\n" + tail
                for inner in value if isinstance(value, dict) else ():
                    changed = {**found, key: {**value, inner: other}}
                    yield f"{key}.{inner} is {other!r}", json.dumps(changed).encode() + b"\n" + tail


def check(
    folder: pathlib.Path, copy: pathlib.Path, names: tuple[str, ...], read: Callable[[pathlib.Path], object]
):
    """Reads the folder's copy after every damage to each of the files."""
    shutil.copytree(folder, copy)
    read(copy)
    refused = 0
    for name in names:
        whole = (copy / name).read_bytes()
        for what, content in damages(name, whole):
            if content is None:
                (copy / name).unlink()
            else:
                (copy / name).write_bytes(content)
            try:
                read(copy)
            except InputError as error:
                refused += 1
                said = str(error)
                assert copy.name in said and len(said) < 1000 and len(said.splitlines()) < 3, (
                    name,
                    what,
                    said,
                )
            except Exception as error:
                raise AssertionError(f"{name}, {what}: {type(error).__name__}: {error}") from error
        (copy / name).write_bytes(whole)
    assert refused >= 4 * len(names)


def of_run(folder):
    found = cdrzoo.load_run(folder)
    assert repr(found) and found._repr_html_() and found.schema and found.encoder and len(found.history)


def test_a_run(world, tmp_path):
    names = ("config.yaml", "schema.yaml", "metrics.json", "history.csv", "encoder/encoder.json")
    check(world.root / "run", tmp_path / "copied", (*names, "encoder/vocab/user.txt"), of_run)


def test_what_an_export_takes_of_a_run(world, tmp_path, monkeypatch):
    monkeypatch.setattr("cdrzoo.export.save", lambda *given, **named: None)  # it takes seconds
    monkeypatch.setattr("cdrzoo.training.run.read_model", lambda path: world.run.model)  # likewise
    names = ("examples.parquet", "split.json", "metrics.json")
    check(
        world.root / "run",
        tmp_path / "copied",
        names,
        lambda folder: cdrzoo.load_run(folder).export(tmp_path / "m"),
    )


def test_a_first_stage(world, tmp_path, monkeypatch):
    first, prepared, folder = (
        world.config.first_stage(),
        fitting.prepare(world.config),
        world.root / "run" / "first",
    )

    def went_on(folder):
        assert not (folder / "metrics.json").exists() or fitting.fit_first(first, prepared, folder)

    check(folder, tmp_path / "copied", ("model.keras",), went_on)
    monkeypatch.setattr(fitting, "read_model", lambda path: None)  # it takes seconds
    check(folder, tmp_path / "again", ("metrics.json",), went_on)


def test_the_state_of_a_stopped_run(world, tmp_path):
    rows = fitting.prepare(world.alone).train(64).take(1)
    world.model.compile()
    world.model.fit(rows, callbacks=[callbacks.Resume(tmp_path / "stopped", [])], verbose=0)

    def resumed(folder):
        resume = callbacks.Resume(folder, [])
        resume.set_model(world.model)
        resume.set_params({"epochs": 3})
        if resume.next_epoch:
            resume.on_train_begin()

    names = ("epoch-000001/state.json", "epoch-000001/arrays.npz")
    check(tmp_path / "stopped", tmp_path / "copied", names, resumed)


def test_a_comparison(world, tmp_path):
    def compared(folder):
        found = Comparison.load(folder)
        assert found.labels and found.markdown() and repr(found) and found.searched == 0
        Results(folder / "results.jsonl", world.alone)

    check(world.root / "compare", tmp_path / "copied", ("results.jsonl", "comparison.json"), compared)


def test_a_transfer_report(world, tmp_path):
    def reported(folder):
        found = Transfer.load(folder)
        assert (
            str(found)
            and repr(found)
            and found._repr_html_()
            and len(found.lift)
            and found.groups is not None
        )
        assert len(found.rows)

    check(world.root / "transfer", tmp_path / "copied", ("transfer.json", "scores.parquet"), reported)


def test_an_export(world, tmp_path):
    variables = (f"variables/{path.name}" for path in (world.version / "variables").iterdir())
    names = ("saved_model.pb", *variables, "assets/user.txt", "assets.extra/model_card.json")
    features = world.run.model.serving_features

    def looked_at(folder):  # by all that load it, which takes seconds
        card, _, served = read_card(folder)
        check_files(folder, card)
        assert [feature.name for feature in served]

    def replayed(folder):
        assert len(_examples(folder, None, features)[0])

    check(world.version, tmp_path / "copied", names, looked_at)
    check(world.version, tmp_path / "again", ("assets.extra/replay.jsonl",), replayed)
