"""Rows prepared by partition are, to the bit, those that are prepared in memory: all protocols, any number of them."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from cdrzoo.data import Encoder, load_rows, prepare
from cdrzoo.data.preparation.examples import as_frame, raw_columns
from cdrzoo.data.quality import warnings_of
from cdrzoo.data.readers import csv
from cdrzoo.data.rows import format, making, plan, tasks
from cdrzoo.data.rows.format import Rows, ids_of_target
from cdrzoo.data.rows.making import prepare_to, write_raw
from cdrzoo.data.rows.plan import Settings
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table
from tests.data.preparation.test_protocols import PROTOCOLS, frames
from tests.data.test_readers import example, write_records

KEYS = (
    Feature("user", "id", "user", table="user"),
    Feature("item", "id", "item", "int64", table="item"),
)


def rich() -> Schema:
    """Numbers, sequences in the log, tables of both domains, a column that a join gives, histories in step."""

    def domain(name: str) -> Domain:
        histories = tuple(
            Feature(f"{of}_{what}", "ids", "history", dtype, table, 4, of=of, field=what)
            for of in ("books", "films")
            for what, table, dtype in (("item", "item", "int64"), ("brand", "brand", "string"))
        )
        own = (
            Feature("price", "number", "item"),
            Feature("minutes", "number", "context", "int64", serving_value=7),
            Feature("tags", "ids", "item", table="tag", length=2),
            Feature("brand", "id", "item", table="brand"),
        )
        return Domain(name, (*KEYS, *own, *histories), time="time")

    tables = (Table("user"), Table("item", min_count=2), Table("tag"), Table("brand"))
    return Schema((domain("books"), domain("films")), "films", tables)


def logs(seed: int = 0) -> dict[str, pd.DataFrame]:
    """Ties, missing users, items and values, one user with a third of all rows, users of one domain alone."""
    random = np.random.default_rng(seed)
    made = {}
    for name, rows in (("books", 300), ("films", 240)):
        user = random.integers(0, 40, rows) + (10 if name == "films" else 0)
        item = np.where(random.random(rows) < 0.03, -1, random.integers(0, 30, rows))
        made[name] = pd.DataFrame(
            {
                "user": np.where(random.random(rows) < 0.3, "heavy", [f"u{n}" for n in user]),
                "item": item,
                "price": np.where(random.random(rows) < 0.1, np.nan, random.normal(5e3, 2, rows)),
                "minutes": random.integers(0, 2**40, rows),
                "tags": [
                    [f"t{n}" for n in random.integers(0, 9, random.integers(0, 4))] for _ in range(rows)
                ],
                "time": random.integers(1_600_000_000, 1_600_000_060, rows),
                "label": random.integers(0, 2, rows),
                "w": random.random(rows).round(2),
                "site": random.choice(["a", "b", ""], rows),
                "hour": item % 5,
            }
        )
        made[name].loc[random.random(rows) < 0.05, "user"] = ""
    return made


def write(folder: pathlib.Path, data: dict[str, pd.DataFrame], ending: str = "parquet") -> dict[str, str]:
    """Each log as a folder of two files; their places."""
    for name, frame in data.items():
        (folder / name).mkdir(parents=True)
        for number, rows in enumerate((frame[: len(frame) // 3], frame[len(frame) // 3 :])):
            path = folder / name / f"{number}.{ending}"
            if ending == "parquet":
                rows.to_parquet(path, row_group_size=50)
            elif ending == "tfrecord":
                records = json.loads(rows.to_json(orient="records"))
                write_records(path, [example(record) for record in records])
            elif ending == "jsonl":
                rows.to_json(path, orient="records", lines=True)
            else:
                # Whole times and, further down in a file, fractions.
                times = [f"{time}.5" if at > 200 else time for at, time in rows["time"].items()]
                tags = ["|".join(tags) for tags in rows["tags"]]
                rows.assign(tags=tags, time=times).to_csv(path, index=False)
    return {name: str(folder / name) for name in data}


def case(name: str, folder: pathlib.Path) -> Settings:
    """What is prepared, by the name of the case."""
    if name in PROTOCOLS:
        return Settings(**PROTOCOLS[name], data=write(folder, frames()))
    kind, _, split = name.partition(", ")
    data: dict = write(
        folder, logs(), {"CSV": "csv", "JSON": "jsonl", "TFRecord": "tfrecord"}.get(kind, "parquet")
    )
    brands = pd.DataFrame({"item": range(25), "brand": [f"b{n % 4}" for n in range(25)]})
    brands.to_csv(folder / "brands.csv", index=False)
    join = [{"path": str(folder / "brands.csv"), "on": "item"}]
    data = {domain: {"path": path, "join": join} for domain, path in data.items()}
    settings = Settings(rich(), data, split or "time", slices=("site", "hour", "item"), seed=5)
    if kind == "negatives":
        positives = {d: f.assign(label=1, brand="x") for d, f in logs().items()}
        drawn = {"books": {}, "films": {"per_positive": 2, "how": "popularity"}}
        places = write(folder / "positives", positives)
        data = {d: {"path": places[d], "negatives": drawn[d]} for d in places}
        return dataclasses.replace(settings, data=data)
    if kind == "weights":
        data["films"]["weight"] = "w"
        data["books"]["history_min_label"] = 1
        return dataclasses.replace(settings, include_ties=True)
    if kind == "others":
        return dataclasses.replace(settings, history="others")
    if kind == "buckets":
        tables = tuple(
            Table(t.name, hash_buckets=7) if t.name in ("tag", "item") else t for t in rich().tables
        )
        return dataclasses.replace(settings, schema=Schema(rich().domains, "films", tables))
    return settings


def examples(folder: pathlib.Path) -> Settings:
    """Rows that hold their histories, without keys, many of them alike."""
    features = (
        Feature("age", "id", "user", table="age"),
        Feature("seen", "ids", "history", table="age", length=3, of="films", field="age"),
    )
    one = Schema((Domain("films", features),), "films", (Table("age"),))
    frame = pd.DataFrame({"age": list("abcd") * 20, "label": [0, 1] * 40})
    frame["seen"] = [list("abcd")[: n % 4] for n in range(80)]
    frame.to_parquet(folder / "films.parquet")
    return Settings(
        one, {"films": {"path": str(folder / "films.parquet"), "kind": "examples"}}, "random", seed=1
    )


CASES = [
    *PROTOCOLS,
    "CSV, time",
    "JSON, last",
    "Parquet, random",
    "Parquet, users",
    "others, resample",
    "negatives, time",
    "negatives, last",
    "weights, time",
    "weights, random",
    "examples",
    pytest.param("buckets, time", marks=pytest.mark.slow),  # these import TensorFlow
    pytest.param("TFRecord, random", marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Shards, kept rows and pieces of a file so small that there are several."""
    for module in (format, tasks, making.combine, plan):
        for name, rows in (("SHARD_ROWS", 64), ("GROUP_ROWS", 16), ("EXAMPLES", 20), ("PIECE_ROWS", 60)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, rows)
    monkeypatch.setattr(csv, "BLOCK", 2000)


def matrix(table: pa.Table, column: str) -> np.ndarray:
    flat = table[column].combine_chunks()
    flat = flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat
    return np.asarray(flat.flatten()).reshape(len(table), -1)


def check_shards(folder: pathlib.Path, rows: Rows, want) -> None:
    """Every part's shards hold what the rows in memory hold."""
    for name, domain in rows.domains.items():
        log = want.logs[name]
        for part, found in domain.parts.items():
            expected, at = want.parts[name][part], want.split.parts[name][part]
            assert found.rows == len(expected) == sum(n for _, n in found.shards)
            assert all(n == 64 for _, n in found.shards[:-1])
            if not found.rows:
                continue
            files = [parquet.ParquetFile(folder / path) for path, _ in found.shards]
            assert all(file.metadata.row_group(0).num_rows <= 16 for file in files)
            table = pa.concat_tables([file.read() for file in files])
            numbers = np.asarray(table["row"])
            order = np.argsort(numbers)
            assert (np.diff(numbers) > 0).all() == (part != "train" or len(numbers) == 1)
            np.testing.assert_array_equal(numbers[order], log.row[at])
            ids = [expected.x[f].reshape(len(expected), width) for f, width in domain.ids]
            np.testing.assert_array_equal(matrix(table, "ids")[order], np.concatenate(ids, 1))
            if domain.numbers:
                values = np.stack([expected.x[f] for f, _ in domain.numbers], 1)
                np.testing.assert_array_equal(matrix(table, "numbers")[order], values)
            columns = {"label": expected.y[:, 0], "user": expected.user, "weight": expected.weight}
            columns["time"] = None if log.time is None else log.time[at]
            columns["item"] = None if log.item is None else log.item[at]
            if name == want.schema.target:
                groups = want.groups(part) if log.user is not None else {}
                columns |= {column: groups[column] for column in groups if column != "user"}
                columns |= {f"slice.{column}": want.values(column, part) for column in rows.slices}
            for column, values in columns.items():
                assert (column in table.column_names) == (values is not None), column
                if values is not None:
                    np.testing.assert_array_equal(table[column].to_numpy()[order], values, err_msg=column)
            frame = pd.read_parquet(folder / "examples" / name / f"{part}.parquet")
            pd.testing.assert_frame_equal(
                _plain(frame), _plain(want.frame(name, part, 20)), check_dtype=False
            )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Sequences as lists."""
    return frame.apply(
        lambda column: column.map(lambda v: list(v) if isinstance(v, (list, np.ndarray)) else v)
    )


def check_all(folder: pathlib.Path, want) -> None:
    rows = Rows.load(folder)
    assert rows.split == want.split.to_dict()
    for place, of in (("encoder", want), ("encoder_target", want.only(want.schema.target))):
        encoder = Encoder.load(folder / place)
        assert encoder.schema == of.schema and encoder.numbers == of.encoder.numbers
        for table, tokens in of.encoder.vocabularies.items():
            assert list(encoder.vocabularies[table]) == list(tokens), table
    assert Schema.load(folder / "schema.yaml") == want.schema
    check_shards(folder, rows, want)
    target, alone = want.schema.target, want.only(want.schema.target)
    maps = ids_of_target(
        Encoder.load(folder / "encoder"), Encoder.load(folder / "encoder_target"), want.schema
    )
    for feature in alone.schema.domain(target).features:
        if feature.kind != "number":
            found, row_of = want.parts[target]["test"].x[feature.name], maps[feature.table]
            found = found if row_of is None else row_of[found]
            np.testing.assert_array_equal(found, alone.parts[target]["test"].x[feature.name])


def test_an_id_that_an_extended_table_lacks_is_no_row_of_another():
    user = Feature("user", "id", "user", table="user")
    table = Schema((Domain("films", (user,)),), "films", (Table("user"),))
    every, alone = (
        Encoder(table).adapt({"films": {"user": np.array(users, object)}})
        for users in (["x", "y", "z"], ["x", "n1", "n2"])
    )
    row = {
        name: of.lookups["user"].find(np.array(["x", "z"], object)) + 2
        for name, of in (("every", every), ("alone", alone))
    }
    (found,) = ids_of_target(every, alone, table).values()
    assert found[row["every"]].tolist() == [row["alone"][0], 1]


@pytest.mark.parametrize("partitions", [1, 3])
def test_what_is_doubtful_is_said(partitions, tmp_path):
    settings = case("CSV, time", tmp_path)
    for number in range(2):
        log = tmp_path / "films" / f"{number}.csv"
        log.write_text(log.read_text().replace("heavy", "null").replace("u1", " u1").replace("|", ";"))
    made = in_memory(settings)
    found = prepare_to(tmp_path / "rows", settings, partitions=partitions).warnings
    assert any("'null' stands in" in text for text in found) and any(
        "too few for its" in text for text in found
    )
    assert list(found) == warnings_of(made.schema, made.logs, made.split)


@pytest.mark.parametrize("meet", [False, True])
@pytest.mark.parametrize("partitions", [1, 3])
def test_domains_that_do_not_meet_and_ties_at_a_cut_are_said(partitions, meet, tmp_path):
    """One common user, in the last row of each log, and nothing is said of them."""
    settings = case("Parquet, time", tmp_path)
    for name in ("books", "films"):
        for path in sorted((tmp_path / name).iterdir()):
            frame = pd.read_parquet(path)
            frame["user"], frame["time"] = name + frame["user"], frame["time"] // 20
            if meet and path.stem == "1":
                frame.loc[len(frame) - 1, "user"] = "both"
            frame.to_parquet(path)
    made = in_memory(settings)
    found = prepare_to(tmp_path / "rows", settings, partitions=partitions).warnings
    assert any("table 'user': books and films share it" in text for text in found) != meet
    assert any("have that of a cut" in text for text in found)
    assert list(found) == warnings_of(made.schema, made.logs, made.split)


def in_memory(settings: Settings):
    arguments = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return prepare(arguments.pop("schema"), arguments.pop("data"), **arguments)


def files_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    "partitions",
    [3, pytest.param(1, marks=pytest.mark.exhaustive), pytest.param(7, marks=pytest.mark.exhaustive)],
)
@pytest.mark.parametrize("name", CASES)
def test_partitions_give_what_memory_gives(name, partitions, tmp_path):
    settings = examples(tmp_path) if name == "examples" else case(name, tmp_path)
    want = in_memory(settings)
    prepare_to(tmp_path / "rows", settings, partitions=partitions)
    check_all(tmp_path / "rows", want)


def write_parts(logs, codes, folder, name) -> None:
    """Raw rows by domain, with the numbers of row and part."""
    for domain, log in logs.items():
        frame = as_frame(raw_columns(log.domain, log, np.arange(len(log))))
        (folder / domain).mkdir()
        frame.assign(row=log.row, part=codes[domain]).to_parquet(folder / domain / f"{name}.parquet")


@pytest.mark.parametrize("name", ["negatives, last", "weights, time"])
def test_raw_rows_of_partitions_are_those_of_memory(name, tmp_path):
    settings = case(name, tmp_path)
    want = in_memory(settings)
    split, warnings = write_raw(tmp_path / "one", settings, write_parts)
    assert warnings == warnings_of(want.schema, want.logs, want.split)
    three, _ = write_raw(tmp_path / "three", settings, write_parts, partitions=3)
    assert split.to_dict() == three.to_dict() == want.split.to_dict()
    for domain, log in want.logs.items():
        codes = np.full(len(log), -1)
        for code, rows in enumerate(want.split.parts[domain].values()):
            codes[rows] = code
        wanted = as_frame(raw_columns(log.domain, log, np.arange(len(log)))).assign(row=log.row, part=codes)
        for partitions in ("one", "three"):
            files = sorted((tmp_path / partitions / domain).glob("*.parquet"))
            assert len(files) == {"one": 1, "three": 3}[partitions]
            found = pd.concat(map(pd.read_parquet, files)).sort_values("row", ignore_index=True)
            pd.testing.assert_frame_equal(
                _plain(found), _plain(wanted.sort_values("row", ignore_index=True)), check_dtype=False
            )


@pytest.mark.slow
def test_one_user_may_have_most_rows(tmp_path, monkeypatch):
    for module, name in ((tasks, "GROUP_ROWS"), (format, "SHARD_ROWS"), (making.combine, "SHARD_ROWS")):
        monkeypatch.setattr(module, name, 1 << 16)
    random, data = np.random.default_rng(3), {}
    for name, rows in (("books", 60_000), ("films", 50_000)):
        others = [f"u{n}" for n in random.integers(0, 900, rows)]
        frame = pd.DataFrame({"user": np.where(random.random(rows) < 0.9, "heavy", others)})
        most = {"item": 500, "time": 9000, "label": 2}
        columns = {column: random.integers(0, below, rows) for column, below in most.items()}
        frame.assign(**columns).to_parquet(tmp_path / f"{name}.parquet")
        data[name] = str(tmp_path / f"{name}.parquet")
    histories = tuple(
        Feature(f"h_{of}", "ids", "history", "int64", "item", 30, of=of, field="item") for of in data
    )
    domains = tuple(Domain(name, (*KEYS, *histories), time="time") for name in data)
    settings = Settings(Schema(domains, "films", (Table("user"), Table("item"))), data)
    want, rows = in_memory(settings), prepare_to(tmp_path / "rows", settings, partitions=4)
    assert rows.split == want.split.to_dict()
    found = load_rows(tmp_path / "rows", held=True)
    for part in ("train", "test"):
        for name, values in want.parts["films"][part].x.items():
            np.testing.assert_array_equal(found.parts["films"][part].x[name], values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: f.assign(label=f["label"].where(f.index != 150, 7)),
            r"1.csv, column 'label', row 71: a click",
        ),
        (lambda f: f.assign(time=f["time"].where(f.index != 150, -3)), r"1.csv, column 'time', row 71"),
        (lambda f: f.drop(columns="price"), "lacks the column 'price'"),
        (lambda f: f.assign(time=f["time"] * 1000), "look like different units"),
    ],
)
def test_mistakes_name_file_and_row(change, words, tmp_path):
    data = logs()
    settings = case("CSV, time", tmp_path)
    changed = change(data["films"])
    for number, rows in enumerate((changed[:80], changed[80:])):
        tags = {"tags": ["|".join(tags) for tags in rows["tags"]]}
        rows.assign(**tags).to_csv(tmp_path / "films" / f"{number}.csv", index=False)
    with pytest.raises(DataError, match=words):
        prepare_to(tmp_path / "rows", settings)
