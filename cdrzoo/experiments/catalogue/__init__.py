"""Named experiments: YAML files, of which those beside this one are the catalogue. Imports no TensorFlow.

Of an experiment a file says title, note and parts, and of a part what `Part` lists; what stands at the experiment is
meant for all its parts. `docs/reproduce.md` shows one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdrzoo.documents import load_mapping
from cdrzoo.errors import InputError, check_choice, check_known, did_you_mean, is_number, is_whole, shown
from cdrzoo.experiments.entries import RUN_SETTINGS, Entry
from cdrzoo.models import cards
from cdrzoo.training.config import Training

BUILT_IN = ("synthetic", "planted")
"""Logs that are made (`cdrzoo.data.synthetic`, `cdrzoo.data.planted`): datasets that want no files."""
METRICS = ("auc", "gauc", "log_loss", "ece", "mae", "rmse")
"""What a paper's number may be of."""


@dataclass(frozen=True)
class Part:
    """One table of an experiment: models on one split of one dataset.

    Args:
        models: what is compared, `{label: settings by their plain names}`, `model` among them. In a file also as
            `cdrzoo compare` takes it (`dnn:domains=all`), and settings of a first stage as a mapping `first`.
        dataset: its name (`cdrzoo.data.datasets`, or of `BUILT_IN`).
        run: in its place, a run configuration whose rows, split and settings are taken; relative to the file.
        against: whom the paired test compares with; `None`: of the models that see the target alone the one that is
            best on validation rows, which all its seeds score.
        pair: arguments of the dataset's `pair`.
        beta: share of the shared users that the cold-start protocol hides; `None`: no cold start.
        split: in place of the dataset's own.
        settings: of training, and `width`, by their plain names, for all models.
        seeds: runs of each model. Default 5.
        search: trials of each model before. Default 0.
        searched: labels with a search of their own; else the lines of one model share that of the first.
        published: what the paper says, `{label: {metric: value}}`.
        folder: where the dataset's files lie in the folder of all data; default: the dataset's name.
    """

    models: Mapping[str, Mapping[str, Any]]
    dataset: str | None = None
    run: str | None = None
    against: str | None = None
    pair: Mapping[str, Any] = field(default_factory=dict)
    beta: float | None = None
    split: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 5
    search: int = 0
    searched: Sequence[str] = ()
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    folder: str | None = None

    @property
    def entries(self) -> list[Entry]:
        """The models as a comparison takes them."""
        return [Entry(label, dict(changes), label in self.searched) for label, changes in self.models.items()]

    @property
    def files(self) -> bool:
        """Whether files of a public dataset are wanted."""
        return self.dataset not in (None, *BUILT_IN)

    @property
    def place(self) -> str:
        """Where its rows come from, for a list."""
        return self.dataset or pathlib.Path(str(self.run)).name


@dataclass(frozen=True)
class Experiment:
    """Tables that belong together.

    Args:
        title: what they show.
        parts: each by its name; one that stands alone is called `""`.
        note: what a reader must know to judge the numbers, above all where the paper does not say what it did.
    """

    title: str
    parts: Mapping[str, Part]
    note: str = ""


def experiments(path: pathlib.Path | None = None) -> dict[str, Experiment]:
    """The experiments of a file by their names; default: the catalogue.

    Those of the papers need files that must be asked for or downloaded, see docs/datasets.md.

    Raises:
        InputError: an entry is unknown, wrong or missing, with its place.
    """
    return _own() if path is None else _read(path)


@functools.cache
def _own() -> dict[str, Experiment]:
    files = sorted(pathlib.Path(__file__).parent.glob("*.yaml"))
    return {name: experiment for file in files for name, experiment in _read(file).items()}


def find(name: str, path: pathlib.Path | None = None) -> Experiment:
    """The experiment `NAME`, or of `NAME/PART` that part alone."""
    known = experiments(path)
    experiment, _, part = name.partition("/")
    _check_name("experiment", experiment, known)
    found = known[experiment]
    if not part:
        return found
    _check_name("part", part, found.parts)
    return dataclasses.replace(found, parts={part: found.parts[part]})


def _check_name(what: str, wanted: str, known: Mapping[str, Any]) -> None:
    if wanted not in known:
        others = ", ".join(name for name in known if name)
        hint = f"There are: {others}." if others else "It has no parts: name the experiment alone."
        raise InputError(f"There is no {what} {shown(wanted)}. {did_you_mean(wanted, known) or hint}")


def _read(path: pathlib.Path) -> dict[str, Experiment]:
    with _at(str(path)):
        given = load_mapping(path)
        check_known("The file", given, ["shared", "experiments"])  # `shared`: for anchors, of any form
        named = _mapping("`experiments`", given.get("experiments"))
    return {name: _experiment(path, name, fields) for name, fields in named.items()}


def _experiment(path: pathlib.Path, name: Any, given: Any) -> Experiment:
    where = f"{path}, experiment {name!r}"
    with _at(where):
        fields = _mapping("It", given)
        check_known("It", fields, ["title", "note", "parts", *_FIELDS])
        title, note = fields.get("title"), fields.get("note", "")
        if not isinstance(title, str) or not isinstance(note, str):
            raise InputError(f"`title` and `note` must be text. Received: {shown(title)} and {note!r}.")
        parts = _mapping("`parts`", fields.get("parts", {"": {}}))
        for each in (name, *parts):
            if not isinstance(each, str) or "/" in each:
                raise InputError(
                    f"A name must be text without '/'; put a number in quotes. Received: {shown(each)}."
                )
    shared = {key: value for key, value in fields.items() if key in _FIELDS}
    made = {}
    for part, own in parts.items():
        with _at(f"{where}, part {part!r}" if part else where):
            made[part] = _part({**shared, **_mapping("It", own)}, path.parent)
    return Experiment(title, made, note)


_FIELDS = [f.name for f in dataclasses.fields(Part)]


def _part(fields: Mapping[str, Any], folder: pathlib.Path) -> Part:
    check_known("It", fields, _FIELDS)
    for name in ("models", "pair", "settings", "published"):
        _mapping(f"`{name}`", fields.get(name, {}))
    if not fields.get("models"):
        raise InputError("It lacks `models`. Add what is compared, for example models: {DNN: dnn}.")
    models = {}
    for label, given in fields["models"].items():
        with _at(f"model {label!r}"):
            models[str(label)] = _changes(given)
    part = Part(**{**fields, "models": models})
    _check_rows(part)
    _check_numbers(part)
    if isinstance(part.searched, str) or not isinstance(part.searched, Sequence):
        raise InputError(f"`searched` must be a list of labels. Received: {shown(part.searched)}.")
    for label in (*([] if part.against is None else [part.against]), *part.searched, *part.published):
        check_choice("A label of `against`, `searched` or `published`", label, models)
    return part if part.run is None else dataclasses.replace(part, run=str(folder / part.run))


def _changes(given: Any) -> dict[str, Any]:
    """Settings by their plain names, of a text or a mapping."""
    if isinstance(given, str):
        return Entry.parse(given).changes
    changes = dict(_mapping("A model", given, "text, or "))
    if "model" not in changes:
        raise InputError(f"It lacks `model`, the name of one. Received: {shown(given)}.")
    cards.card(changes["model"])
    first = _mapping("`first`", changes.pop("first", {}))
    return {**changes, **{f"first.{name}": value for name, value in first.items()}}


def pair_of(dataset: str) -> Callable[..., dict[str, Any]]:
    """What makes the pair of a dataset, of `cdrzoo.data.datasets` or built in."""
    from cdrzoo.data import datasets, planted, synthetic

    homes = {"synthetic": synthetic, "planted": planted}
    return (homes.get(dataset) or getattr(datasets, dataset)).pair


def _check_rows(part: Part) -> None:
    from cdrzoo.data import datasets

    if (part.dataset is None) == (part.run is None):
        raise InputError(
            "It must say where its rows are: `dataset`, or `run`, a run configuration; one of the two."
        )
    if part.run is None:
        check_choice("`dataset`", part.dataset, [*BUILT_IN, *datasets.__all__])
        taken = inspect.signature(pair_of(str(part.dataset))).parameters.values()
        known = [p for p in taken if p.name not in ("folder", "out")]
        check_known("`pair`", part.pair, [p.name for p in known])
        for each in known:
            if each.default is each.empty and each.name not in part.pair:
                raise InputError(
                    f"`pair` lacks {each.name!r}, which the dataset {part.dataset} wants. Add it."
                )
    elif not isinstance(part.run, str):
        raise InputError(f"`run` must be the name of a file. Received: {shown(part.run)}.")
    elif part.pair or part.beta is not None or part.split is not None or part.folder is not None:
        raise InputError(
            "With `run` the rows and their split are its own: leave out pair, beta, split and folder."
        )


def _check_numbers(part: Part) -> None:
    check_known("`settings`", part.settings, sorted(RUN_SETTINGS))
    Training(**{name: value for name, value in part.settings.items() if name != "width"})
    if not is_whole(part.seeds, 1) or not is_whole(part.search, 0):
        raise InputError(
            "`seeds` must be a whole number of at least 1, `search` one of at least 0. Received: "
            f"{shown(part.seeds)} and {part.search!r}."
        )
    if part.beta is not None and not (is_number(part.beta) and 0 < part.beta < 1):
        raise InputError(f"`beta` must be a number between 0 and 1. Received: {shown(part.beta)}.")
    for label, numbers in part.published.items():
        for metric, number in _mapping(f"{label!r} of `published`", numbers).items():
            check_choice(f"A metric of {label!r} of `published`", metric, METRICS)
            if not is_number(number):
                raise InputError(
                    f"`{metric}` of {label!r} of `published` must be a number. Received: {shown(number)}."
                )


def _mapping(what: str, given: Any, other: str = "") -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be {other}a mapping, `name: value` lines. Received: {shown(given)}.")
    return given


@contextlib.contextmanager
def _at(where: str) -> Iterator[None]:
    """Says where a mistake stands."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
