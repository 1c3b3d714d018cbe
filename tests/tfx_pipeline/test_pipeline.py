"""One pipeline on small built-in logs, run from end to end; every test looks at what it left behind.

The runs, in order, in one root, with one import of TFX: a good model of two stages; a worse one, whose rows are read
from a folder and whose training is stopped after an epoch and continued; data that breaks the curated schema.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

pytest.importorskip("tfx", reason="the pipeline needs the extra `tfx`, which this environment does not have")

import keras
import tensorflow as tf
import yaml

import cdrzoo.export
from cdrzoo import data, intervals, metrics
from cdrzoo.data import synthetic
from cdrzoo.data.rows import stored
from cdrzoo.errors import DataError
from cdrzoo.export import verify
from cdrzoo.layers import CrossNet
from cdrzoo.schema import Feature, Table
from cdrzoo.training import callbacks
from tfx_pipeline import components, drift, rows, runners, trainer
from tfx_pipeline._tfx import path_utils, standard_artifacts, tft
from tfx_pipeline.config import PipelineConfig
from tfx_pipeline.preprocessing import NUMBERS
from tfx_pipeline.trainer import raw_frame

pytestmark = pytest.mark.slow

UPSTREAM = ["ExampleGen", "SchemaGen", "StatisticsGen", "ExampleValidator", "Transform"]
RARE = 150
"""Books that are read less often are unknown."""
LEFT_OUT = ("age", "books_genres", "films_genres")
CHANGED = {"price": lambda f: dataclasses.replace(f, transform={"clip": [0, 9]}, flag=True)}
MORE = (
    Feature("text", "vector", "item", table="text", size=3),
    Feature("of_day", "id", "context", table="of_day", derive="hour"),
    Feature("idle", "number", "user", table="idle", derive="recency"),
    Feature("pair", "id", "context", table="pair", cross=["genre", "of_day"]),
)


def small_schema():
    """The built-in schema with fewer tables (each is a Beam job), hashed users, sequences short of their length, and
    numbers, vectors and crosses of every kind.
    """
    schema = synthetic.schema(width=4)
    domains = tuple(
        dataclasses.replace(
            domain,
            features=(
                *(
                    CHANGED.get(f.name, lambda f: dataclasses.replace(f, length=5) if f.kind == "ids" else f)(
                        f
                    )
                    for f in domain.features
                    if f.name not in LEFT_OUT
                ),
                *MORE,
            ),
        )
        for domain in schema.domains
    )
    tables = {t.name: t for t in schema.tables if t.name != "age"}
    tables["user"] = Table("user", width=4, hash_buckets=50)
    tables["book"] = dataclasses.replace(tables["book"], min_count=RARE)
    more = (
        Table("text", width=4),
        Table("of_day", width=4, hash_buckets=24),
        Table("idle", width=4, buckets=5),
    )
    pair = Table("pair", width=4, hash_buckets=30)
    return dataclasses.replace(schema, domains=domains, tables=(*tables.values(), *more, pair))


class Stopped(Exception):
    """Stands for a killed process."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    made = synthetic.synthesize(
        0.9, users=60, source_rows=1500, target_rows=900, source_items=40, target_items=24, seed=1
    )
    vectors = np.random.default_rng(0).normal(size=(100, 3))
    frames = {
        name: frame.assign(text=[vectors[row % 100].tolist() for row in range(len(frame))])
        for name, frame in made.frames.items()
    }
    made = dataclasses.replace(made, schema=small_schema(), frames=frames)
    made.write(folder)
    given = {
        "schema": "schema.yaml",
        "data": {"books": "books.csv", "films": "films.csv"},
        "model": "mkt",
        "first": {"epochs": 2, "learning_rate": 0.01},
        "training": {"epochs": 3, "batch_size": 64, "learning_rate": 0.01},
        "pipeline": {
            "name": "films",
            "thresholds": {"auc": {"min": 0.5, "worse_by": 0.001}},
            "slices": ["row.users", "device"],
            "strategy": "mirrored",
            "tuner": {"search": {"learning_rate": [0.01]}, "trials": 1, "epochs": 1},
            "infer": ["films_test"],
        },
    }

    def load(**changes):
        changed = {**given, **changes, "pipeline": {**given["pipeline"], **changes.pop("pipeline", {})}}
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(changed))
        return PipelineConfig.load(folder / "pipeline.yaml")

    config = load()
    good = runners.run(config)

    worse = load(
        training={"epochs": 2, "batch_size": 64, "learning_rate": 1e-9},
        pipeline={"tuner": None, "strategy": "mirrored"},
    )
    write, epochs = callbacks.Resume._write, []

    def write_and_stop(self, epoch):
        write(self, epoch)
        epochs.append(epoch)
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "HELD_BYTES", 0)
        patch.setattr(callbacks.Resume, "_write", write_and_stop)
        with pytest.raises(Stopped):
            runners.run(worse)
        patch.setattr(
            callbacks.Resume, "_write", lambda self, epoch: epochs.append(epoch) or write(self, epoch)
        )
        bad = runners.run(worse)

    curated = components.curated_schema(small_schema())
    device = next(feature for feature in curated.feature if feature.name == "device")
    device.string_domain.value.extend(["phone", "tablet", "computer"])
    (folder / "schema.pbtxt").write_text(str(curated))
    strict = load(pipeline={"statistics": "schema.pbtxt"})
    with pytest.raises(DataError) as anomaly:
        runners.run(strict)
    return {
        "folder": folder,
        "config": config,
        "good": good,
        "bad": bad,
        "epochs": epochs,
        "anomaly": str(anomaly.value),
        "made": made,
    }


@pytest.fixture(scope="module")
def trained(runs):
    """The Keras model and the encoder of the good run."""
    folder = pathlib.Path(runs["good"].artifacts["Trainer.mkt"]["model_run"])
    return keras.models.load_model(folder / "model.keras"), data.Encoder.load(folder / "encoder")


@pytest.fixture(scope="module")
def test_rows(runs):
    """The test rows as raw examples, parsed, with the scores that the pushed model gives them."""
    folder = pathlib.Path(runs["good"].artifacts["ExampleGen"]["examples"], "Split-films_test")
    serialized = rows.first_examples(str(folder), 10_000)
    spec = {rows.LABEL: tf.float32, rows.USER: tf.string, rows.USERS: tf.string}
    parsed = tf.io.parse_example(serialized, {k: tf.io.FixedLenFeature([], v) for k, v in spec.items()})
    served = tf.saved_model.load(runs["good"].pushed)
    scores = served.signatures["serve_examples"](examples=tf.constant(serialized))["click"].numpy()
    return serialized, {name: value.numpy() for name, value in parsed.items()}, scores


def test_layers_of_other_packages_are_keras_3_beside_tfx():
    """tensorflow_transform asks for Keras 2 in place of `tf.keras`, which such layers are made with."""
    assert issubclass(tf.keras.layers.Layer, keras.layers.Layer)
    assert CrossNet(2, "dcn_v2")(np.ones((2, 3), "float32")).shape == (2, 3)


def test_every_component_ran(runs):
    assert list(runs["good"].nodes) == [
        *["ExampleGen", "SchemaGen", "latest_blessed", "StatisticsGen", "ExampleValidator", "Transform"],
        *["Trainer.mem", "Tuner", "Trainer.mkt"],
        *["Evaluator", "InfraValidator", "BulkInferrer", "Pusher"],
    ]
    assert {state for state, _ in runs["good"].nodes.values()} == {"complete"}


def test_the_metrics_are_cdrzoo_s(runs, test_rows):
    serialized, columns, scores = test_rows
    served = tf.saved_model.load(runs["good"].pushed).signatures["serve_examples"]
    alone = np.concatenate([served(examples=tf.constant([row]))["click"].numpy() for row in serialized])
    found, labels = runs["good"].metrics, columns[rows.LABEL]
    overall = found["overall"]
    assert overall["auc"] == pytest.approx(metrics.auc(labels, scores), abs=1e-12)
    assert overall["gauc"] == pytest.approx(metrics.gauc(labels, scores, columns[rows.USER]), abs=1e-12)
    # Beam chooses the sizes of its batches, and a row by itself is rounded otherwise than among others.
    alone = alone.astype("float64")
    losses = [-np.log(np.where(labels > 0, each, 1 - each)) for each in (alone, scores.astype("float64"))]
    rounding = np.abs(losses[0] - losses[1]).mean()
    assert overall["log_loss"] == pytest.approx(metrics.log_loss(labels, scores), abs=1e-9 + rounding)
    rounding = np.abs(alone - scores).mean()
    assert overall["ece"] == pytest.approx(metrics.ece(labels, scores), abs=1e-9 + rounding)
    exact = intervals.evaluate(labels, scores, "click", columns[rows.USER])
    assert overall["clicks"] == labels.sum() and overall["auc_error"] == pytest.approx(exact["auc"]["error"])
    assert overall["gauc_error"] == pytest.approx(exact["gauc"]["error"], rel=1e-5)
    assert overall["tfma_auc"] == pytest.approx(overall["auc"], abs=2e-3)
    assert overall["calibration"] == pytest.approx(scores.mean() / labels.mean(), rel=1e-5)
    cold = columns[rows.USERS] == b"cold"
    assert 0 < cold.sum() < len(cold)
    assert found["users=cold"]["example_count"] == cold.sum()
    assert found["users=cold"]["auc"] == pytest.approx(metrics.auc(labels[cold], scores[cold]), abs=1e-12)
    assert sum(values["example_count"] for name, values in found.items() if "device" in name) == len(cold)


def test_served_scores_are_the_model_s_through_transform(runs, trained, test_rows):
    """Raw rows through Transform's own graph and the Keras model, against raw rows through the pushed one."""
    serialized, _, scores = test_rows
    model, _ = trained
    transform = tft.TFTransformOutput(runs["good"].artifacts["Transform"]["transform_graph"])
    raw = tf.io.parse_example(serialized, transform.raw_feature_spec())
    encoded = tf.saved_model.load(transform.transform_savedmodel_dir).transform_fn(raw)
    x = {f.name: encoded[f.name] for f in model.schema.target_domain.features}
    x = {name: tf.cast(v, tf.int32) if v.dtype == tf.int64 else v for name, v in x.items()}
    predicted = model.predict({"films": x}, verbose=0)["films"][:, 0]
    assert np.ptp(scores) > 0.1
    np.testing.assert_allclose(scores, predicted, atol=1e-6)
    assert str(verify(runs["good"].pushed, model=model, encoder=trained[1]))


def test_transform_counts_what_the_encoder_counts(runs, trained):
    """The same ids in the order of their counts, in tables that domains and histories share; the same moments."""
    prepared = data.prepare(runs["made"].schema, runs["made"].sources)
    ours, theirs = prepared.encoder, trained[1]
    counts = {table: {} for table in ours.vocabularies}
    for domain in ours.schema.domains:
        frame = prepared.frame(domain.name, "train")
        for feature in (f for f in domain.features if f.table in counts):
            tokens = frame[feature.column]
            for token in tokens.explode().dropna() if feature.kind == "ids" else tokens:
                counts[feature.table][token] = counts[feature.table].get(token, 0) + 1
    for table, tokens in ours.vocabularies.items():
        assert len(tokens) and set(tokens) == set(theirs.vocabularies[table]), table
        order = [counts[table][token] for token in theirs.vocabularies[table]]
        assert order == sorted(order, reverse=True), table
    assert min(counts["book"].values()) < RARE <= max(counts["book"].values()), (
        "no book is too rare: `min_count` is not tested"
    )
    for domain, numbers in ours.numbers.items():
        for name, pair in numbers.items():
            assert theirs.numbers[domain][name] == pytest.approx(pair, rel=1e-12), name
    assert ours.schema.with_means({}) == theirs.schema.with_means({})


def test_training_saw_what_the_encoder_gives(runs, trained):
    """Transform's examples hold, row by row, the encoder's arrays of the raw examples."""
    _, encoder = trained
    good = runs["good"]
    transform = tft.TFTransformOutput(good.artifacts["Transform"]["transform_graph"])
    spec = transform.transformed_feature_spec()
    files = tf.io.gfile.glob(good.artifacts["Transform"]["transformed_examples"] + "/Split-films_valid/*")
    target = encoder.schema.target_domain
    read = rows.read(rows.packed(files, spec, target), target)
    folder = good.artifacts["ExampleGen"]["examples"] + "/Split-films_valid"
    expected = encoder.encode("films", raw_frame(folder, encoder.schema, 10_000))
    learnt = [values for of_domain in encoder.numbers.values() for values in of_domain.values()]
    assert len(rows.numbers(files, spec[NUMBERS])) == sum(map(len, learnt))
    for feature in encoder.schema.target_domain.features:
        np.testing.assert_array_equal(read.x[feature.name], expected[feature.name], err_msg=feature.name)


def transformed(runs) -> list[str]:
    """The patterns of the transformed examples, as a Trainer gets them."""
    folder = runs["good"].artifacts["Transform"]["transformed_examples"]
    return [f"{folder}/Split-{split}/*" for split in ("books_train", "films_train", "films_valid")]


def told(part) -> list[bytes]:
    """Rows, to be compared in any order."""
    user = np.array([key.encode("latin-1") if isinstance(key, str) else key for key in part.user])
    weight = np.ones(len(part)) if part.weight is None else part.weight
    ids, numbers = part.packed
    columns = (ids, numbers, part.y, weight, user)
    return sorted(b" ".join(column[n].tobytes() for column in columns) for n in range(len(part)))


def test_rows_in_a_folder_are_those_in_memory(runs, trained, tmp_path, monkeypatch):
    transform = tft.TFTransformOutput(runs["good"].artifacts["Transform"]["transform_graph"])
    given = small_schema(), transformed(runs), transform
    memory = trainer.TransformedRows(*given, tmp_path / "rows")
    assert memory.held and "held in memory" in str(memory) and not (tmp_path / "rows").exists()
    monkeypatch.setattr(stored, "HELD_BYTES", 0)
    monkeypatch.setattr("cdrzoo.data.rows.format.SHARD_ROWS", 300)
    monkeypatch.setattr("cdrzoo.data.rows.format.GROUP_ROWS", 64)
    folder = trainer.TransformedRows(*given, tmp_path / "rows")
    assert not folder.held and folder.size == memory.size and folder.schema == memory.schema
    for domain, parts in memory.parts.items():
        for name, part in parts.items():
            of_folder = folder.parts[domain][name]
            assert len(of_folder.rows.shards) == -(-len(part) // 300) and len(of_folder.groups) > 1
            assert told(of_folder.load()) == told(part), (domain, name)
            assert (np.diff(of_folder.column("row")) < 0).any()  # they lie in another order
    found, wanted = (trainer._measured(trained[0], each) for each in (folder, memory))
    assert found == pytest.approx(wanted, rel=1e-6)
    before = (tmp_path / "rows" / "rows.json").stat().st_mtime_ns
    assert str(trainer.TransformedRows(*given, tmp_path / "rows")) == str(folder)
    assert (tmp_path / "rows" / "rows.json").stat().st_mtime_ns == before, "written a second time"


def test_the_pushed_graph_is_the_target_s_alone(runs, trained):
    loaded = tf.saved_model.load(runs["good"].pushed)
    inputs = loaded.signatures["serving_default"].structured_input_signature[1]
    assert set(inputs) == {f.name for f in small_schema().target_domain.inputs()}
    card = json.loads(pathlib.Path(runs["good"].pushed, "assets.extra", "model_card.json").read_text())
    size = card["size"]
    assert size["exported_variables"] < size["model_variables"], (
        "nothing that only training reads was left out"
    )
    saved = dict(tf.train.list_variables(runs["good"].pushed + "/variables/variables"))
    saved = [shape for name, shape in saved.items() if name.endswith("VARIABLE_VALUE")]
    assert sorted(saved) == sorted(entry["shape"] for entry in card["variables"].values())


def test_a_version_is_whole(runs):
    folder = pathlib.Path(runs["good"].pushed)
    assert folder.name == "1" and folder.parent == runs["folder"] / "saved_models" / "films"
    for name in ("tf_serving_warmup_requests", "replay.jsonl", "model_card.md", "pushed.json"):
        assert (folder / "assets.extra" / name).stat().st_size, name
    assert (folder / "saved_model.pb").exists()


def test_a_worse_model_is_neither_blessed_nor_pushed(runs):
    bad = runs["bad"]
    assert not bad.blessed and bad.pushed is None
    overall = bad.metrics["overall"]
    assert overall["auc_diff"] < -0.001
    assert [path.name for path in (runs["folder"] / "saved_models" / "films").iterdir()] == ["1"]


def test_what_did_not_change_came_from_the_cache(runs):
    states = {name: state for name, (state, _) in runs["bad"].nodes.items()}
    assert {states[name] for name in [*UPSTREAM, "Trainer.mem"]} == {"cached"}
    assert {states[name] for name in ("Trainer.mkt", "Evaluator", "Pusher")} == {"complete"}


def test_a_stopped_training_goes_on(runs):
    """Stopped when the first epoch was written; the next run did the second one alone."""
    assert runs["epochs"] == [0, 1]
    folder = pathlib.Path(runs["bad"].artifacts["Trainer.mkt"]["model_run"])
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 2
    assert not list((runs["folder"] / "pipeline" / "training" / "films-mkt").iterdir())


def test_an_anomaly_stops_the_run_and_is_named(runs):
    assert "films_train, device" in runs["anomaly"] and "television" in runs["anomaly"]
    assert "books_train" not in runs["anomaly"]


def test_the_blessed_model_scored_the_rows(runs, test_rows):
    from tensorflow_serving.apis import prediction_log_pb2

    folder = runs["good"].artifacts["BulkInferrer"]["inference_result"]
    files = [str(path) for path in pathlib.Path(folder).rglob("*.gz")]
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(files, "GZIP")
    ]
    scores = [log.predict_log.response.outputs["click"].float_val[0] for log in logs]
    np.testing.assert_allclose(sorted(scores), sorted(test_rows[2]), atol=1e-6)


def artifact(kind, folder, **properties):
    made = kind()
    made.uri = str(folder)
    for name, value in properties.items():
        made.set_int_custom_property(name, value)
    return made


def ask_infra(runs, model):
    good = runs["good"]
    examples = artifact(standard_artifacts.Examples, good.artifacts["ExampleGen"]["examples"])
    examples.split_names = json.dumps(list(runs["config"].splits))
    blessing = artifact(standard_artifacts.InfraBlessing, runs["folder"] / "blessing")
    components.InfraValidator.test_call(
        model=artifact(standard_artifacts.Model, model),
        examples=examples,
        schema=json.dumps(runs["config"].schema.to_dict()),
        requests=16,
        code="",
        blessing=blessing,
    )
    return blessing


def test_a_model_that_a_server_cannot_load_is_not_blessed(runs, tmp_path, capsys):
    model = runs["good"].artifacts["Trainer.mkt"]["model"]
    assert ask_infra(runs, model).get_int_custom_property("blessed") == 1
    shutil.copytree(model, tmp_path / "model")
    shutil.rmtree(pathlib.Path(path_utils.serving_model_path(str(tmp_path / "model")), "variables"))
    assert ask_infra(runs, tmp_path / "model").get_int_custom_property("blessed") == 0
    assert "cannot be served" in capsys.readouterr().out


def ask_drift(runs, folder, thresholds, run="good"):
    """Whether the test rows lie within the thresholds, and what was found."""
    good = runs["good"]
    examples = artifact(standard_artifacts.Examples, good.artifacts["ExampleGen"]["examples"])
    examples.split_names = json.dumps(list(runs["config"].splits))
    blessing = artifact(standard_artifacts.InfraBlessing, folder)
    drift.Drift.test_call(
        examples=examples,
        model=artifact(standard_artifacts.Model, folder),
        model_run=artifact(standard_artifacts.ModelRun, runs[run].artifacts["Trainer.mkt"]["model_run"]),
        evaluation=artifact(standard_artifacts.ModelEvaluation, good.artifacts["Evaluator"]["evaluation"]),
        schema=json.dumps(runs["config"].schema.to_dict()),
        settings=json.dumps({"thresholds": thresholds, "age": 5}),
        code="",
        blessing=blessing,
    )
    return blessing.get_int_custom_property("blessed"), json.loads((folder / "drift.json").read_text())


def test_test_rows_beyond_a_threshold_hold_the_push_back(runs, trained, test_rows, tmp_path, capsys):
    blessed, found = ask_drift(runs, tmp_path, {"unknown": 1, "divergence": 1, "age": 6, "worse_by": 1})
    overall, films = runs["good"].metrics["overall"], found["domains"]["films"]
    assert blessed == 1 and films["rows"] == overall["example_count"]
    assert films["label"][1] == pytest.approx(test_rows[1][rows.LABEL].mean())
    assert found["scores"]["auc"][1] == overall["auc"] != found["scores"]["auc"][0] > 0
    assert found["scores"]["calibration"][1] == overall["calibration"]
    target = trained[1].schema.target_domain
    raw = cdrzoo.export.parse_examples(test_rows[0], [target.feature("item")])
    items = np.array([item.decode() for item in raw["item"].numpy()], object)
    unknown = trained[1].encode("films", {"item": items}, ["item"])["item"] == 1
    assert films["features"]["item"]["unknown"][1] == pytest.approx(unknown.mean())
    assert films["features"]["item"]["new"] == len(set(items[unknown]))
    capsys.readouterr()
    blessed, found = ask_drift(runs, tmp_path, {"divergence": 1e-9, "age": 4})
    assert blessed == 0 and "OVER age: 5.0000 > 4" in (said := capsys.readouterr().out)
    assert "OVER divergence of films.minutes" in said
    _, stored_rows = ask_drift(runs, tmp_path, {}, "bad")
    assert stored_rows["domains"] == found["domains"], "its training rows were not held in memory"


def push(folder, tmp_path, blessed=1, infra=1, model="model", drift=1):
    (tmp_path / model / "Format-Serving").mkdir(parents=True, exist_ok=True)
    (tmp_path / model / "Format-Serving" / "saved_model.pb").write_text(model)
    pushed = artifact(standard_artifacts.PushedModel, tmp_path / f"pushed-{len(list(tmp_path.iterdir()))}")
    components.Pusher.test_call(
        model=artifact(standard_artifacts.Model, tmp_path / model),
        blessing=artifact(standard_artifacts.ModelBlessing, tmp_path, blessed=blessed),
        infra_blessing=artifact(standard_artifacts.InfraBlessing, tmp_path, blessed=infra),
        drift_blessing=artifact(standard_artifacts.InfraBlessing, tmp_path, blessed=drift),
        folder=str(folder),
        run="",
        code="",
        pushed_model=pushed,
    )
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_pusher_pushes_whole_versions_of_blessed_models_once(tmp_path, capsys):
    folder = tmp_path / "served"
    for judge in ("blessed", "infra", "drift"):
        assert push(folder, tmp_path, **{judge: 0}) == []
    assert push(folder, tmp_path) == ["1"]
    assert push(folder, tmp_path) == ["1"], "the same model twice"
    (folder / ".push-left").mkdir()
    assert push(folder, tmp_path, model="other") == ["1", "2"]
    assert (folder / "2" / "saved_model.pb").read_text() == "other"
    assert push(folder, tmp_path) == ["1", "2", "3"], "back to the first model"


@pytest.mark.parametrize("model", ["dnn", "mkt"])
def test_a_pipeline_compiles_for_the_cluster(tmp_path, model):
    """Every node stands in the definition, with the image, and no path of this machine."""
    pytest.importorskip("kfp", reason="compiling needs the extra `kubeflow`")
    remote = {name: f"gs://bucket/{name}" for name in ("root", "push", "examples")}
    given = {"schema": small_schema().to_dict(), "model": model, "pipeline": {"name": "films", **remote}}
    runners.compile(PipelineConfig.from_dict(given, tmp_path), "registry/image", tmp_path / "vertex.json")
    text = (tmp_path / "vertex.json").read_text()
    spec = json.loads(text)["pipelineSpec"]
    trainers = {"dnn": ["Trainer.dnn"], "mkt": ["Trainer.mem", "Trainer.mkt"]}[model]
    assert {*UPSTREAM, *trainers, "Evaluator", "InfraValidator", "Pusher"} <= set(
        spec["root"]["dag"]["tasks"]
    )
    assert "registry/image" in text and "gs://bucket/examples" in text and str(tmp_path) not in text
