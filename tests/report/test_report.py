"""The HTML page: whole and valid by itself, with the numbers it was given."""

from __future__ import annotations

import html.parser
import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest

from cdrzoo.errors import InputError
from cdrzoo.experiments import results
from cdrzoo.report import figures, rendering, run
from cdrzoo.report import pages as report
from cdrzoo.training import looks
from cdrzoo.training.config import RunConfig
from tests.models.toys import toy_schema

pytest.importorskip("matplotlib")

VOID = {"wbr", "meta", "br", "hr", "img", "link", "input"}


class Page(html.parser.HTMLParser):
    """Reads a page as a browser does that has no network: what it would fetch, what is not closed, what it says."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.titles, self.figures = [], [], [], 0
        self.tags, self.attributes, self.text = set(), {}, ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.figures += tag == "figure"
        for name, value in attributes:
            self.attributes.setdefault(name, []).append(value)
            if name in ("src", "srcset", "data", "action") or (
                name.endswith("href") and not value.startswith(("#", "data:image/png;base64,"))
            ):
                self.fetched.append(value)
            self.fetched += [
                url for url in re.findall(r"url\(([^)]*)\)", value or "") if not url.startswith("#")
            ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        if "style" in self.open:
            assert "url(" not in data and "@import" not in data or "svg" in self.open
        self.text += data


def alone(text):
    """The page, after it has proven to need nothing else: no script, nothing to fetch."""
    page = Page(text)
    assert not page.fetched and not page.tags & {"script", "link", "iframe", "img"}
    assert 'name="viewport"' in text and "@media print" in text
    return page


def shown(*drawn):
    """A page with these figures."""
    template = """{% extends "page.html" %}{% import "parts.html" as parts %}
    {% block content %}{% for each in drawn %}{{ parts.figure(each) }}{% endfor %}{% endblock %}"""
    return alone(rendering.ENVIRONMENT.from_string(template).render(title="A <title>", drawn=drawn))


def write_selector(folder, source):
    """What CCTL logs of its selector, in the folder of its run."""
    rows = [[epoch, source, low, low + 0.5, 10 * epoch] for epoch in (1, 2) for low in (0.0, 0.5)]
    (folder / "logs").mkdir()
    table = pd.DataFrame(rows, columns=["epoch", "name", "low", "high", "count"])
    table.to_csv(folder / "logs" / "selector_weights.csv", index=False)


@pytest.fixture
def comparison(tmp_path):
    """A folder of `cdrzoo compare`: two models, two seeds, and an older run of one with other settings."""

    def line(label, seed, auc, **changes):
        test = {"auc": auc, "gauc": 0.5, "log_loss": 0.7, "ece": 0.1}
        result = {"test": test, "parameters": 1234, "seconds": 2.0, "versions": {"cdrzoo": "9.9"}}
        result["split"] = {"name": "time", "hash": "0123456789abcdef" * 2}
        changes = {"model": label.partition(":")[0], "seed": seed, **changes}
        return json.dumps({"key": "k", "stage": "seed", "label": label, "changes": changes, "result": result})

    lines = [line("dnn", 0, 0.1), line("dnn", 0, 0.60), line("dnn", 1, 0.62)]
    lines += [
        line("cctl:pooling=mean", seed, auc, learning_rate=0.003) for seed, auc in ((0, 0.63), (1, 0.67))
    ]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_comparison(comparison):
    path = report.report(comparison)
    assert path == comparison / "report.html"
    page = alone(path.read_text())
    assert page.titles == ["AUC of every seed", "Against dnn", "Table", "Settings", "Made with"]
    assert page.figures == 2 and "2 models, 4 runs" in page.text
    for cell in ("0.6100 ± 0.0141", "+0.0400 (-0.0871, 0.1671)", "0.156", "0.003", "cdrzoo 9.9"):
        assert cell in page.text, cell
    assert path.read_text() == report.report(comparison).read_text()  # the same numbers are the same page


def test_settings_are_not_mixed(comparison):
    """A larger search found other settings and was stopped at the first seed; then the smaller one was run again."""
    path = comparison / "results.jsonl"
    lines = [{**json.loads(line), "key": str(n)} for n, line in enumerate(path.read_text().splitlines())]
    newer = json.loads(json.dumps(lines[1]))
    newer["key"], newer["changes"]["optimizer"], newer["result"]["test"]["auc"] = "new", "adagrad", 0.9
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, newer]))
    text = report.report(comparison).read_text()
    assert "0.9000" in text and "0.6100" not in text
    config = RunConfig(schema=toy_schema(), data={"books": "books.csv", "films": "films.csv"}).to_dict()
    about = {"command": ["compare"], "against": "dnn", "config": config, "runs": results.runs(lines[1:])}
    (comparison / "comparison.json").write_text(json.dumps(about))
    text = report.report(comparison).read_text()
    assert "0.6100 ± 0.0141" in text and "adagrad" not in text


def test_several_comparisons_are_one_page(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    text = (comparison / "results.jsonl").read_text()
    for name in ("pair_a", "pair_b/part"):
        (folder / name).mkdir(parents=True)
        (folder / name / "results.jsonl").write_text(text)
        text = text.replace('"auc": 0.67', '"auc": 0.6502')  # differences of 0.03 and 0.0302: not by chance
    for name in ("alone_a", "alone_b"):  # of one model: behind those of two
        (folder / name).mkdir()
        (folder / name / "results.jsonl").write_text("".join(text.splitlines(keepends=True)[:3]))
    page = alone(report.report(folder).read_text())
    assert page.titles[:2] == ["AUC: pair_a, pair_b", "AUC: alone_a, alone_b"]
    assert page.titles.count("Table") == 4
    assert "4 comparisons, 12 runs" in page.text
    overview = folder.joinpath("report.html").read_text().partition("alone_a</h1>")[0]
    assert '<td>0.6500</td><td><span class="better">0.6401</span></td><td>1</td><td>0</td>' in overview


def test_a_comparison_that_is_still_searching_keeps_no_other_off_the_page(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    text = (comparison / "results.jsonl").read_text()
    (folder / "begun").mkdir()
    (folder / "begun" / "results.jsonl").write_text(text.replace('"stage": "seed"', '"stage": "search"'))
    with pytest.raises(InputError, match="begun"):
        report.report(folder)
    (folder / "done").mkdir()
    (folder / "done" / "results.jsonl").write_text(text)
    page = alone(report.report(folder).read_text())
    assert "1 comparison, 4 runs" in page.text and "no run of theirs is done yet: begun" in page.text


def test_what_there_is_nothing_to_report_on(tmp_path):
    with pytest.raises(InputError, match="nothing to report on"):
        report.report(tmp_path)


def test_attention_by_how_long_ago_by_hand():
    # The first row has steps 1 and 2 of three (padded behind), the second all three.
    weights = np.array([[0.2, 0.8, 0.0], [0.5, 0.2, 0.3]])
    np.testing.assert_allclose(figures.by_recency(weights), [(0.8 + 0.3) / 2, (0.2 + 0.2) / 2, 0.5])
    assert len(figures.by_recency(np.zeros((2, 3)))) == 0


@pytest.mark.parametrize(
    ("quantity", "given", "names"),
    [
        ("interest_weights", {"films": {"user": [0.5, 0.4], "history_books": [0.1, 0.2]}}, ["films, user"]),
        ("attention_weights", {"films": {"books": (np.eye(2), np.eye(2))}}, ["films, books, alpha"]),
        ("gate_activity", {"common": np.full((2, 3), 0.25)}, ["common (mean 0.25)"]),
        ("feature_importance", {"minutes": [0.5, 1.5]}, ["minutes"]),
        ("gates", {"films": np.full((2, 2), 0.5)}, ["films, 1", "films, 2"]),
    ],
)
def test_what_a_model_attends_to_is_drawn(quantity, given, names):
    page = shown(figures.look(dict(looks.flat(given)), quantity, np.array([True, False])))
    for name in names:
        assert name in page.text
    assert ("with a click" in page.text) == (quantity == "interest_weights")
    assert quantity in looks.LOOKS


def test_a_model_is_asked_for_what_can_be_called():
    class Model:
        gates = {"cross": "a layer"}

        def gate_activity(self, x):
            raise AssertionError

    assert looks.looks(Model()) == ["gate_activity"]


def test_what_a_histogram_counts():
    padded = np.array([[0.0, 0.25], [0.5, 0.5]])
    counted = looks.counted("attention_weights", {"films": {"books": (padded, padded)}})
    assert {name: v.tolist() for name, v in counted.items()} == {
        "films, books, alpha": [0.25, 0.5, 0.5],
        "films, books, beta": [0.25, 0.5, 0.5],
    }
    counted = looks.counted("gates", {"films": padded})
    assert {name: v.tolist() for name, v in counted.items()} == {
        "films, 1": [0, 0.5],
        "films, 2": [0.25, 0.5],
    }


def test_interests_where_no_row_has_a_click():
    page = shown(figures.look({"films": np.array([0.5, 0.4])}, "interest_weights", np.array([False, False])))
    assert "without" in page.text and "with a click" not in page.text


def test_selector_weights_over_time(tmp_path):
    assert run.selector(tmp_path) == []
    write_selector(tmp_path, "books")
    page = shown(*run.selector(tmp_path))
    assert "Rows of books" in page.text and page.figures == 1


def test_names_of_any_length_leave_room_for_the_figure():
    values = {"mkt:units=[256,128]:first." + 90 * "x": [0.6, 0.7], "dnn": [0.5, 0.6]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = figures.seeds(values, "AUC").svg
    assert "mkt:units=[256,128]:first.xxxxx…" in svg and ">dnn<" in svg
