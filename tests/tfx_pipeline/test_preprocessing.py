"""Transform learns and encodes every kind of feature as the encoder and the served graph do."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("tfx", reason="the pipeline needs the extra `tfx`, which this environment does not have")

import tensorflow as tf

from cdrzoo.data import prepare
from cdrzoo.export.rows import raw_rows
from tests.data.test_kinds import close, logs, schema
from tfx_pipeline import preprocessing, rows
from tfx_pipeline._tfx import tft

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def transformed(tmp_path_factory):
    """Rows prepared in memory, and by part of a domain what Transform made of their raw examples."""
    import apache_beam as beam
    from tensorflow_transform import beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata

    prepared = prepare(schema(), logs(7), split="random")
    raw = {
        (domain, part): [
            {
                name: list(getattr(value, value.WhichOneof("kind") or "int64_list").value)
                for name, value in one.items()
            }
            for piece in rows.serialized(
                schema(), prepared.logs[domain], prepared.split.parts[domain][part], {}
            )
            for one in (tf.train.Example.FromString(serialized).features.feature for serialized in piece)
        ]
        for domain, part in (("books", "train"), ("films", "train"), ("films", "valid"))
    }
    kinds = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}
    spec = {rows.LABEL: tf.float32, rows.WEIGHT: tf.float32, rows.USER: tf.string, rows.USERS: tf.string}
    for domain in schema().domains:
        spec |= {rows.raw_name(schema(), domain, f): kinds[f.dtype] for f in domain.inputs()}
    feature_spec = {name: tf.io.VarLenFeature(kind) for name, kind in spec.items()}
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(feature_spec)
    config = {"schema": json.dumps(schema().to_dict()), "encoder": ""}  # a first run: Transform learns it

    def run(inputs):
        return preprocessing.preprocessing_fn(inputs, config)

    folder = str(tmp_path_factory.mktemp("transform"))
    with beam.Pipeline() as pipeline, tft_beam.Context(temp_dir=folder + "/temp"):
        trained = raw["books", "train"] + raw["films", "train"]
        trained = [{**dict.fromkeys(spec, []), **one} for one in trained]
        given = (pipeline | "train" >> beam.Create(trained), metadata)
        fn = given | tft_beam.AnalyzeDataset(run)
        _ = fn | tft_beam.WriteTransformFn(folder)
    output = tft.TFTransformOutput(folder)
    layer = output.transform_features_layer()
    found = {}
    for key, examples in raw.items():
        serialized = [_serialized(one, spec) for one in examples]
        found[key] = layer(tf.io.parse_example(serialized, feature_spec))
    return prepared, output, found


def _serialized(values, spec) -> bytes:
    example = tf.train.Example()
    for name, several in values.items():
        field = example.features.feature[name]
        of = {tf.string: field.bytes_list, tf.int64: field.int64_list, tf.float32: field.float_list}
        of[spec[name]].value.extend(several)
    return example.SerializeToString()


def test_transform_learns_what_the_encoder_learns(transformed):
    prepared, output, found = transformed
    numbers = found["films", "valid"][preprocessing.NUMBERS].numpy()[0]
    theirs = preprocessing.encoder(schema(), output, numbers)
    for domain in schema().domains:
        for f in (f for f in domain.features if f.kind == "number"):
            ours = prepared.encoder.numbers[domain.name][f.name]
            exact = f.table is not None
            assert theirs.numbers[domain.name][f.name] == (
                ours if exact else pytest.approx(ours, rel=1e-12)
            ), f
    assert theirs.schema.tables == prepared.encoder.schema.tables


def test_transform_the_encoder_and_the_served_graph_encode_alike(transformed):
    prepared, output, found = transformed
    numbers = found["films", "valid"][preprocessing.NUMBERS].numpy()[0]
    encoder = preprocessing.encoder(schema(), output, numbers)
    for (domain, part), values in found.items():
        frame = prepared.frame(domain, part)
        raw = raw_rows(frame, encoder.schema.domain(domain).inputs())
        served = encoder.graph(domain)({name: tf.constant(column) for name, column in raw.items()})
        for name, array in encoder.encode(domain, frame).items():
            assert values[name].shape[1:] == array.shape[1:], name
            close(values[name].numpy(), array, name)
            close(served[name].numpy(), array, name)
