"""Several labels from the logs to batches: missing ones weigh nothing, in memory and by partition alike."""

from __future__ import annotations

import numpy as np
import pytest

from cdrzoo.data import load_rows, prepare
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.data.rows.plan import Settings
from cdrzoo.errors import DataError, SchemaError
from cdrzoo.schema import Domain, Feature, Label, Schema, Table
from tests.labelled import LABELS, log, schema

SPLIT = {"by": "days", "valid": 2, "test": 3}


def frames(rows=500):
    return {name: log(rows, seed) for seed, name in enumerate(("books", "films"))}


def test_labels_are_what_the_log_says_and_a_purchase_without_a_click_is_none():
    data = frames()
    data["films"].loc[data["films"]["clicked"] == 0, "spent"] = np.nan  # what cannot be is known to be 0
    made = prepare(schema(), data, split=SPLIT)
    for part, rows in made.parts["films"].items():
        raw = data["films"].iloc[made.split.parts["films"][part]]
        np.testing.assert_array_equal(rows.y[:, 0], raw["clicked"])
        wanted = np.where(raw["clicked"] == 0, 0, np.where(raw["spent"].isna(), np.nan, raw["spent"] >= 10))
        np.testing.assert_array_equal(rows.labels["conversion"], wanted)
        assert 0 < np.isnan(wanted).sum() < (raw["clicked"] == 1).sum()
    train = made.parts["films"]["train"]
    conversion = made.schema.domain("films").outputs["films.conversion"]
    assert conversion.mean == pytest.approx(np.nanmean(train.labels["conversion"]))
    assert made.schema.domain("films").mean == pytest.approx(train.y.mean())
    assert made.frame("films", "test")["spent"].isna().any()


def test_batches_hold_every_output_and_what_is_missing_weighs_nothing():
    made = prepare(schema(), frames(), split=SPLIT)
    for _, y, w in made.train(32):
        assert set(y) == set(w) == {"books", "films", "films.conversion"}
        assert all(y[key].shape == (32, 1) and w[key].shape == (32,) for key in y)
    x, y, w = next(iter(made.test(10_000)))
    labels = made.parts["films"]["test"].labels["conversion"]
    np.testing.assert_array_equal(w["films.conversion"], ~np.isnan(labels))
    np.testing.assert_array_equal(y["films.conversion"][:, 0], np.nan_to_num(labels))
    assert (w["films"].numpy() == 1).all() and set(x) == {"films"}


@pytest.mark.parametrize("negatives", [False, True])
def test_rows_prepared_by_partition_are_the_same_and_batches_are_of_either_kind(tmp_path, negatives):
    data = frames(300)
    sources = {}
    for name, frame in data.items():
        frame = frame.assign(clicked=1, spent=frame["spent"].fillna(20)) if negatives else frame
        frame.assign(w=np.arange(len(frame)) % 3).to_parquet(tmp_path / f"{name}.parquet")
        sources[name] = {"path": str(tmp_path / f"{name}.parquet"), "weight": "w"}
        if negatives:
            sources[name] |= {"negatives": {"per_positive": 1}}
    made = prepare(schema(), sources, split=SPLIT)
    rows = prepare_to(tmp_path / "rows", Settings(schema(), sources, SPLIT), partitions=3)
    assert rows.split == made.split.to_dict()
    held, read = (load_rows(tmp_path / "rows", held=each) for each in (True, False))
    assert held.schema == made.schema
    for part, wanted in made.parts["films"].items():
        np.testing.assert_array_equal(
            held.parts["films"][part].labels["conversion"], wanted.labels["conversion"]
        )
    ours, theirs = (next(iter(rows.train(16))) for rows in (made, held))
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    for (_, y, w), (_, wanted, weights) in zip(read.test(64), made.test(64), strict=True):
        for key in y:
            np.testing.assert_array_equal(y[key], wanted[key])
            np.testing.assert_array_equal(w[key], weights[key])
    _, y, w = next(iter(read.train(16)))
    assert set(y) == set(w) == {"books", "films", "films.conversion"} and y["films.conversion"].shape == (
        16,
        1,
    )


def test_a_purchase_without_its_click_is_an_error_with_its_row():
    data = frames()
    row = int(np.flatnonzero(data["films"]["clicked"] == 0)[3])
    data["films"].loc[row, "spent"] = 50
    with pytest.raises(DataError, match=f"'spent', row {row + 1}: 'conversion' is 1 where 'click'"):
        prepare(schema(), data, split=SPLIT)


FEATURES = (Feature("user", "id", "user", table="user"),)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"labels": (Label("click"),)}, "must be two or more"),
        ({"labels": (Label("a"), Label("A"))}, "of different names"),
        ({"labels": (Label("a"), Label("b")), "label": "clicked"}, "`label` or `labels`"),
        ({"labels": (Label("a"), Label("b")), "task": "rating"}, "`task` or `labels`"),
        ({"labels": (Label("a"), Label("b")), "threshold": 4.0}, "`threshold` or `labels`"),
        ({"labels": (Label("a"), Label("b", given="c"))}, "must name an earlier label"),
        ({"labels": (Label("a", given="b"), Label("b"))}, "must name an earlier label"),
        ({"labels": (Label("a", task="rating"), Label("b", given="a"))}, "and both be clicks"),
        ({"labels": (Label("a"), Label("b")), "negatives_kept": 0.1}, "or say `given`"),
        ({"task": "rating", "negatives_kept": 0.1}, "says nothing of 'ratings'"),
        ({"negatives_kept": 0}, "`negatives_kept` of domain 'films' must be"),
    ],
)
def test_what_contradicts_itself_is_said(given, words):
    with pytest.raises(SchemaError, match=words):
        Domain("films", FEATURES, **given)
    with pytest.raises(SchemaError, match="No label can be called 'item'"):
        Label("item")


def test_a_feature_may_not_read_a_further_label():
    made = Schema(
        (
            Domain(
                "films",
                (*FEATURES, Feature("spent", "number", "item")),
                labels=(Label("click"), Label("spent")),
            ),
        ),
        "films",
        (Table("user"),),
    )
    with pytest.raises(DataError, match="reads the label column 'spent'"):
        prepare(made, {"films": log(50, 0).rename(columns={"clicked": "click"})}, split="random")
    assert Schema.from_dict(schema().to_dict()) == schema() and schema().to_dict()["domains"]["films"][
        "labels"
    ] == {
        "click": {"column": "clicked"},
        "conversion": LABELS["conversion"],
    }


def test_the_head_of_a_label_that_is_given_another_starts_at_its_share_among_those():
    labels = (Label("click"), Label("buy", given="click", mean=0.02), Label("stay", mean=0.5))
    one = Domain("films", FEATURES, labels=labels, mean=0.2)
    assert [label.mean for label in one.heads.values()] == pytest.approx([0.2, 0.1, 0.5])
    assert [label.mean for label in one.outputs.values()] == [0.2, 0.02, 0.5]
