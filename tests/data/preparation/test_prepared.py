"""The front door: from files to parts, with joins, weights, examples, written rows, and errors before long work."""

from __future__ import annotations

import re
import xml.etree.ElementTree

import numpy as np
import pandas as pd
import pytest

from cdrzoo.data import check, prepare, synthetic
from cdrzoo.documents import load_mapping
from cdrzoo.errors import DataError, SchemaError
from cdrzoo.layers.fields import events
from cdrzoo.schema import Domain, Feature, Schema, Table

MADE = synthetic.synthesize(
    0.5, users=120, source_rows=1500, target_rows=600, source_items=40, target_items=30
)


@pytest.fixture(scope="module")
def prepared():
    return prepare(MADE.schema, MADE.sources)


def same_parts(one, two) -> None:
    for domain, parts in one.parts.items():
        for part, rows in parts.items():
            other = two.parts[domain][part]
            np.testing.assert_array_equal(rows.y, other.y)
            for name, values in rows.x.items():
                np.testing.assert_allclose(
                    values, other.x[name], atol=1e-6, err_msg=f"{domain} {part} {name}"
                )


def test_parts_hold_what_the_frames_hold(prepared):
    log = MADE.frames["films"]
    for part, rows in prepared.split.parts["films"].items():
        found, frame = prepared.parts["films"][part], prepared.frame("films", part)
        np.testing.assert_array_equal(found.y[:, 0], log["click"].to_numpy()[rows])
        assert list(frame["user"]) == list(log["user"].iloc[rows]) == list(found.user)
        assert list(frame["time"]) == list(log["time"].iloc[rows])
        again = prepared.encoder.encode("films", frame)
        for name, values in again.items():
            np.testing.assert_array_equal(values, found.x[name], err_msg=name)
    assert prepared.schema.table("user").rows == len(prepared.encoder.vocabularies["user"]) + 2


def test_it_shows_itself_in_short_and_as_html(prepared):
    short = [
        f"{domain}: " + ", ".join(f"{part} {len(rows):,}" for part, rows in prepared.parts[name].items())
        for name, domain in (("books", "books"), ("films", "films (target)"))
    ]
    assert repr(prepared) == f"<Prepared rows of {'; '.join(short)}; split {prepared.split.name}>"
    root = xml.etree.ElementTree.fromstring(f"<div>{prepared._repr_html_()}</div>")
    rows = {tuple(c.text for c in row)[:2]: [c.text for c in row][2:] for row in root[0].iter("tr")}
    log = MADE.frames["films"].iloc[prepared.split.parts["films"]["test"]]
    clicks = f"{log['click'].sum()} clicks ({log['click'].mean():.1%})"
    assert rows["films", "test"] == [
        str(len(log)),
        clicks,
        "0.053",
        *(str(log[k].nunique()) for k in ("user", "item")),
    ]
    tables = {row[0].text: row[2].text for row in root[1].iter("tr")}
    assert tables["user"] == str(prepared.schema.table("user").rows)


def test_of_ratings_it_shows_the_mean_and_no_parts_without_rows():
    domain = Domain("films", (Feature("user", "id", "user", table="user"),), label="stars", task="rating")
    rows = pd.DataFrame({"user": list("aabb"), "stars": [1.0, 5.0, 4.0, 2.0]})
    rows["split"] = ["train", "test", "test", "train"]
    made = prepare(Schema((domain,), "films", (Table("user"),)), {"films": rows}, split="given")
    assert "<td>train</td><td>2</td><td>mean 1.5</td><td>-</td><td>2</td><td>-</td>" in made._repr_html_()
    assert "<td>valid</td>" not in made._repr_html_()
    assert repr(made) == "<Prepared rows of films (target): train 2, test 2; split given>"


def test_vocabularies_hold_training_rows_alone(prepared):
    train = MADE.frames["films"].iloc[prepared.split.parts["films"]["train"]]
    books = MADE.frames["books"].iloc[prepared.split.parts["books"]["train"]]
    assert set(prepared.encoder.vocabularies["device"]) == set(train["device"])
    assert set(prepared.encoder.vocabularies["user"]) == set(train["user"]) | set(books["user"])
    mean, _ = prepared.encoder.numbers["films"]["price"]
    np.testing.assert_allclose(mean, train["price"].mean(), rtol=1e-6)


def test_the_mean_label_of_the_training_rows_stands_in_the_schema(prepared):
    for domain in ("books", "films"):
        trained = prepared.parts[domain]["train"].y
        assert prepared.schema.domain(domain).mean == pytest.approx(trained.mean())
        assert 0 < trained.mean() < 1 and trained.mean() != prepared.parts[domain]["test"].y.mean()


def test_one_domain_alone_knows_what_its_own_rows_show(prepared):
    alone, train = prepared.only("films"), prepared.split.parts["films"]["train"]
    assert set(alone.encoder.vocabularies["user"]) == set(MADE.frames["films"]["user"].iloc[train])
    assert len(alone.encoder.vocabularies["user"]) < len(prepared.encoder.vocabularies["user"])
    assert alone.split.hash == prepared.split.hash and list(alone.parts) == ["films"]
    assert not [f for f in alone.schema.target_domain.features if f.of == "books"]
    np.testing.assert_array_equal(alone.parts["films"]["test"].y, prepared.parts["films"]["test"].y)
    assert list(alone.frame("films", "test", 5)["user"]) == list(prepared.frame("films", "test", 5)["user"])
    assert alone.schema.domain("films").mean == prepared.schema.domain("films").mean


def test_files_and_frames_give_the_same(prepared, tmp_path):
    folder = MADE.write(tmp_path / "data")
    schema = Schema.load(folder / "schema.yaml")
    read = prepare(schema, {domain: f"{domain}.csv" for domain in MADE.frames}, folder=folder)
    assert read.split.hash == prepared.split.hash
    same_parts(prepared, read)


def test_written_examples_read_back_with_the_same_encoder(prepared, tmp_path):
    prepared.write(tmp_path)
    assert load_mapping(tmp_path / "split.json")["hash"] == prepared.split.hash
    frames = []
    for part in ("train", "valid", "test"):
        frame = pd.read_parquet(tmp_path / "films" / f"{part}.parquet")
        frames.append(frame.assign(split=part))
    sources = {
        "books": {"path": tmp_path / "books" / "train.parquet", "kind": "examples"},
        "films": {"data": pd.concat(frames, ignore_index=True), "kind": "examples"},
    }
    again = prepare(MADE.schema, sources, split="given", encoder=prepared.encoder)
    for part in ("train", "valid", "test"):
        for name, values in prepared.parts["films"][part].x.items():
            np.testing.assert_array_equal(again.parts["films"][part].x[name], values)
    fresh = prepare(MADE.schema, sources, split="given")
    for name, tokens in prepared.encoder.vocabularies.items():
        assert list(fresh.encoder.vocabularies[name]) == list(tokens), name


def test_files_that_are_there_are_not_written_over(prepared, tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "test.parquet").write_text("a user's own")
    with pytest.raises(DataError, match="test.parquet exists"):
        prepared.write(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["films", "test.parquet"]


def test_examples_in_csv_hold_their_sequences_in_a_cell(prepared, tmp_path):
    for domain in ("books", "films"):
        frame = prepared.frame(domain, "train")
        for column in frame:
            if frame[column].map(lambda value: isinstance(value, np.ndarray)).any():
                frame[column] = [";".join(map(str, value)) for value in frame[column]]
        frame.to_csv(tmp_path / f"{domain}.csv.gz", index=False)
    sources = {d: {"path": f"{d}.csv.gz", "kind": "examples", "separator": ";"} for d in ("books", "films")}
    read = prepare(MADE.schema, sources, split="random", folder=tmp_path, encoder=prepared.encoder)
    at = read.split.parts["films"]["test"]
    for name, values in read.parts["films"]["test"].x.items():
        np.testing.assert_allclose(
            values, prepared.parts["films"]["train"].x[name][at], atol=1e-6, err_msg=name
        )


def test_groups_count_training_rows(prepared):
    groups = prepared.groups("test")
    books = pd.Series(prepared.parts["books"]["train"].user).value_counts()
    films = pd.Series(prepared.parts["films"]["train"].user).value_counts()
    assert list(groups["source_rows"]) == [books.get(user, 0) for user in groups["user"]]
    assert list(groups["target_rows"]) == [films.get(user, 0) for user in groups["user"]]
    items = prepared.frame("films", "train")["item"].value_counts()
    assert list(groups["item_rows"]) == [
        items.get(item, 0) for item in prepared.frame("films", "test")["item"]
    ]
    assert (groups["target_rows"] == 0).any() and (groups["source_rows"] == 0).any()


def test_groups_count_neither_negatives_nor_missing_users_and_items():
    keys = (Feature("user", "id", "user", table="user"), Feature("item", "id", "item", table="film"))
    schema = Schema((Domain("films", keys, time="time"),), "films", (Table("user"), Table("film")))
    users = ["a", "b", ""] * 20
    frame = pd.DataFrame({"user": users, "item": [f"i{n % 25}" for n in range(60)], "time": range(60)})
    frame.loc[frame.index % 10 == 0, "item"] = ""
    made = prepare(schema, {"films": {"data": frame, "negatives": {"per_positive": 3}}}, split="time")
    groups = made.groups("test")
    events = frame[:42]  # 70 %
    for column, found in (("user", "target_rows"), ("item", "item_rows")):
        counts = events[column].value_counts().drop("")
        of = made.frame("films", "test")[column]
        assert list(groups[found]) == [counts.get(key, 0) for key in of]
        assert (of == "").any()


def test_batches_of_all_and_of_some_domains(prepared):
    (x, y), *_ = prepared.train(64)
    assert list(x) == list(y) == ["books", "films"]
    (x, _), *_ = prepared.train(64, domains=("books",))
    assert list(x) == ["books"]
    assert sum(len(y["films"]) for _, y in prepared.valid(50)) == len(prepared.parts["films"]["valid"])
    assert sum(len(y["films"]) for _, y in prepared.test(50)) == len(prepared.parts["films"]["test"])


def small() -> tuple[Schema, dict[str, pd.DataFrame]]:
    def domain(name: str, *more: Feature, **keys) -> Domain:
        features = (
            Feature("user", "id", "user", table="user"),
            Feature("item", "id", "item", table=name),
            *more,
        )
        return Domain(name, features, time="time", **keys)

    tags = Feature("tags", "ids", "item", table="tag", length=2)
    brand = Feature("brand", "id", "item", "int64", "brand", column="brand_id")
    schema = Schema(
        (domain("books", label="stars", threshold=4), domain("films", tags, brand)),
        "films",
        (Table("user"), Table("books"), Table("films"), Table("tag"), Table("brand")),
    )
    rows = {"user": list("abcab"), "item": ["1", "2", "1", "9", "01"], "time": [1, 2, 3, 4, 5]}
    books = pd.DataFrame({**rows, "stars": [1, 4, 5, 3, 4.5]})
    films = pd.DataFrame({**rows, "label": [0, 1, 1, 0, 1], "w": [1.0, 2.0, 0.5, 1.0, 3.0]})
    return schema, {"books": books, "films": films}


def test_joined_files_weights_and_thresholds(tmp_path):
    schema, frames = small()
    frames["films"].to_csv(tmp_path / "films.csv", index=False)
    (tmp_path / "items.csv").write_text("item,brand_id,tags,other\n1,7,x|y|z,\n01,8,,\n2,,x,\n")
    sources = {
        "books": frames["books"],
        "films": {"path": "films.csv", "join": [{"path": "items.csv", "on": "item"}], "weight": "w"},
    }
    made = prepare(schema, sources, split={"by": "time", "cuts": [4, 5]}, folder=tmp_path)
    assert made.parts["books"]["train"].y[:, 0].tolist() == [0, 1, 1]
    whole = pd.concat([made.frame("films", part) for part in ("train", "valid", "test")])
    assert list(whole["brand_id"]) == [7, -1, 7, -1, 8]  # item 9 is in no file, item 2 has no brand
    assert [list(tags) for tags in whole["tags"]] == [["y", "z"], ["x"], ["y", "z"], [], []]
    assert made.parts["films"]["train"].weight.tolist() == [1.0, 2.0, 0.5]
    assert made.parts["books"]["train"].weight is None
    (_, _, w), *_ = made.train(2)
    assert w["books"].numpy().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("books"), ["No data is given for domain 'books'"]),
        (lambda s: s.update(boks=s["books"]), ["domain 'boks'", "Did you mean 'books'?"]),
        (lambda s: s.update(books="none.csv"), ["none.csv does not exist"]),
        (lambda s: s.update(books={"path": "a.csv", "knd": "examples"}), ["'knd'", "'kind'"]),
        (lambda s: s.update(books={"kind": "examples"}), ["`path`", "`data`"]),
        (
            lambda s: s.update(books={"data": s["books"], "kind": "logs"}),
            ["interactions or examples", "'logs'"],
        ),
        (lambda s: s.update(books={"data": s["books"], "join": [{"path": "x"}]}), ["`on`"]),
        (
            lambda s: s.update(books=s["books"].drop(columns="stars")),
            ["domain 'books' lacks the column 'stars'"],
        ),
        (
            lambda s: s.update(films=s["films"].drop(columns="time")),
            ["domain 'films' lacks the column 'time'"],
        ),
        (
            lambda s: s.update(films=s["films"].assign(label=3)),
            ["'label', row 1", "labelled 0 or 1", "`threshold`"],
        ),
        (lambda s: s.update(films=s["films"].assign(label=np.nan)), ["'label', row 1", "missing"]),
        (lambda s: s.update(films=s["films"].assign(time=-1)), ["'time', row 1", "-1"]),
        (lambda s: s.update(films=s["films"].iloc[:0]), ["no rows"]),
        (
            lambda s: s.update(films={"data": s["films"].assign(w=-1.0), "weight": "w"}),
            ["a weight of at least 0 wanted"],
        ),
        (
            lambda s: s.update(films={"data": s["films"], "kind": "examples", "negatives": {}}),
            ["examples hold their own"],
        ),
    ],
)
def test_every_mistake_is_said_before_anything_is_done(change, words):
    schema, frames = small()
    frames["films"] = frames["films"].assign(brand_id=1, tags="x")
    change(frames)
    with pytest.raises(DataError) as caught:
        prepare(schema, frames)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


SECONDS = 1_700_000_000 + 86_400 * np.arange(5)


@pytest.mark.parametrize("factor", [1_000, 1_000_000_000, 1 / 86_400])  # milliseconds, nanoseconds, days
@pytest.mark.parametrize("domain", ["books", "films"])
def test_times_in_two_units_are_an_error(factor, domain):
    schema, frames = small()
    for name, frame in frames.items():
        frames[name] = frame.assign(brand_id=1, tags="x", time=SECONDS)
    prepare(schema, frames)
    times = SECONDS * factor
    times[0] = 0  # a stray time hides nothing
    many = pd.concat([frames[domain].assign(time=SECONDS * factor)] * 5 + [frames[domain].assign(time=times)])
    with pytest.raises(DataError, match="look like different units.*1700000000.*Give both in one unit"):
        prepare(schema, {**frames, domain: many})
    with pytest.raises(DataError, match="look like different units"):
        check(schema, {**frames, domain: many})


@pytest.mark.parametrize(
    ("books", "films"),
    [
        ([1, 2, 3, 4, 5], [0, 900, 2_000, 50_000, 100_000]),  # counts from 0, one log longer than the other
        ([0, 25, 50, 75, 100], SECONDS),
        ([0, 0, 0, 0, 0], SECONDS),  # what was before everything
        (SECONDS - 9e8, SECONDS),  # years apart
        (pd.to_datetime(SECONDS, unit="s"), SECONDS),
    ],
)
def test_times_that_only_lie_apart_are_none(books, films):
    schema, frames = small()
    prepare(
        schema,
        {
            "books": frames["books"].assign(time=books),
            "films": frames["films"].assign(brand_id=1, tags="x", time=films),
        },
        split="random",
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"include_ties": "no"}, "`include_ties` must be true or false. Received: 'no'"),
        ({"history": "after"}, "`history` must be before or others. Received: 'after'"),
        ({"seed": "a"}, "`seed` must be a whole number of at least 0. Received: 'a'"),
        ({"split": {"by": "time", "fractions": [1]}}, "three numbers"),
        (
            {"sources": {"films": {"path": "f.csv", "history_min_label": "x"}}},
            "`history_min_label` must be a finite number",
        ),
        (
            {"sources": {"films": {"path": "f.csv", "join": {"path": "x", "on": "y"}}}},
            "`join` must be a list",
        ),
        ({"sources": {"films": {"path": "f.csv", "separator": ""}}}, "`separator` must be text"),
        ({"sources": {"films": {"path": "f.csv", "weight": True}}}, "`weight` must be the name of a column"),
    ],
)
def test_arguments_are_checked_before_a_file_is_looked_for(given, words):
    sources = {"books": "nowhere.csv", "films": "nowhere.csv", **given.pop("sources", {})}
    with pytest.raises(DataError, match=re.escape(words)):
        prepare(small()[0], sources, **given)


def test_files_are_checked_before_any_is_read(tmp_path):
    schema, frames = small()
    frames["films"] = frames["films"].drop(columns="user").assign(brand_id=1, tags="x")
    frames["books"] = frames["books"].assign(time=-1)  # would fail as well, but only when it is read
    with pytest.raises(DataError, match="lacks the column 'user'"):
        prepare(schema, frames)


def test_a_join_with_two_rows_a_key(tmp_path):
    schema, frames = small()
    items = pd.DataFrame({"item": ["1", "1"], "brand_id": [1, 2], "tags": ["x", "y"]})
    sources = {
        "books": frames["books"],
        "films": {"data": frames["films"], "join": [{"data": items, "on": "item"}]},
    }
    with pytest.raises(DataError, match="several rows with item '1'"):
        prepare(schema, sources)


def test_examples_without_their_history_and_histories_of_examples():
    sources = {name: {"data": frame, "kind": "examples"} for name, frame in MADE.frames.items()}
    with pytest.raises(DataError, match="'books' lacks the column 'books_shown'"):
        prepare(MADE.schema, sources)
    sources["films"] = MADE.frames["films"]
    with pytest.raises(DataError, match="'books_shown' of 'films'.*whose rows are examples"):
        prepare(MADE.schema, sources)


def test_the_label_is_not_a_feature():
    schema, frames = small()
    cheat = Feature("stars", "number", "item")
    books = schema.domain("books")
    schema = Schema(
        (
            Domain("books", (*books.features, cheat), label="stars", threshold=4, time="time"),
            schema.domain("films"),
        ),
        "films",
        schema.tables,
    )
    with pytest.raises(DataError, match="reads the label column 'stars'.*given the answer"):
        prepare(schema, frames)


def test_one_column_wanted_in_two_types():
    read = Feature("stars_given", "ids", "history", "int64", "star", 3, of="books", field="item")
    schema, frames = small()
    films = schema.domain("films")
    schema = Schema(
        (schema.domain("books"), Domain("films", (*films.features, read), time="time")),
        "films",
        (*schema.tables, Table("star")),
    )
    with pytest.raises(
        DataError, match="column 'item' is wanted as string and, by history 'stars_given'.*as int64"
    ):
        prepare(schema, frames)


@pytest.mark.parametrize("by", ["time", "last", "users", "random"])
def test_no_training_row_shows_a_held_out_event(by):
    """Events are told apart by numbers of their own; the target's histories list the numbers."""

    def domain(name: str) -> Domain:
        features = (
            Feature("user", "id", "user", table="user"),
            Feature("read", "ids", "history", "int64", "book", 50, of="books", field="event"),
            Feature("seen", "ids", "history", "int64", "film", 50, of="films", field="event"),
        )
        return Domain(name, features, label="click", time="time")

    schema = Schema(
        (domain("books"), domain("films")), "films", (Table("user"), Table("book"), Table("film"))
    )
    made = prepare(schema, MADE.frames, split=by)
    held_out = {
        name: {
            *MADE.frames[name]["event"].iloc[
                np.concatenate([made.split.parts[name][part] for part in ("valid", "test")])
            ]
        }
        for name in ("books", "films")
    }
    assert held_out["films"]
    for name in ("books", "films"):
        frame = made.frame(name, "train")
        assert frame["read"].map(len).sum() and frame["seen"].map(len).sum()
        assert not held_out["books"] & set(np.concatenate(list(frame["read"])))
        assert not held_out["films"] & set(np.concatenate(list(frame["seen"])))
    if by in ("users", "random"):
        assert not held_out["films"] & set(np.concatenate(list(made.frame("films", "test")["seen"])))


def test_a_history_lists_the_events_that_its_conditions_name():
    """Clicks and purchases of one log are sequences of their own; columns of one condition run in step."""
    log = pd.DataFrame(
        {
            "user": ["a"] * 5 + ["b"],
            "item": ["i1", "i2", "i3", "i4", "i5", "i6"],
            "type": ["view", "buy", "view", "buy", "view", "buy"],
            "day": [1, 1, 2, 2, 3, 3],
            "time": [1, 2, 3, 4, 5, 6],
            "click": [1, 0, 1, 0, 1, 0],
        }
    )

    def seen(name, field, table, **where):
        options = {"length": 3, "of": "shop", "field": field, "where": where or None}
        return Feature(name, "ids", "history", table=table, **options)

    features = (
        Feature("user", "id", "user", table="user"),
        Feature("item", "id", "item", table="item"),
        seen("bought", "item", "item", type="buy"),
        seen("bought_types", "type", "type", type="buy"),
        seen("viewed_today", "item", "item", type="view", day=2),
        seen("all", "item", "item"),
    )
    shop = Domain("shop", features, label="click", time="time")
    schema = Schema((shop,), "shop", tuple(Table(name) for name in ("user", "item", "type")))
    assert Schema.from_dict(schema.to_dict()) == schema
    assert schema.to_dict()["domains"]["shop"]["features"][4]["where"] == {"day": 2, "type": "view"}
    prepared = prepare(schema, {"shop": {"data": log}}, split={"by": "time", "fractions": [0.6, 0.2, 0.2]})
    frame = prepared.frame("shop", "train")
    assert [list(row) for row in frame["bought"]] == [[], [], ["i2"], ["i2"]][: len(frame)]
    assert [list(row) for row in frame["viewed_today"]] == [[], [], [], ["i3"]][: len(frame)]
    late = prepared.frame("shop", "valid")
    assert list(late["bought"][0]) == ["i2", "i4"] and list(late["bought_types"][0]) == ["buy", "buy"]
    with pytest.raises(SchemaError, match="do not run in step.*DACDR"):
        events(shop.histories(), {})
    with pytest.raises(SchemaError, match=r"`where` of feature 'x' must be \{column: value\}"):
        Feature("x", "ids", "history", table="item", length=3, of="shop", where={"type": 1.5})
    with pytest.raises(SchemaError, match="Only a history has `of`, `field` and `where`"):
        Feature("x", "id", "item", table="item", where={"type": "buy"})
