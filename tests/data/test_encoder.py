"""The encoder: rows of tables by hand, the graph's equality on nasty input, and files that give it back."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from cdrzoo.data import Encoder
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.schema.transforms import LARGEST

SCHEMA = Schema(
    domains=(
        Domain(
            "books",
            (
                Feature("user", "id", "user", "int64", "user"),
                Feature("item", "id", "item", table="book"),
                Feature("genre", "id", "item", table="genre"),
            ),
        ),
        Domain(
            "films",
            (
                Feature("user", "id", "user", "int64", "user"),
                Feature("item", "id", "item", "int64", "film"),
                Feature("genre", "id", "item", table="genre"),
                Feature("tags", "ids", "item", table="tag", length=3),
                Feature("read", "ids", "history", table="book", length=2, of="books", column="books_read"),
                Feature("price", "number", "item"),
                Feature("minutes", "number", "item", "int64"),
            ),
        ),
    ),
    target="films",
    tables=(
        Table("user"),
        Table("book", min_count=2),
        Table("film"),
        Table("genre"),
        Table("tag", hash_buckets=11),
    ),
)
BOOKS = pd.DataFrame({"user": [5, 5, 6], "item": ["b1", "b1", "007"], "genre": ["war", "", "zen"]})
FILMS = pd.DataFrame(
    {
        "user": [5, 9, -1],
        "item": [3, 3, 4],
        "genre": ["war", "zen", "war"],
        "tags": [["x"], [], None],
        "books_read": [["old", "b2", "b1"], ["b2"], []],  # "old" lies beyond the length of 2
        "price": [1.0, np.nan, 3.0],
        "minutes": [100, -1, 120],
    }
)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(SCHEMA).adapt({"books": BOOKS, "films": FILMS})


def test_vocabularies_are_ordered_by_count_then_name_and_shared_by_table(encoder):
    vocabularies = {name: list(tokens) for name, tokens in encoder.vocabularies.items()}
    assert vocabularies == {
        "user": [5, 6, 9],  # three, one and one occurrences in both domains together
        "book": ["b1", "b2"],  # min_count 2 drops "007"; "b1" stands 3 times, "b2" twice, "old" is never read
        "film": [3, 4],
        "genre": ["war", "zen"],
    }
    assert {table.name: table.rows for table in encoder.schema.tables} == {
        "user": 5, "book": 4, "film": 4, "genre": 4, "tag": 13,
    }  # fmt: skip


def test_rows_by_hand(encoder):
    rows = encoder.encode("films", FILMS)
    assert rows["user"].tolist() == [2, 4, 0]
    assert rows["genre"].tolist() == [2, 3, 2]
    assert rows["read"].tolist() == [[3, 2], [3, 0], [0, 0]]
    np.testing.assert_allclose(rows["price"], [-1, 0, 1])  # mean 2, deviation 1, missing at the mean
    np.testing.assert_allclose(rows["minutes"], [-1, 0, 1])
    assert rows["user"].dtype == rows["read"].dtype == np.int32 and rows["price"].dtype == np.float32
    assert encoder.encode("books", BOOKS)["item"].tolist() == [2, 2, 1]
    assert encoder.encode("books", BOOKS)["genre"].tolist() == [2, 0, 3]


def test_unknown_missing_and_hashed(encoder):
    frame = FILMS.assign(
        user=[77, -1, 5], genre=["nope", None, "war"], tags=[["x", "", "y"], ["x"], ["a", "b", "x", "y"]]
    )
    rows = encoder.encode("films", frame)
    assert rows["user"].tolist() == [1, 0, 2]
    assert rows["genre"].tolist() == [1, 0, 2]
    x, y = rows["tags"][0][:2]
    assert rows["tags"][0, 2] == 0 and rows["tags"][1].tolist() == [x, 0, 0]
    assert rows["tags"][2, 1:].tolist() == [x, y]  # the last three of four
    assert 2 <= rows["tags"][rows["tags"] > 0].min() and rows["tags"].max() < 13


def nasty() -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Rows as a frame, and as the padded tensors a client sends."""
    tags = [
        ["x", "", "y"],
        [],
        ["", "", ""],
        ["a", "b", "x", "y", "", "z"],
        ["ü\u2028\t", " x", "x "],
        ["", "q"],
    ]
    read = [["b1"], ["", "b1", "", "b2", ""], ["?", "b2", "007", "b1"], [], ["b\n1", "b1\x00"], ["b2"] * 9]
    frame = pd.DataFrame(
        {
            "user": [5, 77, -1, 6, 2**62, 0],
            "item": [3, -1, 99, 4, 3, 3],
            "genre": ["war", "", "ZEN", "zen", "wár", "war\n"],
            "tags": tags,
            "books_read": read,
            "price": np.array([1, np.nan, -1e30, 0, 2.5, 1e-30], np.float32),
            "minutes": [100, -1, 2**40, 0, 16777217, 3],
        }
    )

    def padded(rows):
        width = max(map(len, rows)) + 2
        return np.array([row + [""] * (width - len(row)) for row in rows], object)

    raw = {name: frame[name].to_numpy() for name in ("user", "item", "price", "minutes")}
    raw["genre"] = frame["genre"].to_numpy(object)
    return frame, {**raw, "tags": padded(tags), "read": padded(read)}


def test_the_graph_gives_what_encode_gives(encoder):
    import tensorflow as tf

    frame, raw = nasty()
    wanted = encoder.encode("films", frame)
    graph = encoder.graph("films")
    assert {name: (spec.shape.rank, spec.dtype.name) for name, spec in graph.signature.items()} == {
        "user": (1, "int64"), "item": (1, "int64"), "genre": (1, "string"), "tags": (2, "string"),
        "read": (2, "string"),        "price": (1, "float32"), "minutes": (1, "int64"),
    }  # fmt: skip
    traced = tf.function(graph.__call__, input_signature=[graph.signature])
    static = traced.get_concrete_function().structured_outputs
    found = traced({name: tf.constant(values) for name, values in raw.items()})
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name].numpy(), values, err_msg=name)
        assert found[name].dtype == values.dtype
        assert found[name].shape[1:] == static[name].shape[1:]  # the length is static


def test_a_number_is_missing_where_products_of_it_would_be_none(encoder):
    mean, deviation = encoder.numbers["films"]["price"]
    largest = float(np.finfo(np.float32).max)
    inside = mean + deviation * np.array([LARGEST - 1, 1 - LARGEST])
    values = np.array([*inside, largest, -largest, np.inf, -np.inf, np.nan], np.float32)
    found = encoder.graph("films", ["price"])({"price": tf.constant(values)})["price"].numpy()
    np.testing.assert_allclose(found[:2], [LARGEST - 1, 1 - LARGEST], rtol=1e-6)
    np.testing.assert_array_equal(found[2:], 0)
    frame = nasty()[0].head(4).assign(price=values[:4])
    np.testing.assert_array_equal(encoder.encode("films", frame)["price"], found[:4])


def test_a_number_that_lies_too_far_is_missing_to_its_flag_and_one_of_a_period_never_is():
    hour = Feature("hour", "number", "item", transform={"cyclic": 24}, flag=True)
    domain = Domain("films", (Feature("price", "number", "item", flag=True), hour))
    encoder = Encoder(Schema((domain,), "films", ())).adapt(
        {"films": pd.DataFrame({"price": [1.0, 3.0], "hour": [0.0, 6.0]})}
    )
    rows = pd.DataFrame({"price": [2.0, 2.0 + 2 * LARGEST], "hour": [6.0, 6.0 + 24 * LARGEST**2]})
    found = encoder.encode("films", rows)
    np.testing.assert_array_equal(found["price"], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(found["hour"][:, 2], [1, 1])
    graph = encoder.graph("films")({name: tf.constant(rows[name], tf.float32) for name in rows})
    np.testing.assert_array_equal(graph["price"], found["price"])
    np.testing.assert_array_equal(graph["hour"][:, 2], [1, 1])


def test_the_graph_takes_no_steps_no_rows_and_a_subset(encoder):
    import tensorflow as tf

    graph = encoder.graph("films", ["user", "read"])
    assert list(graph.signature) == ["user", "read"]
    none = graph({"user": tf.constant([5], tf.int64), "read": tf.zeros([1, 0], tf.string)})
    assert none["read"].numpy().tolist() == [[0, 0]]
    empty = graph({"user": tf.constant([], tf.int64), "read": tf.zeros([0, 4], tf.string)})
    assert empty["user"].shape == (0,) and empty["read"].shape == (0, 2)


def test_the_graph_lives_in_a_saved_model_without_the_encoder(encoder, tmp_path):
    import tensorflow as tf

    frame, raw = nasty()
    graph = encoder.graph("films")
    module = tf.Module()
    module.graph = graph
    module.encode = tf.function(graph.__call__, input_signature=[graph.signature])
    tf.saved_model.save(module, str(tmp_path / "model"))
    wanted = encoder.encode("films", frame)
    del graph, module  # and with them the folder the vocabularies were written to
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    found = loaded.encode({name: tf.constant(values) for name, values in raw.items()})
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name].numpy(), values, err_msg=name)


def test_a_table_of_numbers_and_texts_spells_numbers_in_digits():
    import tensorflow as tf

    schema = Schema(
        (
            Domain("books", (Feature("user", "id", "user", "int64", "user"),)),
            Domain("films", (Feature("user", "id", "user", "string", "user"),)),
        ),
        "films",
        (Table("user"),),
    )
    encoder = Encoder(schema).adapt(
        {"books": pd.DataFrame({"user": [7, -1]}), "films": pd.DataFrame({"user": ["7", "007"]})}
    )
    assert list(encoder.vocabularies["user"]) == ["7", "007"]
    assert encoder.encode("books", pd.DataFrame({"user": [7, -1, 8]}))["user"].tolist() == [2, 0, 1]
    found = encoder.graph("books")({"user": tf.constant([7, -1, 8], tf.int64)})
    assert found["user"].numpy().tolist() == [2, 0, 1]


def test_nothing_seen_leaves_an_empty_vocabulary_that_still_works(tmp_path):
    import tensorflow as tf

    schema = Schema(
        (Domain("films", (Feature("user", "id", "user", table="user"),)),), "films", (Table("user"),)
    )
    encoder = Encoder(schema).adapt({"films": pd.DataFrame({"user": ["", None]})})
    assert encoder.schema.table("user").rows == 2
    encoder.save(tmp_path)
    for each in (encoder, Encoder.load(tmp_path)):
        assert each.encode("films", pd.DataFrame({"user": ["a", ""]}))["user"].tolist() == [1, 0]
        assert each.graph("films")({"user": tf.constant(["a", ""])})["user"].numpy().tolist() == [1, 0]


def test_files_are_readable_and_give_the_encoder_back(encoder, tmp_path):
    encoder.save(tmp_path)
    assert (tmp_path / "vocab" / "book.txt").read_text() == "b1\nb2\n"
    assert sorted(path.name for path in (tmp_path / "vocab").iterdir()) == [
        "book.txt",
        "film.txt",
        "genre.txt",
        "user.txt",
    ]
    assert json.loads((tmp_path / "encoder.json").read_text())["numbers"]["films"]["price"] == {
        "mean": 2.0,
        "deviation": 1.0,
    }
    loaded = Encoder.load(tmp_path)
    assert loaded.schema == encoder.schema
    frame, _ = nasty()
    for name, values in encoder.encode("films", frame).items():
        np.testing.assert_array_equal(loaded.encode("films", frame)[name], values)


def test_strange_ids_survive_the_files(tmp_path):
    import tensorflow as tf

    ids = ["a\tb", " a", "a ", "\u2028", "\x85", "\x0b", "'", '"', "\\n", "🎬", "a\x00b"]
    schema = Schema(
        (Domain("films", (Feature("user", "id", "user", table="user"),)),), "films", (Table("user"),)
    )
    encoder = Encoder(schema).adapt({"films": pd.DataFrame({"user": ids})})
    encoder.save(tmp_path)
    wanted = encoder.encode("films", pd.DataFrame({"user": ids}))["user"]
    assert sorted(wanted) == list(range(2, 2 + len(ids)))
    assert (
        Encoder.load(tmp_path).encode("films", pd.DataFrame({"user": ids}))["user"].tolist()
        == wanted.tolist()
    )
    assert encoder.graph("films")({"user": tf.constant(ids)})["user"].numpy().tolist() == wanted.tolist()


def test_a_line_break_in_an_id_is_refused():
    schema = Schema(
        (Domain("films", (Feature("user", "id", "user", table="user"),)),), "films", (Table("user"),)
    )
    with pytest.raises(DataError, match="table 'user' holds a line break: 'a.nb'.*hash_buckets"):
        Encoder(schema).adapt({"films": pd.DataFrame({"user": ["a\nb"]})})


def test_chunks_teach_what_the_whole_teaches():
    random = np.random.default_rng(0)
    size = 5000
    frame = pd.DataFrame(
        {
            "user": random.integers(0, 300, size),
            "item": random.integers(0, 90, size),
            "genre": random.choice(["war", "zen", ""], size),
            "tags": [[]] * size,
            "books_read": [[f"b{n}" for n in random.integers(0, 30, 4)] for _ in range(size)],
            "price": random.normal(1e6, 3.0, size),
            "minutes": random.integers(0, 200, size),
        }
    )
    whole = Encoder(SCHEMA).adapt({"books": BOOKS, "films": frame})
    chunked = Encoder(SCHEMA).adapt(
        {"books": BOOKS, "films": (frame[low : low + 37] for low in range(0, size, 37))}
    )
    for name, tokens in whole.vocabularies.items():
        assert list(tokens) == list(chunked.vocabularies[name])
    for name, (mean, deviation) in whole.numbers["films"].items():
        np.testing.assert_allclose(chunked.numbers["films"][name], (mean, deviation), rtol=1e-9)
    np.testing.assert_allclose(
        whole.numbers["films"]["price"][1],
        frame["price"].astype("float32").astype(float).std(ddof=0),
        rtol=1e-6,
    )


def test_a_constant_number_becomes_zero_not_infinity():
    schema = Schema((Domain("films", (Feature("price", "number", "item"),)),), "films")
    encoder = Encoder(schema).adapt({"films": pd.DataFrame({"price": [0.1] * 7})})
    assert encoder.encode("films", pd.DataFrame({"price": [0.1]}))["price"].tolist() == pytest.approx([0.0])


def test_misuse_is_said(encoder, tmp_path):
    with pytest.raises(DataError, match="Call `adapt`"):
        Encoder(SCHEMA).encode("films", FILMS)
    with pytest.raises(DataError, match="'films' is missing"):
        Encoder(SCHEMA).adapt({"books": BOOKS})
    with pytest.raises(DataError, match="lacks the column 'genre'"):
        encoder.encode("films", FILMS.drop(columns="genre"))
    with pytest.raises(DataError, match="holds no encoder"):
        Encoder.load(tmp_path)
    encoder.save(tmp_path)
    (tmp_path / "vocab" / "user.txt").write_text("5\n")
    with pytest.raises(DataError, match="user.txt holds 1 ids"):
        Encoder.load(tmp_path)


def test_histories_of_one_domain_run_in_step_and_a_missing_column_keeps_its_place(tmp_path):
    """An event without a genre is still an event; its item must not meet its neighbour's genre."""
    feature = {"kind": "ids", "role": "history", "of": "films", "length": 3}
    schema = Schema(
        target="films",
        tables=(Table("film"), Table("genre")),
        domains=(
            Domain(
                "films",
                (
                    Feature("item", "id", "item", table="film"),
                    Feature("genre", "id", "item", table="genre"),
                    Feature("seen", table="film", **feature),
                    Feature("genres", table="genre", **feature),
                ),
            ),
        ),
    )
    rows = pd.DataFrame(
        {
            "item": ["a"] * 4,
            "genre": ["x"] * 4,
            "seen": [["a", "b", "c", "d"], ["a", "", "b"], ["b"], []],
            "genres": [["x", "", "y", "x"], ["x", "", ""], ["y", "x"], []],
        }
    )
    encoder = Encoder(schema).adapt({"films": rows})
    a, b, c, d = (encoder.encode("films", rows.assign(item=i))["item"][0] for i in "abcd")
    x, y = (encoder.encode("films", rows.assign(genre=g))["genre"][0] for g in "xy")
    encoded = encoder.encode("films", rows)
    np.testing.assert_array_equal(encoded["seen"], [[b, c, d], [a, b, 0], [b, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(encoded["genres"], [[0, y, x], [x, 0, 0], [y, x, 0], [0, 0, 0]])

    def dense(column, width):
        return tf.constant([[*row, *[""] * (width - len(row))] for row in rows[column]])

    raw = {"item": tf.constant(rows["item"]), "genre": tf.constant(rows["genre"])}
    graph = encoder.graph("films")({**raw, "seen": dense("seen", 6), "genres": dense("genres", 4)})
    for name, values in encoded.items():
        np.testing.assert_array_equal(graph[name], values)


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("widths", [(4, 4), (9, 6), (2, 3)], ids=str)
def test_steps_are_packed_in_the_graph_as_in_numpy(missing, widths):
    """Gaps and padding anywhere, more steps than the length and fewer, one column shorter than the other."""
    how = {"kind": "ids", "role": "history", "length": 4, "of": "films"}
    features = [Feature(name, table=name, field=name, **how) for name in ("seen", "genres")]
    schema = Schema((Domain("films", tuple(features)),), "films", (Table("seen"), Table("genres")))
    rng = np.random.default_rng(0)
    texts = {
        f.name: np.where(rng.random((60, n)) < missing, "", rng.integers(0, 20, (60, n)).astype(str))
        for f, n in zip(features, widths)
    }
    rows = pd.DataFrame({name: values.tolist() for name, values in texts.items()})
    encoder = Encoder(schema).adapt({"films": rows})
    found = encoder.graph("films")({name: tf.constant(values.tolist()) for name, values in texts.items()})
    for name, values in encoder.encode("films", rows).items():
        np.testing.assert_array_equal(found[name], values)
