"""Streams against the same rows in memory."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as parquet
import pytest

from cdrzoo.data import prepare, stream, synthetic
from cdrzoo.data.streams import adapt
from cdrzoo.errors import DataError
from tests.data.test_readers import example, write_records

pytestmark = pytest.mark.filterwarnings("ignore:cdrzoo.data.streams:FutureWarning")

MADE = synthetic.synthesize(
    0.5, users=120, source_rows=1500, target_rows=600, source_items=40, target_items=30
)


@pytest.fixture(scope="module")
def prepared():
    return prepare(MADE.schema, MADE.sources)


@pytest.fixture(scope="module", params=["parquet", "tfrecord"])
def files(request, prepared, tmp_path_factory):
    """Three files a domain, those of Parquet in small row groups."""
    folder = tmp_path_factory.mktemp(request.param)
    sources = {}
    prepared.write(folder)
    for domain in ("books", "films"):
        table = parquet.read_table(folder / domain / "train.parquet")
        (folder / f"{domain}_rows").mkdir()
        for number, low in enumerate(range(0, len(table), -(-len(table) // 3))):
            piece = table.slice(low, -(-len(table) // 3))
            path = folder / f"{domain}_rows" / f"part-{number}.{request.param}"
            if request.param == "parquet":
                parquet.write_table(piece, path, row_group_size=50)
            else:
                write_records(path, [example(row) for row in piece.to_pylist()])
        sources[domain] = {"path": f"{domain}_rows"}
    return folder, sources


def rows_of(batches, domain: str) -> dict[str, np.ndarray]:
    found = [(*batch[0][domain].values(), batch[1][domain][:, 0]) for batch in batches]
    names = [*batches[0][0][domain], "@y"]
    return {
        name: np.concatenate([part.numpy() for part in parts])
        for name, parts in zip(names, zip(*found, strict=True), strict=True)
    }


def test_adapt_in_chunks_equals_adapt_in_memory(prepared, files):
    folder, sources = files
    encoder = adapt(MADE.schema, sources, folder)
    for name, tokens in prepared.encoder.vocabularies.items():
        assert list(encoder.vocabularies[name]) == list(tokens)
    for domain, numbers in prepared.encoder.numbers.items():
        for name, learnt in numbers.items():
            np.testing.assert_allclose(encoder.numbers[domain][name], learnt, rtol=1e-6)


def test_in_order_it_gives_every_row_once(prepared, files):
    folder, sources = files
    found = rows_of(
        list(stream(prepared.encoder, {"films": sources["films"]}, 100, training=False, folder=folder)),
        "films",
    )
    wanted = prepared.parts["films"]["train"]
    np.testing.assert_array_equal(found["@y"], wanted.y[:, 0])
    for name, values in wanted.x.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)


@pytest.mark.slow
def test_training_shuffles_whole_batches_with_static_shapes(prepared, files):
    folder, sources = files
    data = stream(prepared.encoder, sources, {"books": 64, "films": 32}, shuffle_rows=128, folder=folder)
    assert data.element_spec[0]["books"]["books_genres"].shape == (64, 30)
    epochs = [list(data) for _ in range(2)]
    size = len(prepared.parts["films"]["train"])
    assert len(epochs[0]) == len(epochs[1]) == size // 32

    def tell(rows):
        names = ("user", "item", "price", "minutes", "device", "@y")
        return sorted(zip(*(rows[name].tolist() for name in names), strict=True))

    wanted = prepared.parts["films"]["train"]
    all_rows = tell({**wanted.x, "@y": wanted.y[:, 0]})
    for batches in epochs:
        found = rows_of(batches, "films")
        left = list(all_rows)
        for row in tell(found):
            left.remove(row)  # each row of the epoch is a row of the data, none twice
        assert len(left) == size % 32
    assert (rows_of(epochs[0], "films")["item"] != rows_of(epochs[1], "films")["item"]).any()


@pytest.mark.slow
def test_a_resumed_stream_goes_on_where_it_was(prepared, files):
    folder, sources = files
    arguments = {"batch_size": 32, "shuffle_rows": 100, "seed": 4, "folder": folder}
    whole = stream(prepared.encoder, sources, **arguments)
    epochs = [list(whole) for _ in range(3)]
    resumed = list(stream(prepared.encoder, sources, **arguments, initial_epoch=2))
    for domain in ("books", "films"):
        one, two = rows_of(epochs[2], domain), rows_of(resumed, domain)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.exhaustive
@pytest.mark.once
def test_a_short_source_repeats(prepared, files):
    folder, sources = files
    data = list(stream(prepared.encoder, sources, {"books": 512, "films": 16}, folder=folder))
    assert len(data) == len(prepared.parts["films"]["train"]) // 16


@pytest.mark.filterwarnings("default")
def test_the_name_is_deprecated(prepared, files):
    folder, sources = files
    with pytest.warns(FutureWarning, match="cdrzoo.data.load_rows"):
        stream(prepared.encoder, {"films": sources["films"]}, training=False, folder=folder)


def test_mistakes_are_said(prepared, files, tmp_path):
    folder, sources = files
    with pytest.raises(DataError, match="one domain. Received: books, films"):
        stream(prepared.encoder, sources, training=False, folder=folder)
    with pytest.raises(DataError, match="reads files of examples"):
        stream(prepared.encoder, {"films": {"data": prepared.frame("films", "train")}})
    path = tmp_path / "films.csv"
    MADE.frames["films"].to_csv(path, index=False)
    with pytest.raises(DataError, match="lacks the column"):
        stream(prepared.encoder, {"films": path})
