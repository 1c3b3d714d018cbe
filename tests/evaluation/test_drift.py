"""Drift: distances by hand, what a report says of rows that have moved, and when it holds a push back."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from cdrzoo import cli
from cdrzoo.data import Part, synthetic
from cdrzoo.schema import Domain, Feature
from cdrzoo.training import descent
from cdrzoo.training.config import RunConfig
from cdrzoo.training.profiles import divergence, profile
from tests import labelled

DOMAIN = Domain(
    "films",
    (
        Feature("item", "id", "item", table="film"),
        Feature("seen", "ids", "context", table="film", length=2),
        Feature("price", "number", "item"),
    ),
)


def part(items, seen, prices, y):
    x = {"item": np.array(items, np.int32), "seen": np.array(seen, np.int32)}
    return Part({**x, "price": np.array(prices, np.float32)}, np.array(y, np.float32)[:, None])


def test_a_profile_by_hand():
    rows = part([2, 2, 3, 1, 0], [[2, 3], [0, 2], [0, 0], [1, 1], [0, 0]], [0, 1, 2, 3, 4], [1, 0, 0, 1, 1])
    found = profile(DOMAIN, [rows])
    assert found["rows"] == 5 and found["label"] == pytest.approx(0.6)
    item, seen = found["features"]["item"], found["features"]["seen"]
    assert (item["missing"], item["unknown"]) == (0.2, 0.25)
    assert item["ids"] == [1, 2, 3] and item["shares"] == [0.25, 0.5, 0.25, 0.0]
    assert (seen["missing"], seen["unknown"]) == (0.4, 0.4)
    assert found["features"]["price"]["mean"] == 2 and sum(found["features"]["price"]["shares"]) == 1
    later = profile(DOMAIN, [part([9, 9], [[2, 2], [2, 2]], [50, 60], [1, 1])], found)
    assert later["features"]["item"]["shares"] == [0, 0, 0, 1]
    assert later["features"]["price"]["shares"][-1] == 1
    assert divergence(item["shares"], later["features"]["item"]["shares"]) == 1


def test_a_profile_of_pieces_is_that_of_the_whole():
    random = np.random.default_rng(0)
    items, seen = random.integers(0, 3000, 5000), random.integers(0, 40, (5000, 2))
    prices = random.normal(size=5000).round(2) * 10.0 ** random.integers(-3, 4, 5000)
    y, weight = random.integers(0, 2, 5000), random.random(5000).astype(np.float32)
    rows = part(items, seen, prices, y)
    whole = profile(DOMAIN, [dataclasses.replace(rows, weight=weight)])
    parts = [
        part(items[at], seen[at], prices[at], y[at]) for at in np.array_split(np.arange(5000), [0, 7, 900])
    ]
    weights = np.split(weight, [0, 7, 900])
    pieces = [dataclasses.replace(each, weight=of) for each, of in zip(parts, weights, strict=True)]
    found = profile(DOMAIN, pieces)
    assert whole["label"] == pytest.approx(np.average(y, weights=weight)) == found.pop("label")
    price = found["features"].pop("price")
    assert price.pop("mean") == pytest.approx(prices.mean(), rel=1e-4)
    assert price["edges"] == pytest.approx(np.quantile(prices, np.arange(1, 10) / 10), rel=1e-2, abs=1e-3)
    np.testing.assert_allclose(price["shares"], 0.1, atol=0.01)
    assert all(whole["features"]["price"][name] == values for name, values in price.items())
    assert {name: whole["features"][name] for name in ("item", "seen")} == found["features"]
    same = profile(DOMAIN, pieces[::-1], whole)["features"]
    for name, of in whole["features"].items():
        assert divergence(of["shares"], same[name]["shares"]) == 0, "no number is counted in another bin"


def test_the_divergence_is_that_of_its_definition():
    assert divergence([0.5, 0.5], [0.5, 0.5]) == 0
    # p = (1, 0), q = (1/2, 1/2), middle (3/4, 1/4): (log2(4/3) + (log2(2/3) + log2(2)) / 2) / 2
    assert divergence([1, 0], [0.5, 0.5]) == pytest.approx((np.log2(4 / 3) + (np.log2(2 / 3) + 1) / 2) / 2)


def test_the_mean_of_a_label_is_none_of_the_schema_s_columns(tmp_path):
    given = {"schema": labelled.schema().to_dict(), "data": {n: f"{n}.csv" for n in ("books", "films")}}
    config = RunConfig.from_dict({**given, "model": "mmoe"})
    counted = config.schema.with_means({"films": 0.3, "films.conversion": 0.2})
    assert counted != config.schema
    descent.check_schema(tmp_path, dataclasses.replace(config, schema=counted), config)


@pytest.mark.slow
def test_rows_that_moved_hold_a_push_back(tmp_path, capsys):
    made = synthetic.synthesize(users=60, source_rows=500, target_rows=600, source_items=20, target_items=20)
    made.write(tmp_path)
    given = {"schema": "schema.yaml", "data": {n: f"{n}.csv" for n in made.frames}, "model": "dnn"}
    given |= {"arguments": {"units": [4]}, "training": {"epochs": 1, "batch_size": 64}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given))
    assert cli.main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run")]) == 0
    films = made.frames["films"]
    since = json.loads((tmp_path / "run/split.json").read_text())["parts"]["films"]["train"]["last"]
    moved = films.assign(price=films["price"] + 100.0, item="new-" + films["item"])
    pd.concat([films[films["time"] <= since], moved[films["time"] > since]]).to_csv(
        tmp_path / "moved.csv", index=False
    )
    capsys.readouterr()

    given["drift"] = {"unknown": 0.5, "divergence": 0.5, "calibration": 100, "worse_by": 1}
    (tmp_path / "calm.yaml").write_text(yaml.safe_dump(given))
    assert cli.main(["drift", str(tmp_path / "run"), str(tmp_path / "calm.yaml"), "--json"]) == 0
    calm = json.loads(capsys.readouterr().out)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert calm["ok"] and calm["scores"]["auc"][0] == metrics["test"]["auc"]
    assert calm["domains"]["films"]["rows"] == (films["time"] > since).sum()
    assert calm["age"] == films["time"].max() - since

    given["data"]["films"] = "moved.csv"
    (tmp_path / "moved.yaml").write_text(yaml.safe_dump(given))
    words = ["drift", str(tmp_path / "run"), str(tmp_path / "moved.yaml"), "--out", str(tmp_path / "drift")]
    assert cli.main(words) == 1
    said = capsys.readouterr().out
    assert "OVER divergence of films.price" in said and "OVER more unknown ids of films.item" in said
    assert "20 new ids" in said
    text = (tmp_path / "drift/report.html").read_text()
    assert re.search("Beyond its threshold: .*, and [1-9] more", text)
    item = re.search(r'<th scope="row">item</th>.*?</tr>', text.partition("films: ")[2])[0]
    assert '<span class="worse">1.0000</span>' in item and "<td>20</td></tr>" in item
    assert f"cdrzoo train NEWER.yaml --from {tmp_path / 'run'} --out RUN" in text
    assert cli.main([*words]) == 2 and "is not empty" in capsys.readouterr().err  # nothing is overwritten
    assert cli.main(["report", str(tmp_path / "drift"), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text() == text
