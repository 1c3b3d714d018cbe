"""Command lines: every option with wrong values, none, twice or shortened; what stands in the wrong place."""

from __future__ import annotations

import argparse
import importlib
import pathlib
import re
import shutil
from collections.abc import Iterator
from unittest import mock

from cdrzoo.documents import dump_yaml
from cdrzoo.training.packing import pack
from tests.attack.cells import new
from tests.attack.judge import NO_VALUE, Accepted, Case, Output, command

PROJECT = pathlib.Path(__file__).resolve().parents[2]
BASE: dict[str, list[str]] = {
    "models": [],
    "schema check": ["schema.yaml"],
    "schema json": ["run"],
    "synthesize": ["NEW"],
    "prepare": ["run.yaml", "--out", "NEW"],
    "dataset": ["movielens", "folder", "--out", "NEW", "--source", "Comedy", "--target", "Horror"],
    "train": ["run.yaml", "--out", "NEW"],
    "evaluate": ["run"],
    "pack": ["run", "--out", "NEW.tar.zst"],
    "unpack": ["run.tar.zst", "--out", "NEW"],
    "compare": ["run.yaml", "--models", "lr", "--out", "NEW"],
    "tune": ["run.yaml", "--out", "NEW"],
    "reproduce": ["mine", "--catalogue", "mine.yaml", "--out", "NEW"],
    "transfer": ["run", "--out", "NEW"],
    "report": ["run"],
    "export": ["run", "--to", "NEW"],
    "verify": ["saved/films/1"],
    "predict": ["saved/films/1", "--input", "films.csv"],
    "serve": ["saved", "--port", "0", "--rest-port", "0"],
    "label": ["saved", "films"],
}
"""Every command as it could be given; NEW is a folder that there is not."""

NUMBERS = [
    "x",
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "²",
    "0x10",
    "9" * 30,
    "9" * 5000,
    "true",
    "[1]",
    "1 2",
    "1,5",
    "-9999999",
]
WHOLE = [*NUMBERS, "1.5", "1e3", "1_0", "٣", "+"]
GIVEN = [
    "",
    " ",
    "nowhere",
    "nowhere/x.yaml",
    "run.yaml/x",
    "x" * 5000,
    "caf\udce9",
    "~nobody-of-that-name/x",
    "noise.yaml",
    "empty.yaml",
    "list.yaml",
]
MADE = ["", " ", "run.yaml", "run.yaml/x", "x" * 5000, "caf\udce9", "/proc/nothing/x", "folder"]
SETTINGS = """x|=1|x=1|epochs|epochs=x|epochs=0|epochs=-1|epochs=1.5|epochs=.nan|epochs=[1]|epochs={}|epochs=|epochs=true
learning_rate=0|learning_rate=-1|learning_rate=.nan|learning_rate=.inf|learning_rate=x|dropout=1|dropout=x|dropout=-1|dropout=[0.1]
units=[0]|units=x|units=[x]|units=1.5|width=0|width=1000000000|width=x|width=1.5|batch_size=0|batch_size=x|seed=-1|seed=x|seed=1.5
optimizer=x|optimizer=5|split=x|data=x|schema=x|first.epochs=1|first.x=1|domains=x|domains=5|finetune=x|callbacks=x|callbacks=[x.y]
monitor=x|monitor=val_x|epoch=x|epoch=0|xla=yes|xla=1|mixed_precision=yes|loss_weights={x: 1}|loss_weights={films: -1}|loss_weights=5
[=1|epochs=[|epochs=!!x|epochs=*a|slices=x|slices=[x]|model=x|EPOCHS=1|epochs =1| epochs=1|patience=0|source_ratio=0|weight_decay=-1
steps_per_execution=0|arguments={}|training={epochs: 1}|preparation={}""".replace("\n", "|").split("|")
SHARED = ["seed=5", "model=dnn", "x=1", "epochs=0", "hops=2", "first.gamma=1", "split=x", "epochs"]
TEXTS: dict[tuple[str, str], list[str]] = {
    ("train", "--set"): SETTINGS,
    ("train", "--model"): ["x", "DNN", "dnn ", "dnn,lr", "größe", "../dnn", "x" * 5000, "mkt,"],
    ("compare", "--models"): ["x", ",", "lr,,dnn", "lr:", "lr:x", "lr:x=1", "dnn:dropout=", "dnn:dropout=x", "dnn:dropout=1",
        "dnn:units=[0]", "lr:seed=1", "lr:model=dnn", "lr,lr", "dnn:units=[1", "größe", "x" * 5000,
        "dnn:dropout=0.1:dropout=0.2", "lr;dnn", "lr dnn", "lr:epochs=0", "lr:width=0", "lr:domains=x"],
    ("compare", "--against"): ["x", "dnn", "LR", " lr"],
    ("compare", "--set"): [*SHARED, "dropout=2"],
    ("tune", "--models"): ["x", ",", "lr,,dnn", "lr:x=1", "dnn:dropout=x"],
    ("tune", "--set"): SHARED[1:],
    ("reproduce", "--data"): [""],
    ("reproduce", "--model"): ["", "x", "lr", "LR,LR"],
    ("reproduce", "--out"): MADE[:-1],
    ("export", "--to"): MADE[:-1],
    ("reproduce", "--set"): ["x=1", "epochs=0", "model=dnn", "epochs", "seed=5"],
    ("reproduce", "name"): ["x", "mine/x", "mi ne", "Mine", "planted_transfer", "x" * 5000],
    ("dataset", "name"): ["x", "Movielens", "synthetic", "../movielens", "x" * 5000, "größe"],
    ("dataset", "--source"): ["x", "Horror"],
    ("dataset", "--target"): ["x"],
    ("dataset", "--set"): ["x=1", "x", "edition=1", "folder=x"],
    ("schema check", "--data"): ["x", "books=", "=books.csv", "books=nowhere.csv", "books=films.csv", "comics=films.csv", "books=run.yaml", "books=folder", "books=noise.yaml"],
    ("evaluate", "--slices"): ["x", ",", "user,,x", "x" * 5000],
    ("train", "--slices"): ["x", ",", "user,,x", "users"],
    ("compare", "--slices"): ["x", ",", "users"],
    ("tune", "--slices"): ["x", ","],
    ("transfer", "--slices"): ["x", ","],
    ("prepare", "--memory"): ["x", "", " ", "nan", "inf", "0", "-1", "²", "1 2", "4GB"],
    ("prepare", "--slices"): ["x", ",", "users"],
    ("prepare", "--beam"): ["x", "=1", "runner=", "runner=x"],
    ("transfer", "--by"): ["x", "x" * 5000],
    ("predict", "model"): ["x", "saved", "saved/films", "saved/films/2", "run", "run.yaml", "films.csv", "x" * 5000, "caf\udce9"],
    ("predict", "--server"): ["x", "127.0.0.1", "127.0.0.1:1", "http://127.0.0.1:1", "http://", "ftp://127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:x"],
    ("predict", "--separator"): [""],
    ("predict", "--delimiter"): ["", ";;", '"', "\n", "x"],
    ("label", "model"): ["x", "films ", "../saved", "x" * 5000],
    ("label", "labels"): ["x", "stable", "=1", "stable=", "stable=x", "stable=1.5", "stable=-1", "stable=²", "stable=" + "9" * 30, "stable=7", "a b=1", "a/b=1", "=", "stable==1", "stable=1=2", "stable= 1"],
}  # fmt: skip
FILES_MADE = {"--out", "--to", "--output"}


def write() -> None:
    """What the commands are given: a finished run and an export of the reference ones, files of nothing."""
    finished = PROJECT / "tests" / "training" / "finished" / "dadin"
    shutil.copytree(finished, "run")
    shutil.copytree(finished.parent / "demo", "demo")
    pack("run", "run.tar.zst")
    shutil.copytree(PROJECT / "saved_models" / "dadin" / "1", "saved/films/1")
    pathlib.Path("folder").mkdir()
    pathlib.Path("folder/x").touch()
    pathlib.Path("noise.yaml").write_bytes(bytes(range(256)) * 4)
    pathlib.Path("empty.yaml").touch()
    mine = {"title": "Mine", "run": "run.yaml", "models": {"LR": "lr"}}
    pathlib.Path("mine.yaml").write_text(dump_yaml({"experiments": {"mine": mine}}))
    pathlib.Path("list.yaml").write_text("- a\n")


def line(name: str, *changed: str) -> list[str]:
    """A command's words; NEW is put in."""
    words = [*name.split(), *changed]
    return [str(new(word[3:])) if word.startswith("NEW") else word for word in words]


def without(words: list[str], option: str) -> list[str]:
    """Without an option and its value."""
    if option not in words:
        return words
    at = words.index(option)
    return words[:at] + words[at + 2 :]


def run(words: list[str]) -> Output:
    """A command; it gets as far as to train or to serve, and no further."""
    with (
        mock.patch("cdrzoo.serving.server.Server.__enter__", side_effect=Accepted("It would serve.")),
        mock.patch("cdrzoo.models.base.CrossDomainModel.fit", side_effect=Accepted("It would train.")),
    ):
        return command(*words)


def actions(name: str) -> list[argparse.Action]:
    """The arguments of a command."""
    parser: argparse.ArgumentParser = importlib.import_module("cdrzoo.cli.main")._parser()
    for word in name.split():
        (sub,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
        parser = sub.choices[word]
    return [each for each in parser._actions if each.dest != "help"]


def of_options() -> Iterator[Case]:
    """Every option of every command."""
    for name, base in BASE.items():
        for action in actions(name):
            option = action.option_strings[0] if action.option_strings else action.dest
            named = (
                action.metavar if isinstance(action.metavar, str) and not action.option_strings else option
            )
            for value in _wrong(name, action, option):
                # An error may name the option, its value, or what the value itself names: a setting, a column.
                said = {
                    option,
                    option.strip("-"),
                    str(named),
                    repr(value),
                    value.strip()[:60],
                    "empty",
                    "setting",
                }
                said |= {
                    form for word in re.findall(r"[\w.]+", value)[:8] for form in (f"'{word}'", f"`{word}`")
                }
                said |= (
                    {repr(value.partition("=")[0]), value.partition("=")[0].rstrip("s")}
                    if "=" in value
                    else set()
                )
                said |= {str(pathlib.PurePath(value).parent)} if len(value) > 1 and "/" in value else set()
                said |= {"movies.csv"} if name == "dataset" else {"domain", "entries"}
                if action.option_strings:
                    words = [*without(base, option), option, value]
                    if value.startswith("-"):
                        words[-2:] = [f"{option}={value}"]
                else:
                    place = [each.dest for each in actions(name) if not each.option_strings].index(
                        action.dest
                    )
                    words = [*base[:place], value, *base[place + 1 :]]
                yield Case(
                    f"{name}: {option} {value!r:.50}",
                    lambda name=name, words=words: run(line(name, *words)),
                    NO_VALUE,
                    (tuple(said - {""}),),
                )
            if action.option_strings:
                yield from _of_form(name, base, action, option)
        yield Case(
            f"{name}: an option that there is not",
            lambda n=name, b=base: run(line(n, *b, "--frob")),
            words=("--frob",),
        )
        yield Case(
            f"{name}: a word too many",
            lambda n=name, b=base: run(line(n, *b, "frob", "frob")),
            words=("frob",),
        )
        if base:
            yield Case(f"{name}: nothing", lambda n=name: run(n.split()), words=())


def _wrong(name: str, action: argparse.Action, option: str) -> list[str]:
    if (name, option) in TEXTS:
        return TEXTS[name, option]
    if action.nargs == 0:
        return []
    if action.choices:
        return ["x", "", " ", str(next(iter(action.choices))).upper(), "x" * 5000]
    if action.type is None:
        return [""]
    if option in FILES_MADE or (name, option) == ("synthesize", "folder"):
        return MADE
    if getattr(action.type, "__name__", "") == "path":
        return GIVEN
    return WHOLE if _is_whole(action.type) else NUMBERS


def _is_whole(kind: object) -> bool:
    return "whole" in getattr(kind, "__qualname__", "")


def _of_form(name: str, base: list[str], action: argparse.Action, option: str) -> Iterator[Case]:
    rest = without(base, option)
    if action.nargs == 0:
        yield Case(f"{name}: {option}=x", lambda: run(line(name, *base, f"{option}=x")), words=(option,))
    else:
        yield Case(
            f"{name}: {option} without a value", lambda: run(line(name, *rest, option)), words=(option,)
        )
        yield Case(f"{name}: {option}=", lambda: run(line(name, *rest, f"{option}=")), words=(option,))
        if not isinstance(action, argparse._AppendAction):
            twice = (
                [option, "1", option, "2"] if not action.choices else [option, next(iter(action.choices))] * 2
            )
            yield Case(f"{name}: {option} twice", lambda: run(line(name, *rest, *twice)), words=(option,))
    if len(option) > 4:
        short = option[:-1]
        value = [] if action.nargs == 0 else ["1"]
        yield Case(
            f"{name}: {short}",
            lambda: run(line(name, *rest, short, *value)),
            words=((short, "required", "names"),),
        )


PLACES: list[tuple[str, tuple[str, ...]]] = [
    ("", ("command",)),
    ("frob", ("frob",)),
    ("Train run.yaml --out NEW", ("train",)),
    ("--frob", ()),
    ("train", ("--out",)),
    ("train --out NEW", ("run configuration",)),
    ("train run.yaml", ("--out",)),
    ("train schema.yaml --out NEW", ("target",)),
    ("train films.csv --out NEW", ("films.csv",)),
    ("train run --out NEW", ("run",)),
    ("train run/config.yaml --out run", ("run",)),
    ("train run.yaml --out folder", ("folder",)),
    ("train run.yaml --out folder --overwrite", ("folder",)),
    ("train run.yaml --out NEW --resume", ("resume",)),
    ("train --out NEW --resume", ("run",)),
    ("train --out folder --resume", ("folder",)),
    ("train --out run.yaml --resume", ("run.yaml",)),
    ("train --out run --resume --set epochs=5", ("--resume",)),
    ("train run.yaml --out NEW --model lr --set model=dnn", ("model",)),
    ("train run.yaml --out NEW --set epochs=1 --set epochs=2", ("epochs",)),
    ("evaluate folder", ("folder",)),
    ("evaluate run.yaml", ("run.yaml",)),
    ("evaluate saved/films/1", ("saved/films/1",)),
    ("compare run.yaml --models lr --out folder", ("folder",)),
    ("compare run.yaml --models lr --out run", ("run",)),
    ("compare schema.yaml --models lr --out NEW", ("target",)),
    ("compare run.yaml --out NEW", ("--models",)),
    ("tune run.yaml --out folder", ("folder",)),
    ("tune run.yaml --space run.yaml --out NEW", ("space",)),
    ("tune run.yaml --space films.csv --out NEW", ("films.csv",)),
    ("reproduce", ("--list",)),
    ("reproduce planted_transfer", ("--out",)),
    ("reproduce ctr_ciao_01_02 --out NEW", ("--data",)),
    ("reproduce ctr_ciao_01_02 --data folder --out NEW", ("folder",)),
    ("reproduce --list --catalogue run.yaml", ("run.yaml",)),
    ("transfer folder --out NEW", ("folder",)),
    ("transfer run --out folder", ("folder",)),
    ("transfer run --twin folder --out NEW", ("folder",)),
    ("transfer run --twin run --out NEW", ("twin",)),
    ("report folder", ("folder",)),
    ("report run.yaml", ("run.yaml",)),
    ("report run --out folder", ("folder",)),
    ("report run --out nowhere/report.html", ("nowhere",)),
    ("export folder --to NEW", ("folder",)),
    ("export run --to run.yaml", ("run.yaml",)),
    ("verify folder", ("folder",)),
    ("verify saved/films", ("saved/films",)),
    ("verify saved/films/2", ("saved/films/2",)),
    ("verify run", ("run",)),
    ("verify saved/films/1 --run folder", ("folder",)),
    ("predict saved/films/1 --input nowhere.csv", ("nowhere.csv",)),
    ("predict saved/films/1 --input folder", ("folder",)),
    ("predict saved/films/1 --input noise.yaml", ("noise.yaml",)),
    ("predict saved/films/1 --input items.csv", ("items.csv", "column")),
    ("predict saved/films/1 --input films.csv --output run.yaml", ("run.yaml",)),
    ("predict saved/films/1 --input films.csv --output nowhere/x.csv", ("nowhere",)),
    ("predict saved/films/1 --input films.csv --output folder", ("folder",)),
    ("predict saved/films/1", ("--input",)),
    ("serve nowhere --port 0 --rest-port 0", ("nowhere",)),
    ("serve run.yaml --port 0 --rest-port 0", ("run.yaml",)),
    ("serve folder --port 0 --rest-port 0", ()),
    ("label nowhere", ("nowhere",)),
    ("label run.yaml", ("run.yaml",)),
    ("label saved nothing stable=1", ("nothing",)),
    ("label saved films stable=1 stable=1", ("stable",)),
    ("label saved films stable=9", ("9",)),
    ("schema", ("COMMAND",)),
    ("schema frob", ("frob",)),
    ("schema check", ("schema",)),
    ("schema check films.csv", ("films.csv",)),
    ("schema check run.yaml --data films=films.csv", ("--data",)),
    ("schema check schema.yaml --data films=films.csv", ("books",)),
    ("schema check schema.yaml --data films=films.csv --data films=books.csv", ("films",)),
    ("synthesize folder", ("folder",)),
    ("synthesize run.yaml", ("run.yaml",)),
    ("dataset movielens nowhere --out NEW", ("nowhere",)),
    ("dataset movielens folder --out folder", ("folder",)),
    ("dataset amazon folder --out NEW", ("folder",)),
    ("dataset ciao folder --source 01 --target 01 --out NEW", (("01", "lacks"),)),
]


def of_places() -> Iterator[Case]:
    """What is asked of the wrong file, folder or run."""
    for text, words in PLACES:
        yield Case(f"cdrzoo {text}", lambda text=text: run(line(text)), NO_VALUE, words)


def of_commands(seed: int) -> Iterator[tuple[str, Case]]:
    """All of them."""
    write()
    for case in of_options():
        yield f"command lines, {case.name.split(':')[0]}", case
    for case in of_places():
        yield "command lines, wrong places", case
