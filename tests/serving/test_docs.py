"""What docs/serving.md shows works as it stands, against the development server."""

from __future__ import annotations

import json
import pathlib
import re
import shutil

import pytest
import urllib3

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

from cdrzoo.serving import Server

PROJECT = pathlib.Path(__file__).resolve().parents[2]
DOCS = (PROJECT / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_models")
    shutil.copytree(PROJECT / "saved_models" / "cctl", folder / "cctl")
    config = (PROJECT / "saved_models" / "models.config").read_text(encoding="utf-8")
    (folder / "models.config").write_text(config, encoding="utf-8")
    with Server(folder, port=0, rest_port=0) as server:
        yield server


def here(text, server):
    return text.replace("http://127.0.0.1:8501", server.rest_address).replace(
        "127.0.0.1:8500", server.address
    )


@pytest.mark.slow
def test_the_calls_of_curl(server):
    calls = re.findall(r"^curl (\S+) -d '(.*?)'$", DOCS, re.S | re.M)
    assert len(calls) == 3
    answers, pool = [], urllib3.PoolManager()
    for url, body in calls:
        response = pool.request("POST", here(url, server), body=body)
        answers.append(json.loads(response.data))
        assert response.status == 200, answers[-1]
    rows, columns, ranked = answers
    assert rows["predictions"] == pytest.approx(columns["outputs"], abs=1e-6)
    shown = json.loads(re.search(r"gives `(\{\"predictions.*?\})`", DOCS)[1])
    assert shown["predictions"] == pytest.approx(rows["predictions"], abs=1e-6)
    shown = json.loads(re.search(r"gives `(\{\"outputs.*?\}\})`", DOCS)[1])["outputs"]
    assert shown["item"] == ranked["outputs"]["item"]
    assert shown["click"] == pytest.approx(ranked["outputs"]["click"], abs=1e-6)
    for url in re.findall(r"^curl (\S+) +#", DOCS, re.M):
        assert pool.request("GET", here(url, server)).status == 200


def test_the_python_examples(server, capsys):
    examples = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    assert len(examples) == 2
    for code in examples:
        exec(compile(here(code, server), "docs/serving.md", "exec"), {})
    assert "{1: 'AVAILABLE'}" in capsys.readouterr().out
