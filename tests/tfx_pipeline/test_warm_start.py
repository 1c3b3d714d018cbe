"""A pipeline that goes on day after day: what it trains on, which rows stay, and that no request is lost meanwhile."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

pytest.importorskip("tfx", reason="the pipeline needs the extra `tfx`, which this environment does not have")

import pandas as pd
import yaml

from cdrzoo import cli
from cdrzoo.data import synthetic
from cdrzoo.export import verify
from cdrzoo.serving import Client
from cdrzoo.serving.server import Server
from cdrzoo.training import fitting
from cdrzoo.training.folders import read_config, read_encoder, read_json, read_model
from tests.tfx_pipeline.test_workers import two_places
from tfx_pipeline import runners, trainer
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.continual import latest_run

pytestmark = pytest.mark.exhaustive

DAY = 14 * 86_400
BEGIN = 1_600_000_000
ROWS, DAYS = 8, 7


def small_schema():
    """The built-in schema with fewer tables, users by hash, and books that are rare at first."""
    schema, left_out = synthetic.schema(width=4), ("age", "books_genres", "films_genres")
    domains = tuple(
        dataclasses.replace(d, features=tuple(f for f in d.features if f.name not in left_out))
        for d in schema.domains
    )
    tables = {table.name: table for table in schema.tables if table.name != "age"}
    tables["user"] = dataclasses.replace(tables["user"], hash_buckets=50)
    tables["book"] = dataclasses.replace(tables["book"], min_count=150)
    return dataclasses.replace(schema, domains=domains, tables=tuple(tables.values()))


@pytest.fixture(scope="module")
def logs():
    """Logs of many days in which every third row is of an item of its own day."""
    made = synthetic.synthesize(
        users=60, source_rows=900, target_rows=900, source_items=30, target_items=24, seed=1
    )
    for log in made.frames.values():
        own = log["item"] + "-" + ((log["time"] - BEGIN) // DAY).astype(str)
        log["item"] = log["item"].where(log.index % 3 > 0, own)
    return made.frames


def config(folder, day, logs, first=0, **section) -> PipelineConfig:
    """What a run sees on a day: the logs so far, or those since a `first` day, whose last day is the test."""
    small_schema().save(folder / "schema.yaml")
    for name, log in logs.items():
        seen = log[(log["time"] >= BEGIN + first * DAY) & (log["time"] < BEGIN + (7 + day) * DAY)]
        seen.to_csv(folder / f"{name}.csv", index=False)
    given = {
        "schema": "schema.yaml",
        "split": {"by": "days", "valid": 1, "test": 1, "day": DAY},
        "forget_after": 2,
        "drift": {"unknown": 0.7},
        "training": {"epochs": 1, "batch_size": 16},
        **section.pop("run", {"model": "dnn", "arguments": {"units": [8]}}),
        "pipeline": {"name": "films", "warm_start": "latest_blessed", "thresholds": {"auc": {"min": 0.01}}},
    }
    given["pipeline"] |= section
    if "examples" not in section:
        given["data"] = {name: f"{name}.csv" for name in logs}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(given))
    return PipelineConfig.load(folder / "pipeline.yaml")


@pytest.fixture(scope="module")
def first(tmp_path_factory, logs):
    """The run of the first day, with where it is, its configuration, examples and vocabularies, and what it said."""
    folder, said = tmp_path_factory.mktemp("days"), []
    given = config(folder, 0, logs, strategy="mirrored")
    examples = runners.write_examples(given)
    done = runners.run(given, echo=said.append)
    (known,) = pathlib.Path(given.path(given.root), "vocabularies").iterdir()
    return types.SimpleNamespace(
        folder=folder, config=given, examples=examples, known=str(known), said=said, done=done
    )


class Asking(threading.Thread):
    """Asks for scores of some rows again and again."""

    def __init__(self, address, rows):
        super().__init__(daemon=True)
        self.client, self.rows = Client(address, "films"), rows
        self.answers, self.failed, self.over = [], [], False

    def run(self):
        while not self.over:
            try:
                self.answers.append(np.asarray(self.client.predict(self.rows)).sum())
                time.sleep(0.1)
            except Exception as error:
                self.failed.append(error)


def run_of(done, model) -> pathlib.Path:
    return pathlib.Path(done.artifacts[f"Trainer.{model}"]["model_run"])


def goes_on(before, now, log):
    """The next day's run: newer rows, the same rows for the same ids, their scores before the first step, its line."""
    one, two = read_encoder(before), read_encoder(now)
    then, split = (read_json(folder, "split.json") for folder in (before, now))
    for domain, parts in split["parts"].items():
        if parts["train"]["rows"]:
            assert parts["train"]["first"] > then["parts"][domain]["train"]["last"]
    assert len(split["descent"]) == two.day == one.day + 1
    assert split["descent"][:-1] == then.get("descent", [])
    for table, ids in one.vocabularies.items():
        kept = two.vocabularies[table][: len(ids)] == ids
        assert (~kept).sum() == two.growth[table]["taken"]
    assert sum(growth["admitted"] for growth in two.growth.values()) > 0
    assert two.numbers == one.numbers and two.schema.target_domain.mean == one.schema.target_domain.mean
    former, model = (read_model(folder / "model.keras") for folder in (before, now))
    assert int(model.optimizer.iterations) > int(former.optimizer.iterations)
    if not any(growth["taken"] for growth in two.growth.values()):
        rows = types.SimpleNamespace(schema=two.schema, encoder=two)
        begun = fitting.build(read_config(now), rows)
        scores = [
            model.score_rows(encoder.encode("films", log, [f.name for f in model.serving_features]))["click"]
            for model, encoder in ((former, one), (begun, two))
        ]
        np.testing.assert_array_equal(*scores)
        assert np.ptp(scores[0]) > 0


def test_seven_days_are_trained_pushed_and_served_without_a_lost_request(first, logs):
    schema, log, folder, said = small_schema(), logs["films"], first.folder, first.said
    rows = pd.DataFrame(
        {
            f.name: log[f.column].head(ROWS) if f.column in log else [[]] * ROWS
            for f in schema.target_domain.features
        }
    )
    raw = log.assign(
        **{f.column: [[]] * len(log) for f in schema.target_domain.features if f.column not in log}
    )
    assert "trained from the start" in said[0]
    with Server(folder / "saved_models", port=0, rest_port=0) as server:
        asking = Asking(server.address, rows)
        asking.start()
        before = None
        for day in range(DAYS):
            given = config(folder, day, logs, strategy="mirrored")
            done = runners.run(given, echo=said.append) if day else first.done
            assert done.blessed and done.pushed.endswith(f"films/{day + 1}")
            if before is not None:
                goes_on(before, run_of(done, "dnn"), raw)
            before = run_of(done, "dnn")
            assert cli.main(["verify", done.pushed]) == 0
        again = runners.run(given, echo=said.append)
        served = latest_run(given)
        newest = log["time"] >= BEGIN + (6 + DAYS) * DAY
        drifted = log.assign(item=log["item"].where(~newest, "broken-" + log["item"]))
        drifting = config(folder, DAYS, {**logs, "films": drifted}, strategy="mirrored")
        broken = runners.run(drifting, echo=said.append)
        asking.over = True
        asking.join(60)
    assert not asking.failed and np.isfinite(asking.answers).all()
    assert len(set(asking.answers)) == DAYS, "each day's version has answered, and nothing else"
    assert again.nodes["Trainer.dnn"][0] == "cached" and again.pushed is None
    assert run_of(again, "dnn") == before, "a run that is repeated goes on with what it went on with"
    assert broken.blessed and broken.pushed is None, "the newest rows have drifted away"
    assert latest_run(given) == served == str(before), "what is not served is not gone on with"


def test_two_workers_train_and_the_chief_writes(first, tmp_path, monkeypatch):
    state, transform = tmp_path / "training" / "films-mmoe", first.done.artifacts["Transform"]
    run = first.config.run.with_changes({"model": "mmoe", "epochs": 2, "learning_rate": 0.01})
    settings = {
        "run": run.to_dict(),
        "schema": json.dumps(first.config.schema.to_dict()),
        "name": "films",
        "served": True,
        "strategy": "multi_worker",
        "examples": first.examples,
        "known": first.known,
        "state": str(state),
        "code": "",
    }
    parts = ("books_train", "films_train", "films_valid")
    files = [f"{transform['transformed_examples']}/Split-{part}/*" for part in parts]
    given = {
        "serving_model_dir": str(tmp_path / "serving"),
        "model_run_dir": str(tmp_path / "run"),
        "transform_graph_path": transform["transform_graph"],
        "base_model": None,
        "train_files": files[:2],
        "eval_files": files[2:],
        "hyperparameters": None,
        "custom_config": settings,
    }
    chief, other = two_places()
    ended = []

    def work():
        while not (state / "arguments.json").exists():
            time.sleep(0.2)
        command = [sys.executable, "-m", "tfx_pipeline", "work", str(state / "arguments.json")]
        ended.append(subprocess.run(command, env={**os.environ, "TF_CONFIG": other}).returncode)

    monkeypatch.setenv("TF_CONFIG", chief)
    beside = threading.Thread(target=work, daemon=True)
    beside.start()
    trainer.run_fn(types.SimpleNamespace(**given))
    beside.join()
    assert ended == [0]
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert result["epochs"] == 2 and result["validation"]["auc"] > 0.5
    assert len(list((tmp_path / "training" / "rows").iterdir())) == 1
    assert verify(str(tmp_path / "serving"))


def test_spans_of_examples_go_on_in_two_stages(tmp_path, logs):
    spans = tmp_path / "spans"
    for number in (1, 2):
        given = config(
            tmp_path, 3 * number, logs, first=6 * (number - 1), warm_start=None, run={"forget_after": None}
        )
        shutil.copytree(runners.write_examples(given), spans / f"{number:02d}")
    (spans / "02").rename(tmp_path / "later")
    mkt = {"model": "mkt", "forget_after": None, "drift": {}, "first": {"epochs": 1}}
    given = config(tmp_path, 6, logs, examples="spans/{SPAN}", run=mkt)
    one = runners.run(given)
    (tmp_path / "later").rename(spans / "02")
    two = runners.run(given)
    assert one.blessed and two.blessed and two.pushed.endswith("films/2")
    before, now = (read_encoder(run_of(done, "mkt")) for done in (one, two))
    assert now.day == 1 and sum(growth["admitted"] for growth in now.growth.values()) > 0
    for table, ids in before.vocabularies.items():
        np.testing.assert_array_equal(now.vocabularies[table][: len(ids)], ids)
    record = json.loads((run_of(two, "mkt") / "split.json").read_text())
    assert record["name"] == "span 2" and len(record["descent"]) == 1
    for part in (".", "first"):
        steps = [
            read_model(run_of(done, "mkt") / part / "model.keras").optimizer.iterations for done in (one, two)
        ]
        assert int(steps[1]) > int(steps[0]) > 0
