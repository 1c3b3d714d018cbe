"""Train and serve read alike: text becomes the ids that it was in training, wherever it is scored."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from cdrzoo import cli
from cdrzoo.data.readers import Wanted, read
from cdrzoo.errors import InputError, VerifyError
from cdrzoo.export import raw_rows, verify
from cdrzoo.schema import Feature, Reading
from cdrzoo.training.predict import predict
from cdrzoo.training.run import train

SEPARATOR, DELIMITER = "; ", "\t"
"""Not what anybody would take by default."""


def logs(folder: pathlib.Path) -> dict:
    """A click depends on the tags alone, a set of two of six."""
    rng = np.random.default_rng(0)
    files = {}
    for name, rows in (("books", 60), ("films", 300)):
        tags = [sorted(rng.choice(6, 2, replace=False)) for _ in range(rows)]
        frame = pd.DataFrame(
            {
                "user": [f"u{i}" for i in rng.integers(0, 12, rows)],
                "item": [f"i{i}" for i in rng.integers(0, 20, rows)],
                "tags": [SEPARATOR.join(f"t{i}" for i in one) for one in tags],
                "price": [["", " 1.5", "NA", "true", "2e1"][i] for i in rng.integers(0, 5, rows)],
                "click": [int(0 in one or 5 in one) for one in tags],
                "time": range(rows),
            }
        )
        frame.to_csv(folder / f"{name}.log.csv", sep=DELIMITER, index=False)
        files[name] = {"path": f"{name}.log.csv", "separator": SEPARATOR, "delimiter": DELIMITER}
    return files


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    data = logs(folder)
    features = [
        {"name": "user", "kind": "id", "role": "user", "table": "user"},
        {"name": "item", "kind": "id", "role": "item", "table": "item"},
        {"name": "tags", "kind": "ids", "role": "item", "table": "tag", "length": 4},
        {"name": "price", "kind": "number", "role": "item"},
    ]
    domains = {
        name: {"user": "user", "item": "item", "label": "click", "time": "time", "features": features}
        for name in data
    }
    config = {
        "schema": {"target": "films", "tables": {n: {} for n in ("user", "item", "tag")}, "domains": domains},
        "data": {n: {**one, "path": str(folder / one["path"])} for n, one in data.items()},
        "model": "dnn",
        "arguments": {"units": [8]},
        "training": {"epochs": 6, "batch_size": 32, "learning_rate": 0.02},
    }
    run = train(config, folder / "run")
    return folder, run, run.export(folder / "models" / "films")


def test_what_text_is_belongs_to_the_export(trained):
    _, run, path = trained
    wanted = Reading(SEPARATOR, delimiter=DELIMITER)
    assert run.reading == wanted
    card = json.loads((path / "assets.extra" / "model_card.json").read_text())
    assert Reading.from_dict(card["reading"]) == wanted


@pytest.mark.slow
def test_a_file_of_the_logs_form_is_scored_as_in_training(trained, tmp_path, capsys):
    folder, run, path = trained
    rows = pd.read_csv(folder / "films.log.csv", sep=DELIMITER, dtype=str, keep_default_na=False).tail(60)
    requests = tmp_path / "requests.csv"
    rows.to_csv(requests, sep=DELIMITER, index=False)
    part = run.rows.parts["films"]["test"]
    wanted = run.model({"films": part.x}, training=False)["films"].numpy().reshape(-1)
    assert len(wanted) == 60 and run.evaluate()["auc"] > 0.85
    found = [
        predict(path, requests),
        predict(path, rows),
        run.predict(requests),
        run.predict(rows),
        predict(path, rows.assign(tags=[tags.split(SEPARATOR) for tags in rows["tags"]])),
    ]
    for scores in found:
        np.testing.assert_allclose(scores["click_score"], wanted, atol=1e-6)
        assert list(scores.columns) == [*rows.columns, "click_score"]
    other = predict(path, requests, "|")["click_score"]  # the scores do depend on it
    assert np.abs(other - wanted).max() > 0.1
    commas = tmp_path / "commas.csv"
    rows.to_csv(commas, index=False)
    output = tmp_path / "scored.csv"
    command = ["predict", str(path), "--input", str(commas)]
    assert cli.main([*command, "--output", str(output)]) == 2
    assert "delimiter" in capsys.readouterr().err
    assert cli.main([*command, "--delimiter", ",", "--output", str(output)]) == 0
    np.testing.assert_allclose(pd.read_csv(output)["click_score"], wanted, atol=1e-6)


def test_what_is_written_is_read_again(trained, tmp_path):
    """Lists were joined by `|`, whatever joined the ids of the training."""
    folder, run, path = trained
    rows = pd.read_csv(folder / "films.log.csv", sep=DELIMITER, dtype=str, keep_default_na=False).tail(9)
    rows = rows.drop(columns="click")
    lists = rows.assign(tags=[tags.split(SEPARATOR) for tags in rows["tags"]])
    lists.to_parquet(tmp_path / "rows.parquet")
    output = tmp_path / "scored.csv"
    assert (
        cli.main(["predict", str(path), "--input", str(tmp_path / "rows.parquet"), "--output", str(output)])
        == 0
    )
    written = pd.read_csv(output, sep=DELIMITER)
    assert written["tags"].tolist() == rows["tags"].tolist()
    again = predict(path, output.rename(tmp_path / "again.csv"))  # its score has a name already
    np.testing.assert_allclose(again["click_score"], written["click"], atol=1e-6)


@pytest.mark.exhaustive
def test_verify_proves_it_from_text(trained, tmp_path):
    _, run, path = trained
    names = {check.name: check for check in verify(path).checks}
    assert names["rows as text"].ok and names["reading, as the model card has it"].ok
    assert {check.name for check in run.verify(path).checks} >= {"rows as text"}
    lines = [json.loads(line) for line in (path / "assets.extra" / "replay.jsonl").read_text().splitlines()]
    assert all(SEPARATOR in line["text"]["tags"] for line in lines)
    # The cells are those of the log itself, not written anew from the values that were read.
    assert {line["text"]["price"] for line in lines} == {"", " 1.5", "NA", "true", "2e1"}
    changed = shutil.copytree(path, tmp_path / "2")
    for line in lines:
        line["text"]["price"] = line["text"]["price"].replace("NA", "7")
    (changed / "assets.extra" / "replay.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(VerifyError, match="rows as text"):
        verify(changed)

    copy = shutil.copytree(path, tmp_path / "1")
    card = json.loads((copy / "assets.extra" / "model_card.json").read_text())
    card["reading"]["separator"] = "|"
    (copy / "assets.extra" / "model_card.json").write_text(json.dumps(card))
    with pytest.raises(VerifyError) as caught:
        verify(copy)
    failed = {check.name for check in caught.value.report.checks if not check.ok}
    assert failed == {"rows as text", "reading, as the model card has it"}


@pytest.mark.slow
def test_an_export_that_says_nothing_is_read_as_before(trained, tmp_path):
    _, _, path = trained
    copy = shutil.copytree(path, tmp_path / "1")
    card = json.loads((copy / "assets.extra" / "model_card.json").read_text())
    del card["reading"]
    (copy / "assets.extra" / "model_card.json").write_text(json.dumps(card))
    assert "rows as text" not in {check.name for check in verify(copy).checks}
    rows = pd.DataFrame({"user": ["u1"], "item": ["i1"], "price": ["1"]})
    right = predict(copy, rows.assign(tags=[["t0", "t5"]]))["click"]
    np.testing.assert_allclose(predict(copy, rows.assign(tags=["t0|t5"]))["click"], right)
    np.testing.assert_allclose(predict(copy, rows.assign(tags=["t0; t5"]), SEPARATOR)["click"], right)


def test_a_client_reads_text_as_the_training_did(trained):
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    from cdrzoo.serving import Client, Server

    folder, _, path = trained
    rows = pd.read_csv(folder / "films.log.csv", sep=DELIMITER, dtype=str, keep_default_na=False).tail(20)
    rows = rows[["user", "item", "tags", "price"]]
    wanted = predict(path, rows)["click"]
    with Server(path.parent.parent, port=0, rest_port=0) as server:
        for address in (server.address, server.rest_address):
            with Client(address, "films") as client:
                assert client.reading() == Reading(SEPARATOR, delimiter=DELIMITER)
                np.testing.assert_allclose(client.predict(rows), wanted, atol=1e-6)
                with pytest.raises(InputError, match="'tags'.*row 1.*half a character"):
                    client.predict({**rows.head(1).to_dict("list"), "tags": ["t\ud83d"]})
            frame = folder / f"served{server.address[-4:]}.csv"
            rows.to_csv(frame, sep=DELIMITER, index=False)
            np.testing.assert_allclose(predict("films", frame, server=address)["click"], wanted, atol=1e-6)


TEXTS = [
    "",
    " ",
    "7",
    " 7 ",
    "+7",
    "-7",
    "007",
    "7.0",
    "7.",
    "7e0",
    "1e3",
    "NA",
    "nan",
    "None",
    "null",
    "true",
]
TEXTS += ["False", "x", "7x", "1_000", "inf", "-inf", "0x1f", "0x", ".5", "1e400", "9" * 400]
TEXTS += [str(2**53 + 1), str(2**63 - 1), str(2**63), str(-(2**63))]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_clients_and_files_read_a_number_alike(text, dtype):
    """Two readers, of requests and of logs: what one refuses the other does."""
    feature = Feature("x", "number", "item", dtype)
    frame = pd.DataFrame({"x": pd.Series([text, "1"], dtype=object)})
    results = []
    for reader in (
        lambda: read(frame, {"x": Wanted.of(feature)})["x"],
        lambda: raw_rows(frame, [feature])["x"],
    ):
        try:
            results.append(reader().tolist())
        except InputError:
            results.append(["refused"])
    assert str(results[0]) == str(results[1])
