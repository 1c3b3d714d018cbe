"""The catalogue: its experiments can run, its numbers are the papers', and a page says what they were measured on."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cdrzoo import cli
from cdrzoo.data import datasets
from cdrzoo.documents import dump_yaml
from cdrzoo.errors import InputError
from cdrzoo.experiments import catalogue, reproduce, results, running
from cdrzoo.experiments.entries import Entry, check_names
from cdrzoo.models import cards
from cdrzoo.training.config import RunConfig
from docs.render.results import SHOWN
from tests.models.toys import toy_schema


def write_ciao(folder) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in ("cat01", "cat02"):
        frame = pd.DataFrame({"user_id": rng.integers(0, 25, 300), "item_id": rng.integers(0, 40, 300)})
        frame["rating"] = rng.integers(1, 6, 300)
        frame["timestamp"] = 86400 * rng.integers(10_000, 10_100, 300)
        frame.to_csv(folder / f"interactions_{name}.csv.gz", index=False)


@pytest.fixture
def data(tmp_path):
    write_ciao(tmp_path / "data" / "ciao")
    return tmp_path / "data"


@pytest.fixture
def runs(monkeypatch):
    """Replaces training."""
    made = []

    def train(changes):
        made.append(changes)
        test = {"auc": 0.6 + 0.01 * changes["seed"], "gauc": 0.5, "log_loss": 0.7, "ece": 0.1}
        return {
            "validation": {"auc": changes.get("learning_rate", 0.0)},
            "test": test,
            "domains": "all",
            "parameters": 1000,
            "seconds": 2.0,
            "split": {"name": "time", "hash": "abc123"},
            "selection": "best epoch on validation rows",
            "versions": {"cdrzoo": "0.1+deadbee", "keras": "3.15"},
        }

    monkeypatch.setattr(running, "train", train)
    monkeypatch.setattr(running, "start", lambda config, firsts: None)
    return made


@pytest.mark.parametrize("name", catalogue.experiments())
def test_every_setting_of_an_experiment_exists(name):
    for part in catalogue.experiments()[name].parts.values():
        config = RunConfig(toy_schema(), {"books": "b.csv", "films": "f.csv"}, "dnn")
        for entry in part.entries:
            check_names(entry)
            config.with_changes(part.settings).with_changes(entry.changes).model_arguments()


def test_published_numbers_agree_with_what_else_the_papers_say_of_them():
    """A wrong digit would not: the papers print improvements, and one number in two tables."""
    published = {
        f"{name}/{part}".rstrip("/"): one.published
        for name, experiment in catalogue.experiments().items()
        for part, one in experiment.parts.items()
    }
    for task, improvements in {
        "movies_to_cds": ([26.81, 23.45, 18.36], [18.86, 13.73, 10.70]),
        "books_to_movies": ([15.50, 16.86, 18.24], [14.92, 15.58, 16.89]),
        "books_to_cds": ([34.60, 35.76, 33.50], [30.66, 31.08, 25.82]),
    }.items():
        for beta, *wanted in zip((20, 50, 80), *improvements, strict=True):
            numbers = published[f"dacdr_table3/{task}_beta{beta}"]
            for metric, percent in zip(("mae", "rmse"), wanted, strict=True):
                before, ours = numbers["PTUPCDR"][metric], numbers["DACDR"][metric]
                assert 100 * (before - ours) / before == pytest.approx(percent, abs=0.04)
    for table, percents in {
        "dadin_table3_amazon": [27.07, 25.54, 28.85, 27.53, 28.11, 18.26, 10.16, 5.23, 4.34, 4.39, 0.71],
        "dadin_table3_huawei": [7.29, 10.27, 2.04, 4.44, 2.18, 5.39, 7.77, 0.53, 0.08, 0.94, 2.00],
        "dadin_table4_amazon": [3.23, 4.28, 23.04, 0.67, 6.66, 25.63, 6.46, 13.85, 16.67],
        "dadin_table4_huawei": [0.83, 1.03, 0.82, 4.11, 3.91, 36.57, 2.16, 0.76, 2.34],
    }.items():
        *others, full = (found["auc"] for found in published[table].values())
        for other, percent in zip(others, percents, strict=True):
            assert 100 * (full - other) / full == pytest.approx(percent, abs=0.006)
    # What stands in two tables is one number.
    assert published["cctl_table3"]["CCTL"] == published["cctl_table2_taobao"]["CCTL"]
    for pair in ("ciao_01_02", "amazon_1_2"):
        assert published[f"ablations_{pair}/cctl"] == published["cctl_table3"]
        assert published[f"ablations_{pair}/dadin"] == published["dadin_table4_amazon"]


def test_the_catalogue_and_its_list_import_no_tensorflow():
    code = "import sys; from cdrzoo import cli; cli.main(['reproduce', '--list']); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert all(name in done.stdout for name in catalogue.experiments())


def test_a_page_with_the_papers_numbers_and_what_ours_depend_on(data, runs, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        """
        experiments:
          toy:
            title: A table
            note: A note.
            dataset: ciao
            pair: {source: "01", target: "02"}
            models: {LR: lr, CCTL: "cctl:pooling=mean"}
            against: LR
            settings: {epochs: 3}
            seeds: 2
            search: 2
            published: {CCTL: {auc: 0.779}}
        """
    )
    page = reproduce.reproduce("toy", data, tmp_path / "out", catalogue=file)
    assert page == tmp_path / "out" / "toy" / "README.md"
    text = page.read_text()
    header, _, *rows = (line for line in text.splitlines() if line.startswith("|"))
    assert header.startswith("| model | AUC | AUC (paper) | GAUC | LogLoss | ECE |")
    assert [row.split(" | ")[2] for row in rows if row.startswith(("| LR", "| CCTL"))] == ["", "0.7790"]
    assert any(row.startswith("| item mean") for row in rows)
    for wanted in (
        "sha256 abc123",
        "Seeds 0, 1",
        "best epoch on validation",
        "0.1+deadbee",
        "A note.",
        "search: `{",
        "8 runs, 0.0 hours",
        "cdrzoo reproduce toy --catalogue mine.yaml --data DATA --out OUT",
    ):
        assert wanted in text
    assert len(runs) == 2 * 2 + 2 * 2
    reproduce.reproduce("toy", data, tmp_path / "out", catalogue=file)
    assert len(runs) == 8
    assert "Not as the catalogue says" not in text
    text = reproduce.reproduce(
        "toy", data, tmp_path / "out", catalogue=file, seeds=1, search=0, settings={"epochs": 1}
    ).read_text()
    assert "Not as the catalogue says:** seeds = 1, search = 0, epochs = 1" in text


def test_rows_of_a_table_alone(data, runs, tmp_path):
    """They are trained as in the whole table, from which they are taken up, and the other way round."""
    file = tmp_path / "mine.yaml"
    models = {"LR": "lr", "CCTL": "cctl:pooling=mean", "CCTL w/o REN": "cctl:pooling=mean:ren_weight=0"}
    table = {
        "title": "A table",
        "dataset": "ciao",
        "pair": {"source": "01", "target": "02"},
        "models": models,
    }
    file.write_text(dump_yaml({"experiments": {"toy": {**table, "against": "LR", "seeds": 2, "search": 2}}}))
    out, given = tmp_path / "out", {"catalogue": file}
    text = reproduce.reproduce("toy", data, out, models=["CCTL w/o REN"], **given).read_text()
    assert [run["model"] for run in runs] == ["cctl"] * 6  # the search is that of CCTL
    assert "| CCTL w/o REN |" in text and "| LR |" not in text and "models = CCTL w/o REN" in text
    text = reproduce.reproduce("toy", data, out, **given).read_text()
    assert [run["model"] for run in runs[6:]] == ["lr"] * 4 and "| LR |" in text
    with pytest.raises(InputError, match="Did you mean 'CCTL'"):
        reproduce.reproduce("toy", data, out, models=["CTCL"], **given)


def test_results_of_the_comparison_of_a_dataset_are_those_of_the_catalogue(data, tmp_path):
    """Both ways to one experiment have one identity, so the results of the one serve the other."""
    command = ["dataset", "ciao", str(data / "ciao"), "--source", "01", "--target", "02"]
    assert cli.main([*command, "--out", str(tmp_path / "run")]) == 0
    comparison = catalogue.experiments()["ctr_ciao_01_02"].parts[""]
    ours = reproduce.configuration(comparison, data, tmp_path / "rows")
    written = RunConfig.load(tmp_path / "run" / "run.yaml").with_changes(comparison.settings)
    assert json.dumps(ours.identity(), sort_keys=True) == json.dumps(written.identity(), sort_keys=True)


@pytest.mark.slow
def test_built_in_logs_want_no_files(runs, tmp_path, monkeypatch):
    part = catalogue.experiments()["planted_transfer"].parts["-0.9"]
    made = dataclasses.replace(part, seeds=1, search=0)
    monkeypatch.setitem(catalogue.experiments(), "toy", catalogue.Experiment("A table", {"-0.9": made}))
    text = reproduce.reproduce("toy", None, tmp_path / "out").read_text()
    assert "\ncdrzoo reproduce toy --out OUT\n" in text and "| MKT w/o HFA | 0.6000 |" in text
    keys = [line["key"] for line in map(json.loads, (tmp_path / "out/toy/-0.9/results.jsonl").open())]
    # The logs say who they are, not the folder.
    again = reproduce.configuration(part, None, tmp_path / "elsewhere")
    assert results.key_of(again.with_changes({**Entry.parse("dnn").changes, "seed": 0})) == keys[0]


def test_cold_start_is_part_of_an_experiment_and_its_parts_have_names(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "douban_book_music"
    folder.mkdir()
    for name in ("book", "music"):
        frame = pd.DataFrame({"user_id": rng.integers(0, 25, 300), "item_id": rng.integers(0, 40, 300)})
        frame["rating"] = rng.integers(1, 6, 300)
        frame.to_csv(folder / f"interactions_{name}.csv.gz", index=False)
    found = reproduce.find("cold_douban_book_music/beta80")
    assert list(found.parts) == ["beta80"]
    config = reproduce.configuration(found.parts["beta80"], tmp_path, tmp_path / "rows")
    assert config.split["by"] == "users" and config.split["fractions"][2] == 0.8
    assert config.preparation == {"history": "others"} and config.training.epochs == 20


def test_mistakes_are_said_before_anything_is_read(tmp_path):
    for name, words in (
        ("ctr_ciao_01_20", "Did you mean 'ctr_ciao_01_02'"),
        ("nonsense", "There are: checks, ctr_ciao"),
        ("dacdr_table3/books_to_cds_beta30", "no part 'books_to_cds_beta30'. Did you mean"),
    ):
        with pytest.raises(InputError, match=words):
            reproduce.find(name)
    with pytest.raises(InputError, match="ciao does not exist. The files of ciao are wanted in .*ciao; docs"):
        reproduce.reproduce("ctr_ciao_01_02", tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="Give `data` .* of ciao are wanted in DATA/ciao; docs"):
        reproduce.reproduce("ctr_ciao_01_02", None, tmp_path / "out")
    with pytest.raises(InputError, match="no 'editon'. Did you mean 'edition'"):
        datasets.load("amazon", tmp_path, tmp_path, editon=2018)
    with pytest.raises(InputError, match="give its source and target"):
        datasets.load("ciao", tmp_path, tmp_path)
    assert cli.main(["reproduce"]) == 2


RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize("name", [name for name in catalogue.experiments() if (RESULTS / name).exists()])
def test_results_that_are_kept_are_those_of_their_experiment(name, real_data, tmp_path):
    """A change of what a run is known by would train everything again."""
    for part, comparison in catalogue.experiments()[name].parts.items():
        if not (RESULTS / name / part / "results.jsonl").exists():
            continue
        known = comparison.dataset in catalogue.BUILT_IN
        folder = None if known else real_data(comparison.folder or comparison.dataset).parent
        config = reproduce.configuration(comparison, folder, tmp_path / "rows")
        for text in (RESULTS / name / part / "results.jsonl").read_text().splitlines():
            line = json.loads(text)
            model = cards.card(line["changes"].get("model", config.model))
            known = [  # with a default of once, or with today's
                results.key_of(config.with_changes({**default, **line["changes"]}))
                for default in (model.before, model.now)
            ]
            assert line["key"] in known


def tables(path: pathlib.Path) -> list[list[dict[str, str]]]:
    """The tables of a Markdown page, a dict a row."""
    found: list[list[list[str]]] = []
    before = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line[1:-1].split("|")])
        before = line
    return [[dict(zip(rows[0], row, strict=True)) for row in rows[2:]] for rows in found]


def test_the_tables_of_the_docs_are_those_of_the_results():
    """The page's numbers and marks, against those on the pages that `cdrzoo reproduce` made of the same runs."""
    pairs = {
        name: tables(RESULTS / name / "README.md")
        for name in catalogue.experiments()
        if name.startswith("ctr_")
    }
    zoo, by_user = (one for one in tables(RESULTS / "clicks.md") if "model" in one[0])
    titles = list(zoo[0])[1:]
    assert len(titles) == len(pairs) == 5
    for title, (scores, groups, *_) in zip(titles, pairs.values(), strict=True):
        scores = [{title: cell.strip("*") for title, cell in row.items()} for row in scores]
        highest = max(row["AUC"] for row in scores)
        found = {row["model"]: row for row in scores}
        for row in zoo:
            ours = found[row["model"].strip("*")]
            mark = ""
            if "±" in ours["AUC"]:
                sure = ours["p, Holm"] and float(ours["p, Holm"].strip("< ")) < 0.05
                mark = " =" if not ours["difference"] else f" {ours['difference'][0]}" if sure else ""
            cell = row[title]
            if cell.startswith("**"):
                assert ours["AUC"][:6] == highest[:6]
            assert cell.strip("*") == ours["AUC"] + mark
        assert sum(row[title].startswith("**") for row in zoo) == 1
        group = {row["model"]: row for row in groups}
        first = next(i for i, row in enumerate(by_user) if row[""] == title)
        sizes = {name: int(group["test rows"][name].replace(",", "")) for name in ("0-9", "10-29", "30+")}
        for row in by_user[first : first + len(SHOWN) + 1]:
            ours = group[row["model"].strip("*")]
            for name, size in sizes.items():
                there = size > 3 or row["model"] == "*test rows*"
                assert row[name].strip("*") == (ours[name].removesuffix(" *") if there else "")
