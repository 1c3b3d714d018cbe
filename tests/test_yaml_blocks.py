"""Every block of YAML in the pages of docs is what it says, as it stands there.

What a block is shows in its entries: a catalogue has `experiments`, a schema `domains`, a run's configuration a
`schema`, a pipeline's the section `pipeline`. Some settings alone are completed: those of a run or of a pipeline by the
run of docs/start/own_files.md, any other block is a space to search. Rows are made up for every file that a run names,
and prepared as it says.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re

import numpy as np
import pandas as pd
import pytest

from cdrzoo import data
from cdrzoo.data.preparation.sources import Source, wanted
from cdrzoo.documents import dump_yaml, load_yaml
from cdrzoo.errors import InputError
from cdrzoo.experiments.catalogue import experiments
from cdrzoo.experiments.entries import check_names
from cdrzoo.experiments.tune import load_space
from cdrzoo.schema import Feature, Schema
from cdrzoo.training.config import RunConfig
from tfx_pipeline.config import PipelineConfig

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "docs" / "start" / "own_files.md", *sorted((PROJECT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```ya?ml[^\n]*\n(.*?)^```", re.S | re.M)
OWN_FILES = BLOCK.findall(PAGES[0].read_text(encoding="utf-8"))


def blocks(page: pathlib.Path) -> list:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(PROJECT)
    lines = ((found[1], text.count("\n", 0, found.start()) + 1) for found in BLOCK.finditer(text))
    return [pytest.param(block, id=f"{name}:{line}") for block, line in lines]


BLOCKS = [block for page in PAGES[1:] for block in blocks(page)]


def fields(cls) -> set[str]:
    return {each.name for each in dataclasses.fields(cls)}


def named(first: str) -> dict:
    """The block of that page whose first line is this."""
    return load_yaml(next(text for text in OWN_FILES if text.startswith(f"# {first}\n")), first)


def column(want, rows: int, random: np.random.Generator):
    values = {"string": np.array(["a", "b", "c"]), "int64": np.arange(1, 6)}.get(
        want.dtype, np.linspace(0, 9)
    )
    found = random.choice(values, rows)
    return [want.reading.separator.join(map(str, (one, one))) for one in found] if want.many else found


def make_up(config: RunConfig) -> None:
    """Writes rows for every file that a configuration names; features of a joined key stand in the joined file."""
    random = np.random.default_rng(0)
    for domain in config.schema.domains:
        source = Source.of(domain.name, config.data[domain.name], config.folder)
        rows = pd.DataFrame(
            {n: column(w, 400, random) for n, w in wanted(config.schema, domain, source).items()}
        )
        rows[domain.user] = [f"u{i % 20}" for i in range(400)]
        rows[domain.item] = [f"{domain.name}{i}" for i in random.integers(0, 30, 400)]
        rows[domain.label] = 5 if source.negatives else random.integers(1, 6, 400)
        rows[domain.time] = np.arange(400)
        for side in source.join:
            (role,) = {f.role for f in domain.features if f.column == side["on"]}
            moved = [f.column for f in domain.with_role(role) if f.column != side["on"]]
            write(rows[[side["on"], *moved]].drop_duplicates(side["on"]), side["path"])
            rows = rows.drop(columns=moved)
        write(rows, source.path)


def write(rows: pd.DataFrame, path: pathlib.Path) -> None:
    rows.to_parquet(path) if path.suffix == ".parquet" else rows.to_csv(path, index=False)


def check_run(config: RunConfig) -> None:
    make_up(config)
    config.model_arguments()
    rows = data.prepare(
        config.schema, config.data, split=config.split, folder=config.folder, **config.preparation
    )
    assert all(len(rows.parts[domain.name]["train"]) for domain in config.schema.domains)


def check(text: str, folder: pathlib.Path) -> None:
    """Raises unless the block is what its entries say that it is."""
    found, run = load_yaml(text, "the block"), named("run.yaml")
    if isinstance(found, list):  # features of a domain
        for given in found:
            Feature(**given)
        return
    if "experiments" in found:
        (folder / "experiments.yaml").write_text(text)
        for experiment in experiments(folder / "experiments.yaml").values():
            for entry in (entry for part in experiment.parts.values() for entry in part.entries):
                check_names(entry)
        return
    schema = named("schema.yaml")
    if isinstance(found.get("data"), str):  # a folder of prepared rows, which says the rest
        (folder / run["schema"]).write_text(dump_yaml(schema))
        logs = RunConfig.from_dict(run, folder)
        make_up(logs)
        logs.prepare_to(folder / found["data"], jobs=1)
        rows = RunConfig.from_dict(found, folder).prepare()
        assert all(len(rows.parts[domain.name]["train"]) for domain in rows.schema.domains)
        return
    if "domains" in found and "target" in found:
        assert Schema.from_dict(Schema.from_dict(found).to_dict()) == Schema.from_dict(found)
        return
    if found.keys() <= fields(PipelineConfig):
        found = {**run, "pipeline": {"name": "films", **found}}
    elif "schema" not in found and found.keys() <= fields(RunConfig):
        found = {**run, **({"arguments": {}} if "model" in found else {}), **found}
    if "schema" not in found:
        (folder / "space.yaml").write_text(text)
        assert load_space(folder / "space.yaml")
        return
    for name in found["data"]:  # a domain that the page's schema has not is the new target
        if name not in schema["domains"]:
            schema = {
                **schema,
                "target": name,
                "domains": {**schema["domains"], name: schema["domains"]["films"]},
            }
    (folder / found["schema"]).write_text(dump_yaml(schema))
    if "pipeline" in found:
        if statistics := found["pipeline"].get("statistics"):
            (folder / statistics).touch()
        check_run(PipelineConfig.from_dict(found, folder).run)
    else:
        check_run(RunConfig.from_dict(found, folder))


@pytest.mark.parametrize("text", BLOCKS)
def test_the_block_is_what_it_says(text, tmp_path):
    check(text, tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("on: item", "at: item"),
        ("on: item", "true: item"),  # what YAML 1.1 makes of it
        ("fractions:", "fraction:"),
        ("sync_every:", "sync_evry:"),
        ("learning_rate:", "learning_rat:"),
        ("schema: schema.yaml", "scheme: schema.yaml"),
    ],
)
def test_a_mistake_in_a_block_is_found(before, after, tmp_path):
    text = next(text for text in OWN_FILES if text.startswith("# run.yaml"))
    check(text, tmp_path)
    with pytest.raises(InputError):
        check(text.replace(before, after), tmp_path)


def test_there_are_blocks_of_every_kind():
    found = [load_yaml(block.values[0], "the block") for block in BLOCKS]
    assert len(found) >= 8
    for entry in ("domains", "schema", "pipeline", "beam", "first", "learning_rate", "experiments"):
        assert any(entry in block for block in found), entry
