"""The configuration of a run: one YAML file that says everything a training needs. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdrzoo import files
from cdrzoo.documents import load_mapping
from cdrzoo.errors import (
    WIDEST,
    InputError,
    check_choice,
    check_known,
    check_number,
    check_whole,
    is_number,
    shown,
)
from cdrzoo.models import cards
from cdrzoo.models.arguments import check_arguments
from cdrzoo.schema import Reading, Schema
from cdrzoo.training import continual, observers, stored
from cdrzoo.training.contents import contents, placed

OPTIMIZERS = ("adam", "adagrad", "sgd")
UNSEEN = ("steps_per_execution", "callbacks")
"""Settings of a training that change no number of it."""

RUN_SETTINGS = ("model", "domains", "width", "finetune", "warm_start_from", "forget_after", "seed", "slices")
"""Settings of a run that have plain names."""

OPTIONAL = ("first", "finetune", "warm_start_from", "forget_after", "drift", "slices")
"""What a configuration does not say where it is not set: keys of kept results are made of it."""

PLACES = ("folder", "files")
"""What a configuration knows of where it lies, and does not say itself."""


def _fill(settings: Any) -> None:
    """`None` in place of a setting stands for its default."""
    for each in dataclasses.fields(settings):
        if getattr(settings, each.name) is None and each.default_factory is not dataclasses.MISSING:
            object.__setattr__(settings, each.name, each.default_factory())
        elif getattr(settings, each.name) is None and each.default is not dataclasses.MISSING:
            object.__setattr__(settings, each.name, each.default)


@dataclass(frozen=True)
class Training:
    """How a model is trained; the same for every model of a comparison unless its search says otherwise.

    Args:
        optimizer: `adam`, `adagrad` or `sgd`, with updates of touched rows only.
        learning_rate: how far a step goes. Default 0.001; Adagrad wants about 0.1.
        weight_decay: decoupled; on a table it acts on touched rows. Default 0.
        batch_size: rows of the target a step. Default 256.
        source_ratio: rows of each source a step, for each row of the target. Default 1.
        epochs: passes over the rows, at most. Default 20.
        patience: epochs without a better `monitor` before training stops. Default 2.
        monitor: what chooses the epoch, measured on validation rows. Default `val_auc`, for ratings `val_rmse`.
        epoch: `target` (an epoch is one pass over the target; a source is repeated or cut), `longest`, or a number of
            steps.
        mixed_precision: `True` computes in bfloat16 and keeps float32 weights.
        xla: whether XLA compiles the training step (`False`: no part of it); `None`: where Keras finds that it can.
        steps_per_execution: training steps in one call of TensorFlow, as of Keras's `compile`; it changes no number.
            Above 1 small steps get faster (those of a factorisation about twice). Default 1.
        loss_weights: `{domain: weight}`, how much the loss of a domain's rows counts, as of `compile`. Of several
            labels those behind the first have weights of their own, as DOMAIN.LABEL. A model that does not train on a
            domain passes its weight over. Default: 1 each.
        class_weights: `{0: weight, 1: weight}`, what a row without a click and one with it count in the losses, such as
            `{1: 5}`. Scores are then no probabilities any more; their order is what is trained. Default: 1 each.
        group: `{domain: column}`, or a column of every source. Rows come in batches that are alike in it, as CCTL's
            selector wants them: the user, the time, or a feature by its column or its name. A model that does not train
            on a domain passes it over. Default: none.
        callbacks: Keras callbacks of your own that every training gets, a first stage, too: a list of dotted names, or
            of `{name: my_package.Logger, arguments: {path: log.csv}}`; in Python also of classes. A training makes its
            own, and gives it the attribute `run_config`. They may look on and log; what they do belongs to no key of
            kept results. Default: none.
    """

    optimizer: str = "adam"
    learning_rate: float = 0.001
    weight_decay: float = 0.0
    batch_size: int = 256
    source_ratio: float = 1.0
    epochs: int = 20
    patience: int = 2
    monitor: str | None = None
    epoch: str | int = "target"
    mixed_precision: bool = False
    xla: bool | None = None
    steps_per_execution: int = 1
    loss_weights: dict[str, float] | None = None
    class_weights: dict[int, float] | None = None
    group: dict[str, str] | str | None = None
    callbacks: list[dict[str, Any]] | None = None

    def __post_init__(self):
        _fill(self)
        object.__setattr__(self, "callbacks", observers.as_named(self.callbacks))
        check_choice("`optimizer`", self.optimizer, OPTIMIZERS)
        check_number("`learning_rate`", self.learning_rate, above=0)
        check_number("`source_ratio`", self.source_ratio, above=0, most=1e6)
        check_number("`weight_decay`", self.weight_decay, 0)
        for name in ("batch_size", "epochs", "patience", "steps_per_execution"):
            check_whole(f"`{name}`", getattr(self, name), 1)
        if self.epoch not in ("target", "longest"):
            check_whole("`epoch` must be 'target', 'longest' or a number of steps: it", self.epoch, 1)
        for name in ("mixed_precision", "xla"):
            if not isinstance(getattr(self, name), (bool, type(None))):
                raise InputError(f"`{name}` must be true or false. Received: {shown(getattr(self, name))}.")
        if self.monitor is not None and not str(self.monitor).startswith("val_"):
            raise InputError(
                f"`monitor` must be a metric of the validation rows, such as val_auc. Received: {shown(self.monitor)}."
            )
        weights = {} if self.loss_weights is None else self.loss_weights
        if not isinstance(weights, Mapping) or not all(is_number(w) and w > 0 for w in weights.values()):
            raise InputError(
                "`loss_weights` must be a mapping from domain to a number above 0, for example {books: 0.5}. "
                f"Received: {shown(weights)}."
            )
        classes = {} if self.class_weights is None else self.class_weights
        fits = isinstance(classes, Mapping) and set(map(str, classes)) <= {"0", "1"}
        if not fits or not all(is_number(weight) and weight > 0 for weight in classes.values()):
            raise InputError(
                "`class_weights` must be a mapping from 0, 1 or both to a number above 0, for example {1: 5}. "
                f"Received: {shown(classes)}."
            )
        object.__setattr__(
            self, "class_weights", {int(each): float(w) for each, w in classes.items()} or None
        )
        group = self.group or {}
        columns = list(group.values()) if isinstance(group, Mapping) else [group]
        if not all(isinstance(column, str) for column in columns):
            raise InputError(
                "`group` must be a column, or a mapping from domain to a column, for example {books: user}. Received: "
                f"{shown(group)}."
            )
        object.__setattr__(self, "group", (dict(group) if isinstance(group, Mapping) else group) or None)
        object.__setattr__(self, "loss_weights", {name: float(w) for name, w in weights.items()} or None)

    def groups(self, sources: Sequence[str]) -> dict[str, str]:
        """`group` by domain, given the names of the sources."""
        return dict.fromkeys(sources, self.group) if isinstance(self.group, str) else dict(self.group or {})

    def to_dict(self) -> dict[str, Any]:
        """As a mapping; without `class_weights`, `group` and `callbacks` where there are none."""
        plain = dataclasses.asdict(self)
        return {k: v for k, v in plain.items() if v or k not in ("class_weights", "group", "callbacks")}


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is made from.

    Args:
        schema: the schema: its file, or what such a file holds.
        data: for every domain where its rows are: a path or a mapping (see `cdrzoo.data.prepare`); or the folder of
            rows that `cdrzoo prepare` wrote. Such rows are split already, and `schema` may be left out.
        model: name of the model.
        arguments: those of the model's constructor, besides the schema; of a run that is fine-tuned, those of
            `for_new_domain`.
        domains: `all` or `target`: which domains the model trains on. Default: what the model is for.
        split: how rows are split (see `cdrzoo.data.prepare`).
        preparation: further arguments of `cdrzoo.data.prepare`.
        slices: columns of the target's rows by whose values every metric is given as well, such as `[hour, site]`.
        width: width of every table; default: as the schema says.
        training: how it is trained.
        first: of a model of two stages: settings of the first by their plain names.
            What is not named here is as it is for the second.
        finetune: the folder of a finished run whose model is fine-tuned to this schema's target, a domain that it does
            not know yet (see `cdrzoo.models.DACDR.for_new_domain`).
        warm_start_from: the folder of a finished run, of the same model and schema, whose model goes on: its weights,
            the state of its optimizers and its vocabularies, which grow, on the rows that came since.
        forget_after: of a warm start: an id that so many runs have not shown gives its row to a new one. Default: none.
        drift: thresholds of `cdrzoo drift`: `age`, `unknown`, `divergence`, `calibration`, `worse_by`. Default: none.
        seed: of the model's start, its dropout and the order of rows. Default 0.
        folder: what relative paths in `data`, `finetune` and `warm_start_from` are relative to.
        files: the files that it was read from.
    """

    schema: Schema
    data: dict[str, Any] | str
    model: str = "cctl"
    arguments: dict[str, Any] = field(default_factory=dict)
    domains: str | None = None
    split: Any = "time"
    preparation: dict[str, Any] = field(default_factory=dict)
    slices: tuple[str, ...] = ()
    width: int | None = None
    training: Training = field(default_factory=Training)
    first: dict[str, Any] = field(default_factory=dict)
    finetune: str | None = None
    warm_start_from: str | None = None
    forget_after: int | None = None
    drift: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    folder: str = "."
    files: tuple[str, ...] = ()

    def __post_init__(self):
        _fill(self)
        for names, kind, wanted in (
            (("schema",), Schema, "a file's name or a mapping"),
            (("data",), (Mapping, str), "a mapping, `name: value` lines, or a folder of prepared rows"),
            (("arguments", "preparation", "first", "drift"), Mapping, "a mapping, `name: value` lines"),
            (("training",), Training, "a mapping, `name: value` lines"),
            (("model",), str, "a model's name"),
            (("split",), (str, Mapping), "a word or a mapping"),
            (("finetune", "warm_start_from"), (str, pathlib.Path, type(None)), "a run's folder"),
        ):
            for name in names:
                if not isinstance(getattr(self, name), kind) or getattr(self, name) == "":
                    raise InputError(f"`{name}` must be {wanted}. Received: {shown(getattr(self, name))}.")
        slices = self.slices
        if not isinstance(slices, (list, tuple)) or not all(
            isinstance(name, str) and name for name in slices
        ):
            raise InputError(f"`slices` must be a list of columns of the target. Received: {shown(slices)}.")
        object.__setattr__(self, "slices", tuple(dict.fromkeys(slices)))
        if self.width is not None:
            check_whole("`width`", self.width, 1, WIDEST)
        check_whole("`seed`", self.seed, 0, 2**32 - 1)
        continual.check(self)
        if self.preparation:
            from cdrzoo.data import prepare

            known = inspect.signature(prepare).parameters.values()
            elsewhere = ("split", "slices", "folder", "encoder")
            allowed = [p.name for p in known if p.kind is p.KEYWORD_ONLY and p.name not in elsewhere]
            check_known("`preparation`", self.preparation, allowed)
        card = cards.card(self.model)
        if self.domains is None:
            object.__setattr__(self, "domains", card.domains)
        if self.domains not in ("all", "target"):
            raise InputError(f"`domains` must be 'all' or 'target'. Received: {shown(self.domains)}.")
        if card.family == "cross-domain" and self.domains == "target":
            raise InputError(f"{card.title} learns from a source; `domains: target` leaves none. Use `all`.")
        for name in self.training.loss_weights or ():
            self.schema.output(name)
        for name in self.training.groups([]):
            self.schema.domain(name)
        self._check_data()
        if self.first and not card.after:
            raise InputError(f"{card.title} is trained in one stage; leave out what is set of a `first`.")
        for name in ("model", "domains", "arguments", "training", "warm_start_from", "forget_after", "drift"):
            if name in self.first:
                raise InputError(
                    f"`first` holds settings of the first stage, {card.after}, by their plain names, for example "
                    f"{{learning_rate: 0.003, dropout: 0.2}}; its domains are the second's. Received: {shown(name)}."
                )
        self.first_stage()  # its mistakes are found now, too

    def _check_data(self) -> None:
        if isinstance(self.data, str):
            settled = {
                "split": self.split != "time",
                "preparation": self.preparation,
                "finetune": self.finetune,
            }
            for name in (name for name, given in settled.items() if given):
                raise InputError(
                    f"`data` is a folder of prepared rows, {self.data}, whose split and preparation are settled. Leave "
                    f"`{name}` out, or give the logs as `data`."
                )
            return
        for name in self.data:
            self.schema.domain(name)
        missing = [domain.name for domain in self.schema.domains if domain.name not in self.data]
        if missing:
            raise InputError(f"`data` says nothing of domain {missing[0]!r}. Add where its rows are.")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], folder: str | pathlib.Path = ".") -> RunConfig:
        """From the mapping of a YAML file; relative paths are relative to `folder`."""
        _check_entries("The configuration", config, [name for name in _fields(cls) if name not in PLACES])
        given = dict(config)
        if isinstance(given.get("data"), str):
            given.setdefault("schema", str(files.home(given["data"]) / "schema.yaml"))
        for required in ("schema", "data"):
            if required not in given:
                raise InputError(f"The configuration lacks `{required}`. Add it.")
        if not isinstance(given["data"], (Mapping, str)):
            raise InputError(
                "`data` must be a mapping from domain to file, or a folder of prepared rows. Received: "
                f"{shown(given['data'])}."
            )
        if isinstance(given["schema"], str):
            file = files.home(given["schema"], folder)
            given |= {"schema": Schema.load(file), "files": (str(file),)}
        elif isinstance(given["schema"], Mapping):
            given["schema"] = Schema.from_dict(given["schema"])
        if isinstance(given.get("training"), Mapping):
            _check_entries("`training`", given["training"], _fields(Training))
            given["training"] = Training(**given["training"])
        return cls(**given, folder=str(folder))

    @classmethod
    def load(cls, path: str | pathlib.Path) -> RunConfig:
        """From a YAML file; relative paths are relative to the file."""
        path = files.home(path).resolve()
        config = cls.from_dict(load_mapping(path), folder=path.parent)
        return dataclasses.replace(config, files=(str(path), *config.files))

    @classmethod
    def of(cls, given: RunConfig | Mapping[str, Any] | str | pathlib.Path) -> RunConfig:
        """What is given as a configuration: one, a mapping (`from_dict`), or a file (`load`)."""
        if isinstance(given, RunConfig):
            return given
        return cls.from_dict(given) if isinstance(given, Mapping) else cls.load(given)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads back, with paths made absolute."""
        return self.plain(lambda path: str(path.resolve()))

    def identity(self) -> dict[str, Any]:
        """The same wherever the files lie: they are named by their names and what they hold in place of their paths.

        Two runs with one identity are one run, whichever machine they ran on. Of the training it holds what differs
        from the defaults, so that a new setting makes no old run another, and nothing that changes no number.
        """
        identity, usual = self.plain(contents), dataclasses.asdict(Training())
        before = cards.card(self.model).before.items()
        identity["arguments"] = dict(each for each in identity["arguments"].items() if each not in before)
        identity["training"] = {
            name: value
            for name, value in identity["training"].items()
            if value != usual[name] and name not in UNSEEN
        }
        first = {name: value for name, value in identity.pop("first", {}).items() if name != "callbacks"}
        identity |= {"first": first} if first else {}
        return identity

    def prepare(self, encoder: Any = None) -> Any:
        """The rows that it names, read, split and encoded, as `cdrzoo.data.Prepared`; `finetune` is not looked at."""
        from cdrzoo import data

        if isinstance(self.data, str):
            return stored.load(self._stored, self.schema, self.slices, encoder)
        how = {"split": self.split, "slices": self.slices, "folder": self.folder, **self.preparation}
        return data.prepare(self.schema, self.data, encoder=encoder, **how)

    def prepare_to(self, out: str | pathlib.Path, **how: Any) -> Any:
        """The same rows prepared to a folder, as `cdrzoo.data.prepare_to` does it; `finetune` is not looked at.

        Args:
            out: the folder.
            how: its further arguments.
        """
        from cdrzoo.data.rows.making import prepare_to

        continual.check_whole_rows(self)
        return prepare_to(out, self._settings(), **how)

    def write_raw(self, out: str | pathlib.Path, write: Any, **how: Any) -> Any:
        """The same rows, not encoded, written to a folder by `write` (`cdrzoo.data.rows.making.write_raw`)."""
        from cdrzoo.data.rows.making import write_raw

        return write_raw(out, self._settings(), write, **how)

    def _settings(self) -> Any:
        """What rows are prepared of to a folder."""
        if isinstance(self.data, str):
            raise InputError(f"`data` is a folder of prepared rows, {self.data}. Give the logs of it.")
        from cdrzoo.data.rows.plan import Settings

        plain = {"split": self.split, "slices": tuple(self.slices), "folder": self.folder, **self.preparation}
        return Settings(self.schema, self.data, **plain)

    def paths(self) -> list[pathlib.Path]:
        """All that it names or was read from: its file, its schema's, the rows, the run that is fine-tuned."""
        named: list[str | pathlib.Path] = [*self.files]
        self.plain(named.append)
        here = [files.home(path) for path in named if not files.is_remote(path)]
        found = {file.resolve() for path in here for file in (path, *files.matches(path))}
        return sorted(found)

    def plain(self, place: Callable[[pathlib.Path], Any]) -> dict[str, Any]:
        """As a mapping, with what `place` makes of it for every path."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in PLACES}
        for name in ("finetune", "warm_start_from"):
            if getattr(self, name):
                plain[name] = place(files.home(getattr(self, name), self.folder))
        plain["slices"] = list(self.slices)
        for name in OPTIONAL:
            if not plain[name]:
                del plain[name]
        plain["arguments"] = {**cards.card(self.model).now, **self.arguments}
        plain |= {"schema": self.schema.to_dict(), "training": self.training.to_dict()}
        plain["data"] = (
            placed(self.data, self.folder, place)
            if isinstance(self.data, str)
            else {name: placed(source, self.folder, place) for name, source in self.data.items()}
        )
        return plain

    def with_changes(self, changes: Mapping[str, Any]) -> RunConfig:
        """A copy with some settings changed, by their plain names: of the run, its training, or the model's arguments.

        `{"learning_rate": 0.01, "width": 16, "dropout": 0.2}`: a name that neither the run nor its training knows is
        an argument of the model. `first.` before a name says that the first stage of a model of two is meant. Another
        model than the configuration's starts without its arguments, its `first`, `finetune` and `warm_start_from`.
        """
        other = changes.get("model", self.model) != self.model
        run, training = {}, {}
        arguments, first = ({}, {}) if other else (dict(self.arguments), dict(self.first))
        for name, value in changes.items():
            if name.startswith("first."):
                first[name.removeprefix("first.")] = value
            elif name in {f.name for f in dataclasses.fields(Training)}:
                training[name] = value
            elif name in RUN_SETTINGS:
                run[name] = value
            else:
                arguments[name] = value
        if other:
            run = {"domains": None, "finetune": None, "warm_start_from": None, **run}
        return dataclasses.replace(
            self,
            **run,
            arguments=arguments,
            first=first,
            training=dataclasses.replace(self.training, **training),
        )

    def with_callbacks(self, callbacks: Sequence[Any]) -> RunConfig:
        """A copy with further callbacks, as `Training.callbacks` names them; one that it has is not added again."""
        own = self.training.callbacks or []
        new = [each for each in observers.as_named(callbacks) or () if each not in own]
        return self.with_changes({"callbacks": [*own, *new]})

    @property
    def _stored(self) -> pathlib.Path:
        """The folder of prepared rows."""
        return files.home(str(self.data), self.folder)

    @property
    def reading(self) -> Reading:
        """How the text of the target's rows becomes values; an export reads by it, too."""
        from cdrzoo.data.preparation.sources import Source

        if isinstance(self.data, str):
            return stored.reading(self._stored, self.schema.target)
        return Source.of(self.schema.target, self.data[self.schema.target], self.folder).reading

    def first_stage(self) -> RunConfig | None:
        """The configuration of the stage that comes before the model's own, if it has one."""
        after = cards.card(self.model).after
        given = {**self.first, "model": after, "domains": self.domains}  # both stages see the same rows
        if self.warm_start_from:
            given["warm_start_from"] = str(pathlib.Path(self.warm_start_from, "first"))
        return self.with_changes(given) if after else None

    def constructor(self) -> Callable[..., Any]:
        """What makes the model: its class, or `for_new_domain` of it if a trained one is fine-tuned."""
        cls: Any = cards.card(self.model).load()
        if self.finetune and not hasattr(cls, "for_new_domain"):
            raise InputError(
                f"{cls.__name__} cannot be fine-tuned to a new domain: that takes a `for_new_domain`, as DACDR has. "
                "Leave `finetune` out."
            )
        return cls.for_new_domain if self.finetune else cls

    def model_arguments(self) -> dict[str, Any]:
        """The model's arguments, checked against its constructor, as are those of its first stage.

        This imports the models.
        """
        first = self.first_stage()
        if first:
            first.model_arguments()
        make, cls = self.constructor(), cards.card(self.model).load()
        parameters = inspect.signature(make).parameters
        allowed = [name for name in parameters if name not in ("schema", "pretrained", "trained", "kwargs")]
        _check_entries(f"The model {self.model!r}", self.arguments, allowed)
        check_arguments(f"the model {self.model!r}", cls, parameters, self.arguments)
        return self.arguments


def _fields(cls: type) -> list[str]:
    return [each.name for each in dataclasses.fields(cls)]


def _check_entries(what: str, given: Any, allowed: Sequence[str]) -> None:
    """`check_known`, with a hint where another part of the configuration knows the entry."""
    for name in given if isinstance(given, Mapping) else ():
        homes = {"training": _fields(Training), "": [n for n in _fields(RunConfig) if n not in PLACES]}
        for home, known in homes.items():
            if name in known and name not in allowed:
                where = f"under `{home}`" if home else "beside `model` and `arguments`"
                raise InputError(
                    f"{what} has no entry {name!r}: it is a setting of the {home or 'run'}. Write it in the run "
                    f"configuration, {where}."
                )
    check_known(what, given, allowed)
