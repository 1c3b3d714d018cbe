"""Ids with weights side by side: read, checked, kept in step, and pooled to their weighted mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import Encoder, prepare
from cdrzoo.errors import DataError, SchemaError
from cdrzoo.export.rows import raw_rows
from cdrzoo.schema import Domain, Feature, Schema, Table

TAGS = Feature("tags", "ids", "item", table="tag", length=2, weights="shares")


def schema(tags: Feature = TAGS) -> Schema:
    return Schema((Domain("films", (tags,)),), "films", (Table("tag", 4),))


def frame(tags=None, shares=None) -> pd.DataFrame:
    tags = [["a", "b", "", "c"], None, ["b"], ["a", "a"]] if tags is None else tags
    return pd.DataFrame({"tags": tags, "shares": shares or [[1, 2, 9, 4], None, [0], [0.5, 0.25]]})


def test_weights_stand_where_their_ids_do_and_are_pooled_to_the_weighted_mean():
    from cdrzoo.layers import FeatureEmbedding
    from cdrzoo.layers.fields import FieldVectors

    encoder = Encoder(schema()).adapt({"films": frame()})
    rows = encoder.encode("films", frame())
    assert rows["tags"].tolist() == [[3, 4], [0, 0], [3, 0], [2, 2]]
    assert rows["tags_weights"].tolist() == [[2, 4], [0, 0], [0, 0], [0.5, 0.25]]
    embedding = FeatureEmbedding(encoder.schema)
    embedded = embedding({"films": rows})["films"]
    assert set(embedded) == {"tags"}
    found = FieldVectors(encoder.schema, "films")(rows, embedded)
    _, _, a, b, c = np.asarray(embedding.table("tag"))
    np.testing.assert_allclose(found["tags"], [(2 * b + 4 * c) / 6, 0 * a, 0 * a, a], atol=1e-6)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "tfrecord"])
def test_weights_are_read_from_every_format(tmp_path, ending):
    path, random = tmp_path / f"films.{ending}", np.random.default_rng(0)
    tags = [random.choice(["a", "b", "c"], size).tolist() or None for size in random.integers(0, 4, 40)]
    whole = frame(tags, [None if row is None else random.random(len(row)).tolist() for row in tags])
    whole["label"] = [0, 1] * 20
    if ending == "csv":
        lists = {c: ["|".join(map(str, row or [])) for row in whole[c]] for c in ("tags", "shares")}
        whole.assign(**lists).to_csv(path, index=False)
    elif ending == "jsonl":
        whole.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        whole.to_parquet(path)
    else:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in whole.to_dict("records"):
                example = tf.train.Example()
                of = example.features.feature
                of["tags"].bytes_list.value.extend(tag.encode() for tag in row["tags"] or [])
                of["shares"].float_list.value.extend(row["shares"] or [])
                of["label"].int64_list.value.append(row["label"])
                writer.write(example.SerializeToString())
    made, rows = (prepare(schema(), {"films": each}, split="random") for each in (str(path), whole))
    for name, values in rows.parts["films"]["train"].x.items():
        np.testing.assert_array_equal(made.parts["films"]["train"].x[name], values)


WRONG = [
    ([[1, 2, 9], None, [0], [0.5, 0.25]], "row 1.*Received: 3 for 4 ids"),
    ([[1, 2, 9, 4], None, [-1], [0.5, 0.25]], "row 3.*at least 0 for each id of 'tags'. Received: .?-1"),
    ([[1, 2, 9, 4], None, [0], [0.5, float("nan")]], "row 4.*Received: .*nan"),
]


@pytest.mark.parametrize(("shares", "message"), WRONG)
def test_weights_that_are_none_are_said_with_their_row(tmp_path, shares, message):
    wrong = frame(shares=shares).assign(label=1)
    with pytest.raises(DataError, match=message):
        Encoder(schema()).adapt({"films": wrong})
    with pytest.raises(DataError, match=message):
        raw_rows(wrong, schema().target_domain.inputs())
    wrong.to_parquet(tmp_path / "films.parquet")
    with pytest.raises(DataError, match=message):
        prepare(schema(), {"films": str(tmp_path / "films.parquet")}, split="random")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "id", "length": None}, "Only ids that are no history have `weights`"),
        ({"role": "history", "of": "films"}, "Only ids that are no history"),
        ({"weights": 3}, "`weights` of feature 'tags' must be text"),
        ({"kind": "weights", "weights": None}, "must be one of id, ids, number, vector"),
    ],
)
def test_what_weights_may_not_be_is_said(given, message):
    with pytest.raises(SchemaError, match=message):
        schema(
            Feature(
                **{
                    "name": "tags",
                    "kind": "ids",
                    "role": "item",
                    "table": "tag",
                    "length": 2,
                    "weights": "w",
                    **given,
                }
            )
        )


def test_a_name_that_weights_take_is_said():
    other = Feature("tags_weights", "number", "item")
    with pytest.raises(SchemaError, match="lists 'tags_weights' more than once"):
        Domain("films", (TAGS, other))
