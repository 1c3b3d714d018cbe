"""Prepared rows in a folder against the same rows in memory."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from cdrzoo.data import Part, load_rows, prepare, synthetic
from cdrzoo.data.preparation import prepared as prepared_module
from cdrzoo.data.preparation.examples import texts
from cdrzoo.data.raw import factorize
from cdrzoo.data.rows import combine, reading, stored, tasks
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.data.rows.plan import Settings
from cdrzoo.errors import DataError, InputError
from cdrzoo.evaluation.floors import floors

MADE = synthetic.synthesize(
    0.5, users=120, source_rows=1500, target_rows=600, source_items=40, target_items=30
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    weight = 1.0 + np.arange(len(MADE.frames["books"])) % 3
    MADE.frames["books"].assign(w=weight).to_parquet(folder / "books.parquet")
    MADE.frames["films"].to_parquet(folder / "films.parquet")
    data = {"books": {"path": "books.parquet", "weight": "w"}, "films": "films.parquet"}
    return Settings(MADE.schema, data, slices=("device",), folder=str(folder))


@pytest.fixture(scope="module")
def prepared(settings):
    return prepare(settings.schema, settings.data, slices=settings.slices, folder=settings.folder)


@pytest.fixture(scope="module")
def folder(settings, tmp_path_factory):
    """Shards of 200 rows, row groups of 32."""
    path = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combine, "SHARD_ROWS", 200)
        patch.setattr(tasks, "GROUP_ROWS", 32)
        prepare_to(path, settings, partitions=3)
    return path


def flat(batches, domain: str) -> dict[str, np.ndarray]:
    found = [{**x[domain], "@y": y[domain][:, 0], "@w": w[0][domain]} for x, y, *w in batches]
    return {name: np.concatenate([np.asarray(batch[name]) for batch in found]) for name in found[0]}


def tell(rows: dict[str, np.ndarray]) -> list[tuple]:
    """Rows as tuples, to be compared in any order."""
    columns = [v.reshape(len(v), -1) for _, v in sorted(rows.items())]
    return sorted(map(tuple, np.concatenate(columns, 1).tolist()))


def test_in_memory_they_are_what_was_prepared(prepared, folder):
    for one, two in (
        (prepared, load_rows(folder)),
        (prepared.only("films"), load_rows(folder).only("films")),
    ):
        assert two.held and two.schema == one.schema and two.split.to_dict() == one.split.to_dict()
        for domain, parts in one.parts.items():
            for part, rows in parts.items():
                same = two.parts[domain][part]
                np.testing.assert_array_equal(same.y, rows.y)
                np.testing.assert_array_equal(same.user, rows.user)
                assert (same.weight is None) == (rows.weight is None)
                if rows.weight is not None:
                    np.testing.assert_array_equal(same.weight, rows.weight)
                for name, values in rows.x.items():
                    np.testing.assert_array_equal(same.x[name], values, err_msg=f"{domain} {part} {name}")
                assert two.keys(domain, part).equals(one.keys(domain, part))
        for part in ("train", "valid", "test"):
            assert two.groups(part).equals(one.groups(part))
            assert two.values("device", part).tolist() == one.values("device", part).tolist()
            assert two.frame("films", part).equals(one.frame("films", part))
        assert [b.rows for b in two.overview()] == [b.rows for b in one.overview()]


@pytest.mark.parametrize("alone", [False, True])
def test_read_from_the_folder_an_epoch_holds_each_row_once(prepared, folder, alone):
    stored = load_rows(folder, held=False)
    one, two = (prepared.only("films"), stored.only("films")) if alone else (prepared, stored)
    data = two.train({"books": 64, "films": 32}, seed=3)
    assert data.element_spec == one.train({"books": 64, "films": 32}).element_spec
    size = len(one.parts["films"]["train"])
    every = tell({**one.parts["films"]["train"].x, "@y": one.parts["films"]["train"].y[:, 0]})
    orders = []
    for _ in range(2):
        batches = [batch[:2] + ((batch[2],) if not alone else ()) for batch in data]
        assert len(batches) == size // 32 == data.cardinality()
        found = [{**x["films"], "@y": y["films"][:, 0]} for x, y, *_ in batches]
        found = {name: np.concatenate([np.asarray(b[name]) for b in found]) for name in found[0]}
        left = list(every)
        for row in tell(found):
            left.remove(row)
        assert len(left) == size % 32
        orders.append(found["item"])
    assert (orders[0] != orders[1]).any()
    for part in ("valid", "test"):
        wanted, found = getattr(one, part)(50), getattr(two, part)(50)
        for (x, y), (x2, y2) in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(y["films"], y2["films"])
            for name in x["films"]:
                np.testing.assert_array_equal(x["films"][name], x2["films"][name])
    first = two.parts["films"]["valid"].first(7)
    for name, values in one.parts["films"]["valid"].first(7).items():
        np.testing.assert_array_equal(first[name], values)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", ["target", "longest", 7])
def test_it_goes_on_in_the_middle_of_a_training_to_the_bit(folder, epoch):
    how = {"batch_size": {"books": 128, "films": 32}, "seed": 4, "epoch": epoch}
    whole = load_rows(folder, held=False).train(**how)
    next(iter(whole))  # a look is no epoch
    epochs = [list(whole) for _ in range(3)]
    resumed = list(load_rows(folder, held=False).train(**how, initial_epoch=2).skip(2))
    assert len(resumed) == len(epochs[2]) - 2 > 0
    for domain in ("books", "films"):
        one, two = flat(epochs[2][2:], domain), flat(resumed, domain)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_the_other_domain_runs_on_through_its_rows(prepared, folder):
    stored = load_rows(folder, held=False)
    size = len(prepared.parts["books"]["train"])
    steps = 5
    data = stored.train({"books": size // steps // 3, "films": 8}, epoch=steps, seed=1)
    seen = sum((tell(flat(data, "books")) for _ in range(3)), [])
    books = prepared.parts["books"]["train"]
    left = tell({**books.x, "@y": books.y[:, 0], "@w": books.weight})
    for row in seen:
        left.remove(row)
    assert len(left) == size - 3 * steps * (size // steps // 3)  # three epochs: one pass, no row twice


def test_workers_share_the_rows(prepared, folder):
    stored, how = load_rows(folder, held=False), {"batch_size": {"books": 64, "films": 32}, "seed": 2}
    shares = [list(stored.train(**how, share=(index, 2))) for index in range(2)]
    assert len(shares[0]) == len(shares[1]) == len(prepared.parts["films"]["train"]) // 32
    assert shares[0][0][0]["films"]["item"].shape == (16,)
    one, two = (flat(each, "books") for each in shares)
    books = prepared.parts["books"]["train"]
    left = tell({**books.x, "@y": books.y[:, 0], "@w": books.weight})
    for row in tell(one) + tell(two):
        left.remove(row)  # no row twice
    with pytest.raises(DataError, match="3 workers cannot share a batch of 64 rows of 'books'"):
        stored.train(**how, share=(0, 3))


def test_unshuffled_it_keeps_the_order(folder):
    stored = load_rows(folder, held=False)
    found = flat(stored.train({"books": 10, "films": 10}, shuffle=False), "films")
    wanted = stored.stored["films"]["train"].first(10**6)
    np.testing.assert_array_equal(found["item"], wanted["item"][: len(found["item"])])


def test_pairs_are_those_of_memory(prepared, folder):
    one, two = (
        prepared.train(16, paired=True, seed=5),
        load_rows(folder, held=False).train(16, paired=True, seed=5),
    )
    for domain in ("books", "films"):
        here, there = flat(one, domain), flat(two, domain)
        for name in here:
            np.testing.assert_array_equal(here[name], there[name])


def test_batches_spread_as_in_a_perfect_shuffle():
    """The pool neither undoes the order in which rows were written, nor is it emptied."""
    rows, size, group = 1 << 19, 2048, 8192

    def batches(values):
        empty = np.zeros((group, 0), np.int32)
        groups = np.split(values[:, None], rows // group)
        blocks = ((empty, values, values) for values in groups)
        return [found for _, found, _ in reading._mixed(blocks, size, np.random.default_rng(1), 1 << 17)]

    value = np.random.default_rng(0).permutation(rows).astype(np.float32) / rows
    found = batches(value)
    assert len(found) == rows // size and np.unique(np.concatenate(found)).size == rows
    assert np.std([batch.mean() for batch in found]) == pytest.approx(1 / np.sqrt(12 * size), rel=0.1)
    # Of rows in order a batch is drawn from a pool's worth at least, not from what was read last.
    assert min(batch.std() for batch in batches(np.sort(value))) > 0.9 * (1 << 17) / rows / np.sqrt(12)


def test_mistakes_are_said(folder, tmp_path):
    with pytest.raises(InputError, match="prepared.json is missing"):
        load_rows(tmp_path)
    shutil.copy(folder / "prepared.json", tmp_path)
    with pytest.raises(
        DataError, match="as an unpacked run does. Copy what `cdrzoo prepare` wrote to that place"
    ):
        load_rows(tmp_path)
    stored = load_rows(folder)
    with pytest.raises(DataError, match="slices by: device. Received: 'hour'"):
        stored.values("hour", "test")
    with pytest.raises(DataError, match="all domains or of the target alone. Received: books"):
        stored.only("books")
    shutil.copytree(folder, tmp_path / "rows")
    (tmp_path / "rows" / "parts" / "films" / "train" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"00000.parquet is damaged .* Prepare the rows again"):
        load_rows(tmp_path / "rows", held=False).train(8)
    record = json.loads((tmp_path / "rows" / "prepared.json").read_text())
    older = {name: value for name, value in record.items() if name != "slices"}
    for changed, words in (
        ({**record, "format": 99}, "another format"),
        (
            {**record, "of_a_newer_version": 1},
            "prepared.json is damaged .*of_a_newer_version.* Prepare the rows",
        ),
        (older, "prepared.json is damaged .*slices.* Prepare the rows again"),
    ):
        (tmp_path / "rows" / "prepared.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=words):
            load_rows(tmp_path / "rows")
    assert isinstance(stored.parts["films"]["train"], Part)


def test_text_of_many_row_groups_takes_memory_once():
    """A dictionary of all texts for each of the groups, as Arrow's `unify_dictionaries` makes them, is 160 MB here."""
    groups, rows, pool = 200, 1000, pa.proxy_memory_pool(pa.default_memory_pool())
    column = pa.chunked_array(
        [[f"u{n}" for n in range(at, at + rows)] for at in range(0, groups * rows, rows)]
    )
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        found = texts(column)
    finally:
        pa.set_memory_pool(before)
    assert found.tolist() == column.to_pylist()
    assert pool.max_memory() < 20e6


@pytest.mark.parametrize("held", [False, True])
def test_the_floors_are_those_of_memory_and_no_training_row_is_text(prepared, folder, held, monkeypatch):
    rows, column = load_rows(folder, held), reading.StoredPart.column
    assert rows.parts  # of rows that are held the users are read

    def few(part, name):
        assert name not in ("user", "item") or part.rows is not rows.stored["films"]["train"].rows
        assert part.rows is not rows.stored["books"]["train"].rows or name in ("label", "row")
        return column(part, name)

    monkeypatch.setattr(reading.StoredPart, "column", few)
    monkeypatch.setattr(reading, "_TOGETHER", 2)
    monkeypatch.setattr("cdrzoo.evaluation.floors.AT_ONCE", 100)
    want, found = floors(prepared), floors(rows)
    assert want.keys() == found.keys() and len(want) == 4
    for name in want:
        assert found[name] == pytest.approx(want[name], nan_ok=True), name


@pytest.mark.parametrize("column", ["user", "time", "genre"])
def test_batches_that_are_alike_inside(prepared, folder, column, monkeypatch):
    """Batches follow from rows and keys alone: `training_batches` is handed those of memory."""
    for module in (stored, prepared_module):
        monkeypatch.setattr(module, "training_batches", lambda parts, *_, **__: parts)
    how = {"batch_size": 40, "group": {"books": column}}
    want = prepared.train(**how)
    held, read = (load_rows(folder, held=each).train(**how) for each in (True, False))
    for name in want:
        for feature, values in want[name].x.items():
            np.testing.assert_array_equal(held[name].x[feature], values)
            assert sorted(map(str, read[name].x[feature].tolist())) == sorted(map(str, values.tolist()))
    codes = factorize(want["books"].group)[0]
    np.testing.assert_array_equal(factorize(held["books"].group)[0], codes)
    assert held["films"].group is None and read["films"].group is None
    keys = read["books"].group
    assert (np.diff(keys) >= 0).all()  # those of a key lie together on the disk
    if column != "genre":  # each with the rows that it has in memory
        tables = (read["books"].x["user"], keys), (want["books"].x["user"], codes)
        sizes = [
            sorted(np.unique(np.stack(pair, 1), axis=0, return_counts=True)[1].tolist()) for pair in tables
        ]
        assert sizes[0] == sizes[1]
    assert (keys.dtype.kind == "f") == (column == "time")
    rows = load_rows(folder, held=False)
    with pytest.raises(InputError, match="are grouped by"):
        rows.train(group={"books": "price"})
    with pytest.raises(DataError, match="groups are not shared"):
        rows.train(group={"books": column}, share=(0, 2))
