"""The pages of docs: what is made is as it would be made now, code is code, and what is named is there."""

from __future__ import annotations

import ast
import pathlib
import re
import sys

import pytest

from cdrzoo.documents import load_mapping
from cdrzoo.errors import InputError
from cdrzoo.schema import Schema
from cdrzoo.training import reference
from cdrzoo.training.config import RunConfig

PROJECT = pathlib.Path(__file__).resolve().parent.parent
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if page.name != "README.md")]
NOT_HERE = ("NAME", "saved_models/films", "saved_models/two_towers")
"""What the reader puts in, or makes."""
RUN = ("own_model.md", "tf_data.md")
"""Pages whose code runs from top to bottom; tests/test_python.py and others run further ones."""

names = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))


def test_what_is_made_is_as_it_would_be_made_now(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT))
    from docs.render.__main__ import old

    assert not old(), "call `python -m docs.render`"


@names
def test_measured_tables_are_made_of_kept_files(page, monkeypatch):
    """A cell that is a number of two decimals and more is no cell that a person typed."""
    monkeypatch.syspath_prepend(str(PROJECT))
    from docs.render.__main__ import PART

    text = re.sub(r"^```.*?^```$", "", PART.sub("", page.read_text(encoding="utf-8")), flags=re.S | re.M)
    cells = [cell.strip() for line in text.splitlines() if line.startswith("|") for cell in line.split("|")]
    measured = re.compile(r"\W*\d[\d,]*\.\d\d+( ± [\d.]+)?( [-+=%])?\W*")
    assert not [cell for cell in cells if measured.fullmatch(cell)]


def test_a_page_of_the_results_says_what_the_docs_say(monkeypatch):
    """Numbers, marks, the best and the order: of `cdrzoo report` and of docs/results/clicks.md."""
    monkeypatch.syspath_prepend(str(PROJECT))
    from cdrzoo.report.collection import overview, title
    from docs.render import results

    pairs = results.PAIRS
    found = {name: results.load(name) for name in pairs.values()}
    said = [line.strip("| ").split(" | ") for line in results.whole(pairs, results.order()).splitlines()]
    told = {row[0]: row[1:] for row in said if not row[0].startswith(("model", "---", "*"))}
    rows = {row["model"]: row for row in overview(found)["table"].rows}
    assert list(told) == [label for label in rows if label in told] and len(told) == 35
    for label, cells in told.items():
        for name, cell in zip(found, cells):
            shown = rows[label][title(name)]
            assert cell.strip("*") == shown.text and cell.startswith("**") == ("best" in shown.kind), (
                label,
                name,
            )
    for name, labels in {"ctr_ciao_10_05": ("LR", "CCTL w/o IFN"), "ctr_amazon_1_2": ("FiBiNET",)}.items():
        for label in labels:  # their intervals leave 0 out, their corrected p-values are above 0.05
            test = found[name].tests[label]
            assert test.low * test.high > 0 and not found[name].marks[label]


@names
def test_python_is_python(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        ast.parse(code)


@names
def test_files_and_pages_that_are_named_are_there(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(
        r"`((?:cdrzoo|tests|examples|docs|requirements|saved_models|tfx_pipeline)/[\w./-]+)`", text
    ):
        assert any(word in name for word in NOT_HERE) or (PROJECT / name).exists(), name
    for link in re.findall(r"\]\(([^)\s:]+)\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        name, _, anchor = link.partition("#")
        to = (page.parent / name).resolve() if name else page
        assert to.exists(), link
        assert not anchor or anchor in anchors(to), link


def anchors(page: pathlib.Path) -> set[str]:
    """Those of a page's headings, as the site makes them."""
    from docs.render.reference import slug

    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)}


def test_the_messages_of_the_page_on_trouble_are_those_of_the_code():
    files = [path for name in ("cdrzoo", "tfx_pipeline") for path in (PROJECT / name).rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    code = re.sub(r"\"\s*\n\s*f?\"", "", code)
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = [text for text in re.findall(r"^\| `([^`]+)`", page, re.M) if " " in text]
    assert len(quoted) > 10
    for text in quoted:
        for part in text.split("..."):
            if len(part.strip()) > 9 and " N " not in part:
                assert part.strip() in code, part


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.parametrize("name", RUN)
def test_the_code_of_the_page_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": name.removesuffix(".md")}
    monkeypatch.setitem(sys.modules, names["__name__"], type(sys)(names["__name__"]))
    for code in re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.S):
        exec(compile(code, name, "exec"), names)
    assert re.search("verified|val_auc", capsys.readouterr().out)


@pytest.fixture(scope="module")
def examples():
    return load_mapping(DOCS / "render" / "examples.yaml")


def test_the_examples_of_the_reference_are_taken(examples, tmp_path):
    """Each entry of each class has one, and the classes that check them take them all."""
    from docs.render.reference import CLASSES
    from docs.render.reference import examples as shown
    from docs.render.reference import shown as listed

    for part in CLASSES:
        assert {entry.name for entry in listed(part)} == shown()[part].keys(), part
        assert all(entry.about for entry in listed(part)), part
    schema = Schema.from_dict(examples["schema"])
    (tmp_path / "schema.yaml").write_text(schema.to_yaml())
    run = examples["run"]
    callbacks = {"callbacks": ["keras.callbacks.TerminateOnNaN"]}
    run = {**run, "training": {**run["training"], **callbacks}, "finetune": None}
    config = RunConfig.from_dict(run, tmp_path)
    assert config.training.optimizer == "adagrad" and config.first == {"epochs": 5, "gamma": 0.05}


def fits(value, schema) -> bool:
    """Whether a value fits a JSON Schema, of the words that ours use."""
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "null": type(None),
    }
    kinds["number"] = (int, float)
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(isinstance(value, kinds[kind]) for kind in wanted):
        return False
    if isinstance(value, list):
        return all(fits(one, schema.get("items", {})) for one in value)
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties", True)
        if not set(schema.get("required", [])) <= value.keys():
            return False
        return all(
            fits(one, known[key])
            if key in known
            else other is True or (other is not False and fits(one, other))
            for key, one in value.items()
        )
    return True


@pytest.mark.parametrize("of", ["schema", "run"])
def test_the_json_schema_takes_what_the_code_takes(of, examples):
    schema = reference.json_schema(of)
    assert fits(examples[of], schema)
    if of == "run":
        assert fits({**examples["run"], "schema": examples["schema"], "pipeline": {"name": "films"}}, schema)
        logs = {name: entry for name, entry in examples["run"].items() if name != "schema"}
        assert fits({**logs, "data": "rows/"}, schema) and not fits(logs, schema)
        wrong = [{"modle": "dnn"}, {"model": "dnnn"}, {"training": {"epoch_s": 3}}, {"seed": "seven"}]
        assert not any(fits({**examples["run"], **one}, schema) for one in wrong)
    else:
        domains = {
            **examples["schema"]["domains"]["films"],
            "features": [{"name": "user", "kind": "idd", "role": "user"}],
        }
        assert not fits({**examples["schema"], "domains": {"films": domains}}, schema)
        with pytest.raises(InputError):
            Schema.from_dict({**examples["schema"], "domains": {"films": domains}})
