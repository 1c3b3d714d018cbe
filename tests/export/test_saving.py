"""Exports: what is inside, what they take and give, who can load them, and that a failed one leaves nothing."""

import collections
import dataclasses
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from cdrzoo.data.encoder import Encoder
from cdrzoo.errors import DataError, InputError
from cdrzoo.export import graph, missing_rows, raw_rows, save, serialize_rows
from cdrzoo.export import rows as exported_rows
from cdrzoo.models import DNN
from cdrzoo.schema import Feature
from tests.serving_case import make_encoder, make_frame, make_model, make_schema


@pytest.fixture(scope="module")
def dnn(encoder):
    return make_model(encoder)


def scores_of(model, encoder, frame):
    return np.ravel(model({"films": encoder.encode("films", frame)}, training=False)["films"])


def call(function, inputs):
    tensors = {n: tf.constant(v, tf.string if v.dtype == object else v.dtype) for n, v in inputs.items()}
    return function(**tensors)


def test_raw_inputs_give_the_scores_of_the_keras_model(cctl, encoder, frame):
    model, path = cctl
    served = tf.saved_model.load(str(path)).signatures
    rows = raw_rows(frame, model.serving_features)
    expected = scores_of(model, encoder, frame)
    assert np.ptp(expected) > 0.1  # or the comparison would say nothing
    for output in (
        call(served["serving_default"], rows),
        call(served["serve_examples"], {"examples": serialize_rows(rows, model.serving_features)}),
    ):
        assert list(output) == ["click"] and output["click"].dtype == tf.float32
        np.testing.assert_allclose(output["click"], expected, rtol=0, atol=1e-6)


def test_it_is_called_by_the_name_of_a_signature_and_as_a_layer_of_keras(cctl, encoder, frame):
    model, path = cctl
    rows = raw_rows(frame, model.serving_features)
    tensors = {n: tf.constant(v, tf.string if v.dtype == object else v.dtype) for n, v in rows.items()}
    for served in (
        tf.saved_model.load(str(path)).serving_default,
        keras.layers.TFSMLayer(path, call_endpoint="serving_default"),
    ):
        np.testing.assert_allclose(
            served(tensors)["click"], scores_of(model, encoder, frame), rtol=0, atol=1e-6
        )


def test_inputs_are_named_typed_and_of_the_target(cctl):
    _, path = cctl
    served = tf.saved_model.load(str(path)).signatures
    inputs = served["serving_default"].structured_input_signature[1]
    assert {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in inputs.items()} == {
        "user": ("string", [None]),
        "film": ("string", [None]),
        "age": ("float32", [None]),
        "visits": ("int64", [None]),
        "day": ("int64", [None]),
        "device": ("string", [None]),
        "seen": ("string", [None, None]),
        "read": ("int64", [None, None]),
    }


LOADER = """
import json, sys
sys.modules["cdrzoo"] = sys.modules["keras"] = sys.modules["tf_keras"] = None  # from here on, importing them fails
import numpy as np, tensorflow as tf
path, rows = sys.argv[1], json.load(open(sys.argv[2]))
inputs = {name: np.array(values, object if dtype == "object" else dtype) for name, (dtype, values) in rows.items()}
served = tf.saved_model.load(path).signatures["serving_default"]
eager = served(**{n: tf.constant(v, tf.string if v.dtype == object else v.dtype) for n, v in inputs.items()})["click"]
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    definition = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def["serving_default"]
    graph = session.run(definition.outputs["click"].name, {definition.inputs[n].name: v for n, v in inputs.items()})
imported = [name for name, module in sys.modules.items() if module and name.startswith(("cdrzoo", "keras", "tf_keras"))]
print(json.dumps([eager.numpy().tolist(), graph.tolist(), imported]))
"""


@pytest.mark.slow
def test_it_loads_without_cdrzoo_or_keras_eagerly_and_in_a_graph_session(cctl, encoder, frame, tmp_path):
    model, path = cctl
    rows = raw_rows(frame, model.serving_features)
    (tmp_path / "rows.json").write_text(json.dumps({n: (v.dtype.name, v.tolist()) for n, v in rows.items()}))
    command = [sys.executable, "-c", LOADER, str(path), str(tmp_path / "rows.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, done.stderr
    eager, graph, imported = json.loads(done.stdout.splitlines()[-1])
    assert imported == []
    expected = scores_of(model, encoder, frame)
    np.testing.assert_allclose(eager, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(graph, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_saved_model_cli_runs_it(cctl, encoder, frame, tmp_path):
    model, path = cctl
    some = frame.dropna(subset=["user", "age"]).head(2)
    rows = raw_rows(some, model.serving_features)
    inputs = ";".join(f"{name}={value.tolist()}" for name, value in rows.items())
    tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", str(path)]
    arguments = [
        "--tag_set",
        "serve",
        "--signature_def",
        "serving_default",
        "--input_exprs",
        inputs,
        "--outdir",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*tool, *arguments], cwd=tmp_path, capture_output=True, text=True, env=_environment()
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "click.npy"), scores_of(model, encoder, some), rtol=0, atol=1e-6
    )


def _environment():
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


# What is inside


def test_only_what_the_target_reads_is_inside(cctl):
    model, path = cctl
    variables = tf.train.list_variables(str(path / "variables" / "variables"))
    stored = {name: shape for name, shape in variables if "GRAPH" not in name}
    # Dice's moving statistics too; not how many batches they are of, which is training's.
    pure = [v for v in model.pure.variables if not v.path.endswith("/batches")]
    assert sorted(stored.values()) == sorted(list(variable.shape) for variable in pure)
    assert len(pure) < len(model.variables) / 2
    assert sorted(file.name for file in (path / "assets").iterdir()) == [
        "book.txt",
        "day.txt",
        "film.txt",
        "user.txt",
    ]
    size = json.loads((path / "assets.extra" / "model_card.json").read_text())["size"]
    assert (
        size["exported_parameters"] == sum(int(np.prod(v.shape)) for v in pure) < size["model_parameters"] / 2
    )


def operations(path, signature="serving_default"):
    graph = tf.saved_model.load(str(path)).signatures[signature].graph.as_graph_def()
    assert not any(function.attr["_XlaMustCompile"].b for function in graph.library.function)
    return collections.Counter(
        node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes
    )


def test_the_graph_looks_every_table_up_once_and_draws_nothing(cctl):
    _, path = cctl
    found = operations(path)
    assert found["LookupTableFindV2"] == 4 and found["StringToHashBucketFast"] == 1
    assert found["ResourceGather"] == 5
    assert (
        found["PartitionedCall"] == 0 and found["StatefulPartitionedCall"] == 1
    )  # the signature calls one function
    assert not [op for op in found if re.search("Random|Dropout|Assign|PyFunc|Print|^If$|While", op)]


@pytest.mark.slow
def test_dropout_is_not_inside(encoder, tmp_path):
    path = save(make_model(encoder, dropout=0.5), encoder, tmp_path)
    assert not [op for op in operations(path) if "Random" in op]


@pytest.mark.exhaustive
def test_parts_that_xla_must_compile_are_traced_plainly(encoder, frame, tmp_path):
    class Compiled(DNN):
        def serve(self, features):
            return tf.function(super().serve, jit_compile=True)(features)

    model = make_model(encoder, Compiled)
    path = save(model, encoder, tmp_path, examples=frame)
    operations(path)
    assert not tf.config.functions_run_eagerly()

    class Python(DNN):
        def serve(self, features):
            return tf.numpy_function(lambda x: x, [super().serve(features)], tf.float32)

    with pytest.raises(InputError, match="calls Python"):
        save(make_model(encoder, Python), encoder, tmp_path)


@pytest.mark.slow
def test_mixed_precision_gives_float32(encoder, frame, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_model(encoder)
    path = save(model, encoder, tmp_path, examples=frame)
    output = call(
        tf.saved_model.load(str(path)).signatures["serving_default"], raw_rows(frame, model.serving_features)
    )
    assert output["click"].dtype == tf.float32
    np.testing.assert_allclose(output["click"], scores_of(model, encoder, frame), atol=0.02)


@pytest.mark.slow
def test_ratings_are_called_so(frame, tmp_path):
    encoder = make_encoder("rating")
    model = make_model(encoder)
    path = save(model, encoder, tmp_path)
    output = call(
        tf.saved_model.load(str(path)).signatures["serving_default"], raw_rows(frame, model.serving_features)
    )
    np.testing.assert_allclose(output["rating"], scores_of(model, encoder, frame), rtol=1e-5, atol=1e-5)


@pytest.mark.exhaustive
def test_training_goes_on_after_an_export(encoder, frame, tmp_path):
    model = make_model(encoder)
    save(model, encoder, tmp_path)
    batch = ({"films": encoder.encode("films", frame)}, {"films": np.ones((len(frame), 1), "float32")})
    before = scores_of(model, encoder, frame)
    model.train_on_batch(*batch)
    assert np.abs(scores_of(model, encoder, frame) - before).max() > 0
    assert save(model, encoder, tmp_path).name == "2"


# What goes along


def test_the_model_card(cctl):
    _, path = cctl
    card = json.loads((path / "assets.extra" / "model_card.json").read_text())
    assert (
        card["model"] == "CCTL"
        and card["split"]["hash"] == "abc123"
        and card["metrics"]["test"]["auc"] == 0.75
    )
    seen = {"dtype": "string", "shape": "[batch, any length]", "missing": "", "newest_steps_read": 4}
    assert card["inputs"]["seen"] == seen
    assert card["limits"] == "None." and "probability of a click" in card["intended_use"]
    assert card["libraries"]["keras"] == keras.__version__ and card["schema"]["target"] == "films"
    text = (path / "assets.extra" / "model_card.md").read_text()
    assert text.startswith("# CCTL") and "abc123" in text and "auc: 0.75" in text


def test_the_recorded_rows_are_those_given(cctl, encoder, frame):
    model, path = cctl
    lines = [json.loads(line) for line in (path / "assets.extra" / "replay.jsonl").read_text().splitlines()]
    assert len(lines) == len(frame)
    np.testing.assert_array_equal(
        np.float32([line["score"] for line in lines]), scores_of(model, encoder, frame)
    )
    again = pd.DataFrame([line["features"] for line in lines], dtype=object).rename(
        columns={"film": "film id"}
    )
    expected, got = raw_rows(frame, model.serving_features), raw_rows(again, model.serving_features)
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])


def prediction_logs(path):
    """Parses the warm-up file by descriptors after tensorflow/serving's prediction_log.proto and predict.proto.

    Tensors stay bytes, which look the same on the wire: old protobuf would make TensorFlow's message classes anew.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="warm_up.proto", package="serving", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(parent, called, **fields):
        made = parent.add(name=called)
        for key, (number, kind, repeated) in fields.items():
            plain = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES}.get(kind)
            made.field.add(
                name=key,
                number=number,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
                type=plain or field.TYPE_MESSAGE,
                type_name=None if plain else kind,
            )
        return made

    message(file.message_type, "ModelSpec", name=(1, "string", False), signature_name=(3, "string", False))
    request = message(
        file.message_type,
        "PredictRequest",
        model_spec=(1, ".serving.ModelSpec", False),
        inputs=(2, ".serving.PredictRequest.InputsEntry", True),
    )
    entry = message(request.nested_type, "InputsEntry", key=(1, "string", False), value=(2, "bytes", False))
    entry.options.map_entry = True
    message(file.message_type, "PredictLog", request=(1, ".serving.PredictRequest", False))
    message(file.message_type, "PredictionLog", predict_log=(6, ".serving.PredictLog", False))
    pool = descriptor_pool.Default()
    try:
        found = pool.FindMessageTypeByName("serving.PredictionLog")
    except KeyError:
        pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
        found = pool.FindMessageTypeByName("serving.PredictionLog")
    make = getattr(message_factory, "GetMessageClass", None)
    log = make(found) if make else message_factory.MessageFactory(pool).GetPrototype(found)
    return [log.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]


def array(tensor):
    return tf.make_ndarray(tensor_pb2.TensorProto.FromString(tensor))


def test_warm_up_requests_are_requests_of_every_signature(cctl, encoder, frame):
    model, path = cctl
    served = tf.saved_model.load(str(path)).signatures
    expected = scores_of(model, encoder, frame)
    sizes = []
    for log in prediction_logs(path / "assets.extra" / "tf_serving_warmup_requests"):
        request = log.predict_log.request
        assert request.model_spec.name == "films"
        inputs = {name: array(tensor) for name, tensor in request.inputs.items()}
        output = call(served[request.model_spec.signature_name], inputs)["click"]
        if request.model_spec.signature_name != "rank":  # which scores other pairs of user and item
            np.testing.assert_allclose(output, expected[: len(output)], rtol=0, atol=1e-6)
        sizes.append((request.model_spec.signature_name, len(output)))
    names = ("serving_default", "serve_examples", "rank")
    assert sizes == [(name, size) for size in (1, 16, 40) for name in names]


def test_warm_up_requests_as_the_serving_package_reads_them(cctl):
    log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    _, path = cctl
    record = next(iter(tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests"))))
    request = log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    assert request.model_spec.signature_name == "serving_default" and "user" in request.inputs


@pytest.mark.slow
def test_without_examples_the_warm_up_is_a_row_of_missing_values(dnn, encoder, tmp_path):
    path = save(dnn, encoder, tmp_path)
    logs = prediction_logs(path / "assets.extra" / "tf_serving_warmup_requests")
    assert len(logs) == 3 and not (path / "assets.extra" / "replay.jsonl").exists()
    assert array(logs[0].predict_log.request.inputs["user"]).tolist() == [b""]


# Ranking


def test_rank_by_hand(cctl, encoder, frame):
    """One user's features once, candidates' once each: the order and the scores of rows written out."""
    model, path = cctl
    rank = tf.saved_model.load(str(path)).signatures["rank"]
    films = ["f3", "no such film", "f1", "f3", ""]
    user = frame.iloc[[5]]
    rows = pd.concat([user] * len(films)).assign(**{"film id": films})
    expected = scores_of(model, encoder, rows)
    request = {
        **raw_rows(user, model.serving_features),
        "film": np.array(films, object),
        "k": np.array(4, np.int32),
    }
    output = call(rank, request)
    order = np.argsort(-expected, kind="stable")[:4]
    assert output["index"].numpy().tolist() == order.tolist()
    assert [item.decode() for item in output["item"].numpy()] == [films[i] for i in order]
    np.testing.assert_allclose(output["click"], expected[order], rtol=0, atol=1e-6)
    places = output["index"].numpy().tolist()
    assert places.index(0) + 1 == places.index(3)  # a tie: the earlier candidate first
    assert call(rank, request | {"k": np.array(99, np.int32)})["index"].shape == (5,)
    nobody = request | {"film": np.array([], object)}
    assert call(rank, nobody)["index"].shape == (0,)
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(rank, request | {"k": np.array(-1, np.int32)})


def test_a_schema_without_items_has_nothing_to_rank(frame, tmp_path):
    schema = make_schema()
    films = schema.target_domain
    films = dataclasses.replace(
        films, features=tuple(f for f in films.features if f.role != "item"), item=None
    )
    books = [f for f in schema.domain("books").features if f.role != "history"]
    schema = dataclasses.replace(
        schema,
        tables=tuple(t for t in schema.tables if t.name != "film"),
        domains=(
            dataclasses.replace(schema.domain("books"), features=tuple(books)),
            dataclasses.replace(films, features=tuple(f for f in films.features if f.table != "film")),
        ),
    )
    encoder = Encoder(schema).adapt({name: make_frame(name, 50) for name in ("books", "films")})
    path = save(make_model(encoder), encoder, tmp_path, examples=frame)
    assert "rank" not in tf.saved_model.load(str(path)).signatures


# Rows


FEATURES = (
    Feature("user", "id", "user", table="user"),
    Feature("age", "number", "user"),
    Feature("day", "id", "context", dtype="int64", table="day"),
    Feature("seen", "ids", "history", table="film", length=2, of="films"),
)


def test_raw_rows_by_hand():
    frame = pd.DataFrame(
        {
            "user": ["ü1", None, 7],
            "age": [1.5, None, np.nan],
            "day": [3, None, 0],
            "seen": [["a", None, "b"], None, np.array([], object)],
        },
        dtype=object,
    )
    rows = raw_rows(frame, FEATURES)
    assert rows["user"].tolist() == ["ü1", "", "7"]
    assert rows["age"].dtype == np.float32 and np.isnan(rows["age"]).tolist() == [False, True, True]
    assert rows["day"].dtype == np.int64 and rows["day"].tolist() == [3, -1, 0]
    assert rows["seen"].tolist() == [["a", "", "b"], ["", "", ""], ["", "", ""]]

    first, second, third = (
        tf.train.Example.FromString(row).features.feature for row in serialize_rows(rows, FEATURES)
    )
    assert first["user"].bytes_list.value == ["ü1".encode()] and first["seen"].bytes_list.value == [
        b"a",
        b"",
        b"b",
    ]
    assert not second.keys()  # what is missing altogether is left out
    assert sorted(third.keys()) == ["day", "user"]
    assert missing_rows(FEATURES)["seen"].shape == (1, 1)
    with pytest.raises(DataError, match="lack column 'day'"):
        raw_rows(frame.drop(columns="day"), FEATURES)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("user", [17.0, None]),  # what pandas makes of whole numbers with a gap
        ("user", [np.float32(17), "a"]),
        ("user", [True, "a"]),
        ("user", [np.bool_(True), "a"]),
        ("seen", [[17.0, 18.0], None]),
        ("seen", [17.0, ["a"]]),
    ],
)
def test_a_number_that_is_not_whole_is_no_id(column, values):
    frame = pd.DataFrame({"user": ["a", "b"], "age": 1.0, "day": [17.0, None], "seen": [["a"], ["b"]]})
    assert raw_rows(frame, FEATURES)["day"].tolist() == [17, -1]  # the feature says what these are
    frame[column] = pd.Series(values)
    with pytest.raises(DataError, match=f"Column '{column}' holds something else.*(17.0|True|float)"):
        raw_rows(frame, FEATURES)


def test_whole_numbers_bytes_and_every_kind_of_nothing_are_ids():
    frame = pd.DataFrame({"user": pd.array([17, None], "Int64"), "age": 1.0, "day": [3, 4]})
    frame["seen"] = [[b"b", np.int64(7), pd.NA, np.nan], pd.NA]
    rows = raw_rows(frame, FEATURES)
    assert rows["user"].tolist() == ["17", ""]
    assert rows["seen"].tolist() == [["b", "7", "", ""], [""] * 4]


@pytest.mark.slow
def test_examples_may_lack_features_or_hold_empty_ones(dnn, encoder, tmp_path):
    served = tf.saved_model.load(str(save(dnn, encoder, tmp_path))).signatures
    nothing = missing_rows(dnn.serving_features)
    expected = call(served["serving_default"], nothing)["click"].numpy()[0]
    absent, empty = tf.train.Example(), tf.train.Example()
    for name in ("user", "film", "device", "seen"):
        empty.features.feature[name].bytes_list.SetInParent()
    for name in ("visits", "day", "read"):
        empty.features.feature[name].int64_list.SetInParent()
    empty.features.feature["age"].float_list.SetInParent()
    empty.features.feature["label"].float_list.value.append(
        1.0
    )  # what the graph does not read does not matter
    for rows in ([absent], [empty], [empty, absent]):
        serialized = tf.constant([row.SerializeToString() for row in rows])
        np.testing.assert_array_equal(
            served["serve_examples"](examples=serialized)["click"], [expected] * len(rows)
        )


# Versions and failures


@pytest.mark.slow
def test_versions_count_up_and_are_never_overwritten(dnn, encoder, tmp_path):
    folder = tmp_path / "films"
    assert save(dnn, encoder, folder) == folder / "1"
    assert save(dnn, encoder, str(folder), version=7) == folder / "7"
    (folder / "notes").mkdir()
    assert save(dnn, encoder, folder) == folder / "8"
    before = (folder / "7" / "saved_model.pb").stat().st_mtime_ns
    with pytest.raises(InputError, match="Version 7 exists"):
        save(dnn, encoder, folder, version=7)
    assert (folder / "7" / "saved_model.pb").stat().st_mtime_ns == before
    assert sorted(path.name for path in folder.iterdir()) == ["1", "7", "8", "notes"]
    for wrong in (-1, 1.0, "3", True, 2**63):
        with pytest.raises(InputError, match="whole number"):
            save(dnn, encoder, folder, version=wrong)


@pytest.mark.slow
def test_another_export_that_was_quicker(dnn, encoder, tmp_path, monkeypatch):
    write = tf.saved_model.save

    def slowly(*args):
        write(*args)
        for name in "12":
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "saved_model.pb").touch()

    monkeypatch.setattr(tf.saved_model, "save", slowly)
    with pytest.raises(InputError, match="Version 2 exists"):
        save(dnn, encoder, tmp_path, version=2)
    assert save(dnn, encoder, tmp_path) == tmp_path / "3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left on device"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize("where", ["begin", "end"])
def test_a_failed_export_leaves_nothing(error, expected, where, dnn, encoder, frame, tmp_path, monkeypatch):
    save(dnn, encoder, tmp_path)
    seen = []

    def fail(*args):
        seen.extend(path.name for path in tmp_path.iterdir() if path.name != "1")
        raise error

    if where == "begin":
        monkeypatch.setattr(tf.saved_model, "save", fail)
    else:
        monkeypatch.setattr(pathlib.Path, "rename", fail)
    with pytest.raises(expected, match="No space left on device" if expected is InputError else None):
        save(dnn, encoder, tmp_path, examples=frame)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert len(seen) == 1 and seen[0].startswith(".")  # which a server does not take for a version


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_reported(dnn, encoder, tmp_path):
    # TensorFlow's own writer meets the limit, in C++, as it would a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(InputError, match="could not be written: .*Nothing was left behind"):
            save(dnn, encoder, tmp_path / "films")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "films").iterdir())


def test_what_does_not_fit_is_refused_before_anything_is_written(dnn, encoder, frame, tmp_path):
    other = make_encoder()
    other.schema = other.schema.with_rows({table.name: 3 for table in other.schema.tables})
    with pytest.raises(InputError, match="encoder is not the model's: table 'user' has 3 rows"):
        save(dnn, other, tmp_path / "films")
    with pytest.raises(InputError, match="no weights yet"):
        save(DNN(encoder.schema.only("films")), encoder, tmp_path / "films")
    with pytest.raises(InputError, match="film id"):
        save(dnn, encoder, tmp_path / "films", examples=frame.drop(columns="film id"))
    assert not (tmp_path / "films").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"):
        save(dnn, encoder, tmp_path / "file")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"encoder": None}, ["`encoder` must be the encoder", "data.Encoder.load", "Received: None"]),
        ({"encoder": make_schema()}, ["`encoder` must be the encoder", "Received: Schema"]),
        ({"model": None}, ["`model` must be a trained model", "Received: None"]),
        ({"folder": None}, ["`folder` must be a path", "Received: None"]),
        ({"examples": {"user": ["a"]}}, ["`examples` must be a DataFrame", "Received: dict"]),
    ],
)
def test_an_argument_of_another_kind_is_named(changed, words, dnn, encoder, tmp_path):
    arguments = {"model": dnn, "encoder": encoder, "folder": tmp_path / "new", **changed}
    with pytest.raises(InputError) as caught:
        save(**arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_variable_that_is_read_is_found_by_its_handle(dnn, encoder):
    lookups = encoder.graph("films", [feature.name for feature in dnn.serving_features])
    function = tf.function(lambda raw: dnn.serve(lookups(raw)), autograph=False)
    traced = function.get_concrete_function(exported_rows.signature(dnn.serving_features))
    assert [v.path for v in graph.read_variables([traced], dnn)] == [v.path for v in dnn.trainable_variables]


def test_numbers_of_32_bits_are_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert exported_rows._checked(np.float32(1.5), "float32") == 1.5
        with pytest.raises(ValueError, match="no finite number of float32"):
            exported_rows._checked(np.float32("inf"), "float32")
