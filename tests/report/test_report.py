"""The HTML page: whole and valid by itself, with the numbers it was given."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re

import numpy as np
import pandas as pd
import pytest

from cdrzoo.errors import InputError
from cdrzoo.experiments import results
from cdrzoo.experiments.comparison import Comparison
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
        self.open, self.fetched, self.titles, self.figures, self.scripts = [], [], [], 0, ""
        self.tags, self.attributes, self.text, self.tables, self.captions = set(), {}, "", 0, 0
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.figures += tag == "figure"
        self.tables += tag == "table"
        self.captions += tag == "caption"
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
            assert "url(" not in data and "@import" not in data
        if "script" in self.open:
            self.scripts += data
        else:
            self.text += data


def alone(text):
    """The page, after it has proven to need nothing else: nothing to fetch, one script, which a browser knows."""
    page = Page(text)
    assert not page.fetched and not page.tags & {"link", "iframe", "img"}
    assert 'name="viewport"' in text and "@media print" in text and "prefers-color-scheme: dark" in text
    known = base64.b64encode(hashlib.sha256(page.scripts.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{known}'"
        in str(page.attributes["content"])
    )
    ids = page.attributes.get("id", [])
    assert len(ids) == len(set(ids)) and {f"#{name}" for name in ids} >= set(page.attributes.get("href", []))
    assert page.captions == page.tables and "<th scope" in text
    return page


def shown(*drawn):
    """A page with these figures."""
    template = """{% extends "page.html" %}{% import "parts.html" as parts %}
    {% block lead %}{% endblock %}{% block content %}<table><caption></caption><thead><tr><th scope="col"></th></tr>
    </thead></table>{% for each in drawn %}{{ parts.shown(each) }}{% endfor %}{% endblock %}"""
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
    assert page.titles == ["Ranking", "All metrics", "Settings", "Made with"]
    assert "cctl:pooling=mean is first: AUC 0.6500 ± 0.0283." in page.text and "2 models, 4 runs" in page.text
    assert "Significantly better than dnn (0.6100): 0 of 1 models; significantly worse: 0." in page.text
    assert page.text.count("seed 0: 0.6300") == 1 and page.attributes["cx"]
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
    text = report.report(folder).read_text()
    page = alone(text)
    assert page.titles[:2] == [
        "AUC of dnn, cctl:pooling=mean in 2 comparisons",
        "AUC of dnn in 2 comparisons",
    ]
    assert page.titles[2:] == ["alone_a", "alone_b", "pair_a", "pair_b", "What next"]
    assert text.count('<details class="fold">') == 4  # each in full, when it is opened
    places = re.findall(r' id="([^"]*)"', text)
    assert len(set(places)) == len(places)
    multiples = text.partition('<div class="small">')[2].partition("</div>")[
        0
    ]  # of two only, the others test nothing
    assert re.findall(r'<circle class="(dot[^"]*)"', multiples) == ["dot ", "dot better"]
    assert "cctl:pooling=mean has the best mean rank by AUC: 1.0 of 2 models" in page.text
    assert "4 comparisons, 12 runs" in page.text
    overview = folder.joinpath("report.html").read_text().partition('id="alone_a"')[0]
    cells = '<td><span class="best">0.6500 ± 0.0283</span></td><td><span class="better best">0.6401 ± 0.0143 +</span>'
    assert f"{cells}</td><td>1</td><td>0</td>" in overview


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


def lines(label, scores, **changes):
    """What a comparison keeps of a model, a score a seed."""
    for seed, auc in enumerate(scores):
        test = {"auc": auc, "gauc": 0.5, "log_loss": 0.7, "ece": 0.1}
        result = {
            "test": test,
            "validation": test,
            "parameters": 1,
            "seconds": 1.0,
            "versions": {"cdrzoo": "9"},
        }
        result["split"] = {"name": "time", "hash": "0" * 32}
        own = {"model": "dnn", "seed": seed, **changes}
        yield {
            "key": f"{label} {seed}",
            "stage": "seed",
            "label": label,
            "changes": own,
            "result": result,
        }


def written(folder, *found):
    folder.mkdir(exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for each in found for line in each))
    return folder


def test_many_models_are_in_order_and_what_has_no_number_is_last(tmp_path):
    """One of them has a name that is longer than any column, one diverged."""
    named = "mkt:units=[256,128]:first." + 90 * "x"
    models = [lines(f"model {i}", [0.5 + i / 100, 0.51 + i / 100]) for i in range(34)]
    folder = written(tmp_path / "many", lines("dnn", [0.6, 0.62]), lines(named, [float("nan")] * 2), *models)
    text = report.report(folder).read_text()
    page = alone(text)
    ranking = [cell.split("</th>")[0] for cell in text.split('<th scope="row">')[1:37]]
    assert ranking[0] == "model 33" and ranking[-1] == named and named in page.text
    assert "model 33 is first: AUC 0.8350" in page.text and not re.search(r"\bnan\b", page.text)


def test_one_model_is_a_page_too(tmp_path):
    page = alone(report.report(written(tmp_path / "one", lines("dnn", [0.6]))).read_text())
    assert "dnn: AUC 0.6000." in page.text and "is first" not in page.text


def test_a_search(tmp_path):
    trials = [
        {**line, "stage": "search", "changes": {**line["changes"], "learning_rate": rate}}
        for label, scores in (("dnn", [0.6, 0.7]), ("lr", [0.65, 0.5]))
        for line, rate in zip(lines(label, scores), (0.001, 0.003))
    ]
    failed = {
        **trials[0],
        "result": {"validation": {"auc": float("nan")}, "failed": "it diverged", "seconds": 1.0},
    }
    folder = written(tmp_path / "tuned", [*trials, failed])
    (folder / "dnn.yaml").write_text("# Written by cdrzoo tune.\n")
    page = alone(report.report(folder).read_text())
    assert page.titles == ["Best settings", "Trials of dnn", "Trials of lr", "What next", "Made with"]
    assert "dnn is first: AUC 0.7000 on validation rows, the best of its 3 trials." in page.text
    assert "learning_rate=0.003" in page.text and f"cdrzoo train {folder}/dnn.yaml --out RUN" in page.text


def test_what_is_significant_is_so_after_correction(tmp_path):
    """Its interval leaves 0 out, and so would one in twenty of models that are all alike."""
    noise = np.random.default_rng(0).normal(0.6, 0.01, [20, 3])
    better = lines("better", [0.62, 0.635, 0.622])
    models = [lines(f"model {i}", each) for i, each in enumerate(noise)]
    found = Comparison.load(written(tmp_path / "many", lines("dnn", [0.6, 0.61, 0.605]), better, *models))
    test = found.tests["better"]
    assert test.low > 0 and test.p < 0.05 < found.corrected["better"]
    assert set(found.marks.values()) == {"against", ""}
    page = report.report(found.folder).read_text()
    assert 'class="better' not in page and "bar better" not in page


def test_a_run_beside_simple_means_by_hand():
    test = {"auc": 0.7, "ece": 0.1, "auc@cold": float("nan"), "ece@cold": 0.2}
    simple = {"item mean": {"auc": 0.6, "auc@cold": 0.5}, "item + user mean": {"auc": 0.65, "auc@cold": 0.4}}
    sizes = {"all": {"rows": 1200, "clicks": 30}, "cold": {"rows": 7, "clicks": 0}}
    result = {"test": test, "intervals": {"auc": {"low": 0.66, "high": 0.74}}}
    worth = "That is 0.0500 better than the best of the simple means, item + user mean (0.6500)."
    assert run.headline(test, simple) == f"AUC 0.7000 on the test rows. {worth}"
    table = run.test_rows(result, simple, sizes)
    first, second = ([cell for cell in row.values() if isinstance(cell, str)] for row in table.rows)
    assert first == ["all", "1,200", "30", "0.7000 ± 0.0400", "0.6500", "0.1000"]
    assert second == ["cold", "7", "0", "", "0.5000", "0.2000"]
    page = shown(table)
    assert "95 % interval 0.6600 to 0.7400" in page.text and page.text.count("this run") == 1
    rated = run.headline({"rmse": 0.9, "mae": 0.7}, {"item mean": {"rmse": 0.8}})
    assert rated.startswith("RMSE 0.9000") and "0.1000 worse than" in rated
