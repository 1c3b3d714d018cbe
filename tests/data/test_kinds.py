"""Every kind of feature encodes alike in memory, by partitions and in the served graph, whatever the values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import Encoder, Settings, load_rows, prepare, prepare_to, request_rows
from cdrzoo.errors import DataError, SchemaError
from cdrzoo.schema import Domain, Feature, Schema, Table

NUMBERS = (
    Feature("plain", "number", "item"),
    Feature("logged", "number", "item", transform=[{"clip": [0, None]}, "log1p"], flag=True),
    Feature("clipped", "number", "item", "int64", transform={"clip": [-5, 100]}),
    Feature("hour", "number", "context", "int64", transform={"cyclic": 24}, flag=True),
    Feature("ranked", "number", "item", table="ranks"),
    Feature("ruled", "number", "item", "int64", table="widths"),
)
TIMES = (
    Feature("of_day", "id", "context", table="of_day", derive="hour"),
    Feature("of_week", "number", "context", transform={"cyclic": 7}, derive="weekday"),
    Feature("idle", "number", "user", transform="log1p", flag=True, derive="recency"),
    Feature("read", "number", "user", table="read", derive="recency", of="books"),
)
VECTORS = (
    Feature("text", "vector", "item", table="text", size=3),
    Feature("taste", "vector", "user", table="text", size=3, derive="mean", of="books", length=3),
)
HISTORY = (Feature("was", "ids", "history", "int64", table="genre", of="books", field="genre", length=4),)
"""Of the events that `read` and `taste` are made of."""
SETS = (Feature("tags", "ids", "item", table="tag", length=3, weights="shares"),)
CROSS = (
    Feature("pair", "id", "context", table="pair", cross=["user", "of_day"]),
    Feature("match", "id", "item", table="pair", cross=["genre", "user"]),
)
TABLES = (
    *(Table("of_day", 4), Table("read", 4, buckets=4), Table("text", 4), Table("pair", 4, hash_buckets=50)),
    Table("user", 4),
    Table("genre", 4),
    Table("tag", 4),
    Table("ranks", 4, buckets=7),
    Table("widths", 4, buckets=5, by="width"),
)


def schema(*more: Feature, tables: tuple[Table, ...] = ()) -> Schema:
    ids = (
        Feature("user", "id", "user", table="user"),
        Feature("genre", "id", "item", "int64", table="genre"),
    )
    features = (*ids, *NUMBERS, *TIMES, *VECTORS, *HISTORY, *SETS, *CROSS, *more)
    domains = tuple(Domain(name, features, time="time") for name in ("books", "films"))
    return Schema(domains, "films", (*TABLES, *tables))


def numbers(random: np.random.Generator, rows: int) -> dict[str, Any]:
    """Any finite float32 or int64, ties, and missing ones."""

    def floats() -> np.ndarray:
        size = 10.0 ** random.uniform(-30, 30, rows)
        some = random.choice([0.0, -0.0, 1.0, 5.0, -3.25, 1e-30], rows)
        made = np.where(random.random(rows) < 0.3, some, random.choice([-1, 1], rows) * size)
        return np.where(random.random(rows) < 0.1, np.nan, made).astype(np.float32)

    def wholes(low: int, high: int) -> Any:
        return pd.arrays.IntegerArray(random.integers(low, high, rows), random.random(rows) < 0.1)

    sizes = random.integers(0, 6, rows)
    return {
        **{name: floats() for name in ("plain", "logged", "ranked")},
        "clipped": wholes(0, 2**53),
        "hour": wholes(0, 24),
        "ruled": wholes(0, 50),
        "genre": wholes(0, 8),
        "text": [None if random.random() < 0.1 else row for row in random.normal(size=(rows, 3))],
        # Text has no list of one empty id.
        "tags": [random.choice(["", "a", "b", "c", "d"][int(size == 1) :], size).tolist() for size in sizes],
        "shares": [np.where(random.random(size) < 0.2, 0, random.random(size)) for size in sizes],
    }


def logs(seed: int, rows: int = 240) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(seed)
    return {
        name: pd.DataFrame(
            {
                "user": np.where(
                    random.random(rows) < 0.05, "", [f"u{n}" for n in random.integers(0, 20, rows)]
                ),
                **numbers(random, rows),
                "time": random.integers(1_600_000_000, 1_600_900_000, rows),
                "label": random.integers(0, 2, rows),
            }
        )
        for name in ("books", "films")
    }


def close(found: np.ndarray, wanted: np.ndarray, name: str) -> None:
    """Rows of tables and plain numbers to the bit; log1p, sine and cosine to what float32 keeps."""
    if name in ("logged", "hour", "of_week", "idle"):
        np.testing.assert_allclose(found, wanted, rtol=2e-7, atol=2e-7, err_msg=name)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_numbers_by_hand():
    one = Schema((Domain("films", NUMBERS),), "films", TABLES[7:])
    frame = pd.DataFrame(
        {
            "plain": [1.0, 3.0, np.nan, np.nan],
            "logged": [0.0, math.e - 1, np.nan, -7.0],
            "clipped": [-9, 200, 100, -1],
            "hour": [6, 12, 0, -1],
            "ranked": [10.0, 20.0, 30.0, np.nan],
            "ruled": [0, 10, 9, -1],
        }
    )
    encoder = Encoder(one).adapt({"films": frame})
    rows = encoder.encode("films", frame)
    np.testing.assert_allclose(rows["plain"], [-1, 1, 0, 0])
    a, b = (0 - 1 / 3) / math.sqrt(2 / 9), (1 - 1 / 3) / math.sqrt(2 / 9)
    np.testing.assert_allclose(rows["logged"], [[a, 1], [b, 1], [0, 0], [a, 1]], rtol=1e-6)
    np.testing.assert_allclose(rows["clipped"], np.array([-2, 1, 1, 0]) / math.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(rows["hour"], [[1, 0, 1], [0, -1, 1], [0, 1, 1], [0, 0, 0]], atol=1e-7)
    assert encoder.numbers["films"]["ruled"] == (2.0, 4.0, 6.0, 8.0)
    assert rows["ruled"].tolist() == [2, 6, 6, 0] and rows["ruled"].dtype == np.int32
    assert encoder.numbers["films"]["ranked"] == (10.0, 10.0, 20.0, 20.0, 30.0, 30.0)
    assert rows["ranked"].tolist() == [4, 6, 8, 0]
    assert encoder.schema.table("ranks").rows == 9


def test_quantiles_hold_as_many_rows_each_and_width_buckets_are_as_wide():
    one = Schema((Domain("films", NUMBERS[4:]),), "films", TABLES[7:])
    values = np.exp(np.random.default_rng(0).normal(size=7_000)).astype(np.float32)
    frame = pd.DataFrame({"ranked": values, "ruled": np.arange(7_000)})
    rows = Encoder(one).adapt({"films": frame}).encode("films", frame)
    assert np.abs(np.bincount(rows["ranked"])[2:] - 1000).max() <= 1
    assert np.bincount(rows["ruled"])[2:].tolist() == [1400] * 5


def test_a_price_that_is_log_normal_with_and_without_log1p():
    """As docs/features.md says it: without log1p most of it lies in a sliver."""
    price = np.exp(np.random.default_rng(0).normal(3, 1, 100_000)).astype(np.float32)
    features = (
        Feature("price", "number", "item"),
        Feature("logged", "number", "item", column="price", transform="log1p"),
    )
    one = Schema((Domain("films", features),), "films")
    frame = pd.DataFrame({"price": price})
    rows = Encoder(one).adapt({"films": frame}).encode("films", frame)
    told = [float(of(rows[name])) for name in ("price", "logged") for of in (np.median, np.max)]
    assert told == pytest.approx([-0.30, 51.1, -0.03, 5.0], abs=0.06)


def test_the_graph_and_files_encode_as_the_encoder(tmp_path):
    import tensorflow as tf

    for seed in range(5):
        prepared = prepare(schema(), logs(seed), split="random")
        encoder = prepared.encoder
        encoder.save(tmp_path / f"{seed}")
        again = Encoder.load(tmp_path / f"{seed}")
        assert again.numbers == encoder.numbers and again.schema == encoder.schema
        fresh = prepare(schema(), logs(seed + 100), split="random").frame("films", "train")
        wanted = again.encode("films", fresh)
        graph = again.graph("films")
        from cdrzoo.export.rows import raw_rows

        raw = raw_rows(fresh, again.schema.target_domain.inputs())
        traced = tf.function(graph.__call__, input_signature=[graph.signature])
        found = traced({name: tf.constant(values) for name, values in raw.items()})
        for name, values in wanted.items():
            close(found[name].numpy(), values, name)
            assert found[name].dtype == values.dtype


@pytest.mark.parametrize("partitions", [1, 3])
def test_partitions_encode_as_memory_does_to_the_bit(tmp_path, partitions):
    frames = logs(3)
    for name, frame in frames.items():
        frame.to_parquet(tmp_path / f"{name}.parquet", row_group_size=50)
    settings = Settings(schema(), {name: str(tmp_path / f"{name}.parquet") for name in frames}, "random")
    prepare_to(tmp_path / "rows", settings, partitions=partitions)
    wanted, found = prepare(settings.schema, settings.data, split="random"), load_rows(tmp_path / "rows")
    for one, two in ((wanted, found), (wanted.only("films"), found.only("films"))):
        assert two.encoder.numbers == one.encoder.numbers
        for domain, parts in one.parts.items():
            for part, rows in parts.items():
                for name, values in rows.x.items():
                    np.testing.assert_array_equal(two.parts[domain][part].x[name], values, err_msg=name)
    (x, _), *_ = found.only("films").train(16)
    assert {name: values.shape[1:].as_list() for name, values in x["films"].items()} == {
        "user": [], "genre": [], "plain": [], "logged": [2], "clipped": [], "hour": [3], "ranked": [], "ruled": [],
        "of_day": [], "of_week": [2], "idle": [2], "text": [3], "tags": [3], "tags_weights": [3],
        "pair": [], "match": [],
    }  # fmt: skip
    (y, _), *_ = load_rows(tmp_path / "rows", held=False).valid(50)
    for name, values in wanted.parts["films"]["valid"].x.items():
        np.testing.assert_array_equal(y["films"][name], values[:50])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"transform": "log2"}, "must be log1p, {clip: .*Received: 'log2'"),
        ({"transform": {"clip": [3, 1]}}, "LOW below HIGH.*Received: \\[3, 1\\]"),
        ({"transform": {"clip": 3}}, "two numbers"),
        ({"transform": {"cyclic": 0}}, "period above 0"),
        ({"transform": [{"cyclic": 7}, "log1p"]}, "must be the last step"),
        ({"transform": [{"clip": [-1, 5]}, "log1p"]}, "clipped at -1 before"),
        ({"flag": 1}, "true or false"),
        ({"kind": "id", "table": "user", "flag": True}, "Only a number has a `flag`"),
        ({"table": "ranks", "flag": True}, "no `flag`"),
        ({"table": "user"}, "has no `buckets`"),
        ({"kind": "id", "table": "ranks"}, "which are of numbers"),
    ],
)
def test_what_a_number_may_not_say_is_said(given, message):
    with pytest.raises(SchemaError, match=message):
        schema(Feature(**{"name": "x", "kind": "number", "role": "item", **given}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"buckets": 1}, "from 2 to"),
        ({"buckets": 5, "by": "depth"}, "must be one of quantile, width"),
        ({"by": "width"}, "has no `buckets`"),
        ({"buckets": 5, "min_count": 2}, "so no ids"),
    ],
)
def test_what_a_table_of_buckets_may_not_say_is_said(given, message):
    with pytest.raises(SchemaError, match=message):
        Table("price", **given)


def test_log1p_of_less_than_0_is_an_error_in_training_rows_and_0_later():
    one = Schema((Domain("films", (Feature("price", "number", "item", transform="log1p"),)),), "films")
    with pytest.raises(DataError, match="Received: -3.5. Clip it before"):
        Encoder(one).adapt({"films": pd.DataFrame({"price": [1.0, -3.5]})})
    encoder = Encoder(one).adapt({"films": pd.DataFrame({"price": [0.0, 1.0]})})
    low, zero = encoder.encode("films", pd.DataFrame({"price": [-3.5, 0.0]}))["price"]
    assert low == zero


# Times ---------------------------------------------------------------------------------------------------------------

AT = 1_700_000_000  # a Tuesday, 22:13:20 UTC


def timed(**more) -> dict[str, pd.DataFrame]:
    return {
        "books": pd.DataFrame(
            {"user": ["a", "a", "b"], "time": [AT, AT + 10, AT + 3600], "label": 1, "part": "train", **more}
        ),
        "films": pd.DataFrame(
            {
                "user": ["a", "a", "b", "c", "", "d"],
                "time": [AT + 10, AT + 15, AT + 7200, AT, AT, AT],
                "label": 1,
                "part": [*["train"] * 5, "test"],
            }
        ),
    }


def times_schema(*features: Feature, time: str | None = "time") -> Schema:
    user = Feature("user", "id", "user", table="user")
    domains = (Domain("books", (user,), time="time"), Domain("films", (user, *features), time=time))
    return Schema(domains, "films", (Table("user"), Table("hour")))


def test_times_by_hand():
    hour = Feature("hour", "id", "context", table="hour", derive="hour")
    made = prepare(
        times_schema(
            hour,
            Feature("day", "number", "context", derive="weekday"),
            Feature("idle", "number", "user", derive="recency"),
            Feature("read", "number", "user", derive="recency", of="books"),
        ),
        timed(),
        split={"by": "given", "column": "part"},
        slices=["hour"],
    )
    rows = made.frame("films", "train")
    assert rows["hour"].tolist() == [22, 22, 0, 22, 22] and rows["day"].tolist() == [1, 1, 2, 1, 1]
    assert rows["idle"].fillna(-1).tolist() == [-1, 5, -1, -1, -1]
    assert rows["read"].fillna(-1).tolist() == [
        10,
        5,
        3600,
        -1,
        -1,
    ]  # strictly before: not the book at the same time
    assert made.values("hour", "train").tolist() == ["22", "22", "0", "22", "22"]
    assert set(made.schema.only("films").target_domain.features) >= {hour}
    assert [f.name for f in made.schema.only("films").target_domain.features] == [
        "user",
        "hour",
        "day",
        "idle",
    ]


def test_requests_get_what_training_got():
    """`request_rows` on the logs, at the times of the rows themselves: hour, recency and mean are those of training."""
    made = kinds_without_crosses()
    frames = logs(5)
    rows = prepare(made, frames, split="time").frame("films", "test")
    derived = ["of_day", "of_week", "idle", "read", "taste"]
    found = request_rows(made, frames, rows.drop(columns=derived))
    for name in derived:
        one, two = np.stack(rows[name].to_numpy()), np.stack(found[name].to_numpy())
        np.testing.assert_array_equal(two, one, err_msg=name)
    with pytest.raises(DataError, match="is of the time of a request. Give `time`"):
        request_rows(made, frames, rows.drop(columns=[*derived, "time"]))


def kinds_without_crosses() -> Schema:
    """What TensorFlow's hash is not wanted for."""
    whole = schema()
    kept = {d.name: [f for f in d.features if f.cross is None] for d in whole.domains}
    return whole.reading(kept)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"derive": "month"}, "must be one of hour, weekday, recency"),
        ({"derive": "recency", "kind": "id", "table": "hour"}, "A recency is a number"),
        ({"derive": "hour", "dtype": "float32"}, "one whole number a row"),
        ({"derive": "hour", "role": "item"}, "no item's"),
        ({"derive": "recency", "of": "songs"}, "which does not exist"),
        ({"derive": "hour", "of": "books"}, "Only a history has `of`"),
        ({"kind": "vector", "table": "hour"}, "`size` of the vector"),
        ({"kind": "vector", "size": 3}, "needs a `table`"),
        ({"kind": "vector", "size": 3, "table": "user"}, "and so do vectors of 3 numbers and ids"),
        ({"size": 3}, "Only a vector has a `size`"),
        ({"derive": "mean"}, "wants `kind: vector`, `role: user` and a `length`"),
    ],
)
def test_what_times_and_vectors_may_not_say_is_said(given, message):
    with pytest.raises(SchemaError, match=message):
        times_schema(Feature(**{"name": "x", "kind": "number", "role": "context", **given}))


def test_times_that_are_no_unix_seconds_or_none_are_said():
    hour = Feature("hour", "id", "context", table="hour", derive="hour")
    frames = {name: frame.assign(time=frame["time"] * 1000) for name, frame in timed().items()}
    with pytest.raises(DataError, match="wants times in Unix seconds. Received: 1700007200000"):
        prepare(times_schema(hour), frames, split="random")
    with pytest.raises(DataError, match="domain 'films' has none"):
        prepare(times_schema(hour, time=None), timed(), split="random")


# Vectors -------------------------------------------------------------------------------------------------------------


def test_the_mean_of_a_users_vectors_by_hand():
    books = pd.DataFrame({"user": ["a"] * 4, "time": [1, 2, 3, 4], "label": 1, "part": "train"})
    books["text"] = [[9, 9, 9], [1, 0, 0], None, [0, 3, 0]]
    films = pd.DataFrame({"user": ["a", "a", "b", "b"], "time": [4, 9, 9, 9], "label": 1})
    films["part"] = [*["train"] * 3, "test"]
    user = Feature("user", "id", "user", table="user")
    domains = (
        Domain("books", (user, VECTORS[0]), time="time"),
        Domain("films", (user, VECTORS[1]), time="time"),
    )
    made = Schema(domains, "films", (Table("user"), Table("text")))
    split = {"by": "given", "column": "part"}
    rows = prepare(made, {"books": books, "films": films}, split=split).frame("films", "train")
    # Before 4: the missing one, [1, 0, 0], [9, 9, 9]. Before 9: [0, 3, 0], the missing one, [1, 0, 0].
    assert np.stack(rows["taste"]).tolist() == [[5, 4.5, 4.5], [0.5, 1.5, 0], [0, 0, 0]]
    assert [f.name for f in made.only("films").target_domain.features] == ["user"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "tfrecord"])
def test_vectors_are_read_from_every_format(tmp_path, ending):
    from cdrzoo.data import read
    from cdrzoo.data.readers import Wanted

    rows = [[0.5, -1.0, 2.0], None, [1e-3, 0.0, 4.0]]
    path = tmp_path / f"films.{ending}"
    frame = pd.DataFrame({"text": rows, "n": [1, 2, 3]})
    if ending == "csv":
        frame.assign(text=["0.5|-1|2", "", "[1e-3, 0, 4]"]).to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        frame.to_parquet(path)
    else:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                values = tf.train.Feature(float_list=tf.train.FloatList(value=row or []))
                writer.write(
                    tf.train.Example(features=tf.train.Features(feature={"text": values})).SerializeToString()
                )
    want = Wanted.of(VECTORS[0])
    found = read(path, {"text": want})["text"]
    wanted = np.array([row or [0, 0, 0] for row in rows], np.float32)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 3], [1, 2]], "row 2: a vector of 3 numbers wanted. Received: 2 numbers"),
        ([[1, 2, 3], [1, float("nan"), 2]], "row 2: a vector of finite numbers wanted. Received: NaN"),
        (
            [[1, 2, 3], [1, 1e30, 2]],
            "row 2: a vector of numbers within -10,000 and 10,000 wanted. Received: 1e.30",
        ),
        (["1|2|x"], "row 1"),
        ([[1, 2, float("inf")]], "a finite number"),
    ],
)
def test_a_vector_that_is_none_is_said_with_its_row(rows, message):
    from cdrzoo.data import read
    from cdrzoo.data.readers import Wanted

    with pytest.raises(DataError, match=message):
        read(pd.DataFrame({"text": rows}), {"text": Wanted.of(VECTORS[0])})


# Crosses -------------------------------------------------------------------------------------------------------------


def test_a_cross_is_the_hash_of_its_ids_and_missing_where_one_is():
    import tensorflow as tf

    user, hour = (
        Feature("user", "id", "user", table="user"),
        Feature("hour", "id", "context", "int64", "hour"),
    )
    pair = Feature("pair", "id", "context", table="pair", cross=["user", "hour"])
    tables = (Table("user"), Table("hour"), Table("pair", hash_buckets=1000))
    one = Schema((Domain("films", (user, hour, pair)),), "films", tables)
    assert Schema.from_dict(one.to_dict()) == one and one.target_domain.inputs([pair]) == (user, hour)
    frame = pd.DataFrame({"user": ["a", "a", "b", "", "a"], "hour": [1, 2, 1, 1, -1]})
    found = Encoder(one).adapt({"films": frame}).encode("films", frame, ["pair"])["pair"]
    hashed = tf.strings.to_hash_bucket_fast(["a\x1f1", "a\x1f2", "b\x1f1"], 1000).numpy()
    assert found.tolist() == [*(hashed + 2), 0, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cross": ["user"]}, "two or more features"),
        ({"cross": ["user", "users"]}, "crosses 'users', which is no feature of kind id"),
        ({"cross": ["user", "of_day"], "table": "user"}, "`hash_buckets`, such as 100000"),
        ({"cross": ["user", "of_day"], "column": "c"}, "has no `column`"),
    ],
)
def test_what_a_cross_may_not_say_is_said(given, message):
    with pytest.raises(SchemaError, match=message):
        schema(
            Feature(**{"name": "x", "kind": "id", "role": "item", "table": "pair", **given})
        ).target_domain.inputs()
