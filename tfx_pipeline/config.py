"""The configuration of a pipeline: a run configuration of cdrzoo with a section `pipeline`. Imports no TensorFlow.

Everything that `cdrzoo train` reads means the same here: schema, data, split, model, arguments, training, first, seed.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdrzoo import metrics
from cdrzoo.documents import load_mapping
from cdrzoo.errors import InputError, check_choice, check_known, shown
from cdrzoo.schema import Label, Schema
from cdrzoo.training.config import RunConfig
from tfx_pipeline.rows import SLICE, USERS, slice_key

WARM_STARTS = ("latest_blessed",)
STRATEGIES = ("one_device", "mirrored", "multi_worker")
METRICS = {"click": ("auc", "gauc", "log_loss", "ece"), "rating": ("mae", "rmse")}
"""What is measured, by task: the exact metrics of `cdrzoo.metrics`."""


@dataclass(frozen=True)
class Tuning:
    """A search before the (last) training.

    Args:
        search: setting to the values it is drawn from, by the plain names that `cdrzoo train --set` takes.
        trials: draws. Default 8.
        epochs: of a trial, at most. Default 3.
    """

    search: dict[str, list[Any]]
    trials: int = 8
    epochs: int = 3


@dataclass(frozen=True)
class PipelineConfig:
    """Everything a pipeline is made from.

    Args:
        run: the run configuration: what is trained, on what, how.
        name: of the pipeline, and of the model's folder in `push`.
        root: folder of the pipeline's own: examples, artifacts, metadata, the state of a training.
        push: folder in which blessed models appear, as `push/name/version`.
        examples: a folder of ready examples, `DOMAIN_PART/*.tfrecord*` (see `tfx_pipeline.rows`), used as they are.
            Default: they are made from `data`.
        statistics: a file with the curated schema of the examples (a text `schema.pbtxt` of TensorFlow Metadata)
            that they are held against. Default: what follows from the schema.
        thresholds: by metric what a model must reach to be pushed, on all test rows: `min` or `max`, and `worse_by`,
            by how much it may be worse than the latest blessed model. Default: an AUC of 0.5, and not worse by 0.01
            (for ratings: an RMSE that is not worse by 0.01).
        slices: features of the target that are ids, or columns of the run's `slices`, by whose values metrics are also
            reported; `row.users` is `cold` or `warm`. Default: the run's `slices`; of `examples` those that are ids.
        strategy: `one_device`, `mirrored` (all GPUs of a machine) or `multi_worker` (`TF_CONFIG` says which).
        beam: flags of Beam. Default: one process, in memory.
        tuner: a search before the training. Default: none.
        infer: splits, such as `films_test`, whose rows the blessed model scores (BulkInferrer). Default: none.
        requests: rows of the target's test part that are sent to the model before it may be pushed.
        warm_start: `latest_blessed`: a run goes on with the model that was blessed last, on the rows that came since,
            and its vocabularies grow; the first run trains from the start. Default: every run does.
    """

    run: RunConfig
    name: str
    root: str = "pipeline"
    push: str = "saved_models"
    examples: str | None = None
    statistics: str | None = None
    thresholds: dict[str, dict[str, float]] | None = None
    slices: tuple[str, ...] = ()
    strategy: str = "one_device"
    beam: tuple[str, ...] = ("--direct_running_mode=in_memory", "--direct_num_workers=1")
    tuner: Tuning | None = None
    infer: tuple[str, ...] = ()
    requests: int = 64
    warm_start: str | None = None

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.replace("_", "").replace("-", "").isalnum():
            raise InputError(
                f"`name` of the pipeline must be of letters, digits, - and _. Received: {shown(self.name)}."
            )
        check_choice("`strategy`", self.strategy, STRATEGIES)
        if isinstance(self.requests, bool) or not isinstance(self.requests, int) or self.requests < 1:
            raise InputError(
                f"`requests` must be a whole number of at least 1. Received: {shown(self.requests)}."
            )
        self._check_run()
        statistics = self.path(self.statistics) if self.statistics else ""
        if statistics and "://" not in statistics and not pathlib.Path(statistics).is_file():
            raise InputError(
                f"`statistics` names no file: {statistics}. A run without it writes one to start from, "
                "ROOT/artifacts/SchemaGen/schema/N/schema.pbtxt."
            )
        target = self.schema.target_domain
        known = {slice_key(self.schema, column) for column in self.run.slices}
        if not self.slices:
            own = list(dict.fromkeys(slice_key(self.schema, c) for c in self.run.slices))
            own = [key for key in own if not (self.examples and key.startswith(SLICE))]
            object.__setattr__(self, "slices", tuple(own))
        for name in ("slices", "beam", "infer"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(each, str) for each in value):
                raise InputError(f"`{name}` must be a list of texts. Received: {shown(value)}.")
            object.__setattr__(self, name, tuple(value))
        keys = [slice_key(self.schema, name) if name in self.run.slices else name for name in self.slices]
        object.__setattr__(self, "slices", tuple(keys))
        for name in self.slices:
            if name != USERS and name not in known and target.feature(name).kind != "id":
                raise InputError(
                    f"A slice is by an id feature of the target, or by a column of the run's `slices`. Received: "
                    f"{shown(name)}. Add it to `slices` beside `model`."
                )
        check_known("`infer`", dict.fromkeys(self.infer), list(self.splits))
        if self.thresholds is None:
            default = {
                "click": {"auc": {"min": 0.5, "worse_by": 0.01}},
                "rating": {"rmse": {"worse_by": 0.01}},
            }
            object.__setattr__(self, "thresholds", default[target.task])
        check_known("`thresholds`", self.thresholds, list(self.metrics))
        for metric, given in self.thresholds.items():
            if not isinstance(given, Mapping) or not given:
                raise InputError(
                    f"The threshold of {metric!r} must be {{min: NUMBER}} or the like. Received: {shown(given)}."
                )
            allowed = ["min" if metrics.better(metric) == "max" else "max", "worse_by"]
            check_known(f"The threshold of {metric!r}", given, allowed)
            for what, value in given.items():
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise InputError(f"`{what}` of {metric!r} must be a number. Received: {shown(value)}.")

    def _check_run(self) -> None:
        """Raises for what `cdrzoo train` can do and a pipeline cannot."""
        if self.run.finetune:
            raise InputError("A pipeline does not fine-tune. Leave `finetune` out; `cdrzoo train` knows it.")
        if self.warm_start is not None:
            check_choice("`warm_start`", self.warm_start, WARM_STARTS)
        if self.warm_start and "://" in self.path(self.root):
            raise InputError(
                "`warm_start` looks for the model before, and counts ids, in a `root` on this machine. Received: "
                f"{self.root}."
            )
        if self.run.drift and "://" in self.path(self.root):
            raise InputError(f"`drift` reads runs in a `root` on this machine. Received: {self.root}.")
        if "age" in self.run.drift and self.examples:
            raise InputError("Examples have no times that `age` of `drift` could be told by. Leave it out.")
        if self.run.forget_after is not None and not self.warm_start:
            raise InputError(
                "`forget_after` is of runs that go on with one another. Set `warm_start: latest_blessed` under "
                "`pipeline`, or leave it out."
            )
        if self.run.training.group:
            raise InputError(
                "Rows of a pipeline are drawn one by one; it knows no `group` of training. Leave it out."
            )

    @property
    def schema(self) -> Schema:
        """The schema of the domains that the model sees."""
        schema = self.run.schema
        return schema.only(schema.target) if self.run.domains == "target" else schema

    @property
    def made_slices(self) -> tuple[str, ...]:
        """The features that raw examples hold for slices alone."""
        return tuple(key for key in self.slices if key.startswith(SLICE))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the examples: the training rows of every domain, the target's validation and test rows."""
        target = self.schema.target
        return (*(f"{d.name}_train" for d in self.schema.domains), f"{target}_valid", f"{target}_test")

    @property
    def train_splits(self) -> list[str]:
        return [split for split in self.splits if split.endswith("_train")]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The exact metrics of the target's labels; those of further ones have the label before them."""
        first, *others = self.schema.target_domain.outputs.values()
        further = [f"{label.name}.{name}" for label in others for name in self.metrics_of(label)]
        return (*self.metrics_of(first), *further)

    def metrics_of(self, label: Label) -> tuple[str, ...]:
        """The exact metrics of a label's task; GAUC where there is a user."""
        found = METRICS[label.task]
        return tuple(name for name in found if name != "gauc" or self.schema.target_domain.user)

    @property
    def stages(self) -> list[RunConfig]:
        """The trainings, in order: of a model of two stages the first one's and its own."""
        first = self.run.first_stage()
        return [*([first] if first else []), self.run]

    def path(self, given: str) -> str:
        """A path of the configuration; one that names a file system, such as `gs://...`, stays as it is."""
        return given if "://" in given else str((pathlib.Path(self.run.folder) / given).resolve())

    @classmethod
    def load(cls, path: str | pathlib.Path) -> PipelineConfig:
        """From a YAML file; relative paths are relative to the file."""
        return cls.from_dict(load_mapping(path), pathlib.Path(path).resolve().parent)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], folder: str | pathlib.Path = ".") -> PipelineConfig:
        """From the mapping of a YAML file; relative paths are relative to `folder`."""
        given = dict(config)
        section = given.pop("pipeline", None)
        if not isinstance(section, Mapping):
            raise InputError(
                "A pipeline's file is a run configuration with a section `pipeline`, for example "
                f"`pipeline: {{name: films}}`. Received: {shown(section)}."
            )
        fields = [f.name for f in dataclasses.fields(cls) if f.name != "run"]
        check_known("`pipeline`", section, fields)
        if "name" not in section:
            raise InputError("`pipeline` lacks `name`, which names the pushed model's folder. Add it.")
        if section.get("examples"):
            if "data" in given:
                raise InputError(
                    "`pipeline.examples` holds the rows already. Leave `data` out, or `examples`."
                )
            schema = given.get("schema")
            if isinstance(schema, str):
                given["schema"] = Schema.load(pathlib.Path(folder) / schema)
            elif isinstance(schema, Mapping):
                given["schema"] = Schema.from_dict(schema)
            else:
                raise InputError("The configuration lacks `schema`. Add it.")
            given["data"] = {d.name: f"{section['examples']}/{d.name}_train" for d in given["schema"].domains}
        section = dict(section)
        if section.get("tuner") is not None:
            tuner = section["tuner"]
            if not isinstance(tuner, Mapping) or not isinstance(tuner.get("search"), Mapping):
                raise InputError(
                    f"`tuner` must be {{search: {{learning_rate: [0.001, 0.003]}}, trials: 8}}. "
                    f"Received: {shown(tuner)}."
                )
            check_known("`tuner`", tuner, [f.name for f in dataclasses.fields(Tuning)])
            section["tuner"] = Tuning(**tuner)
        run = RunConfig.from_dict(given, folder)
        if run.warm_start_from or "since" in run.preparation:
            raise InputError(
                "A pipeline finds out by itself what it goes on with, and since when. Leave `warm_start_from` and "
                "`since` out, and set `warm_start: latest_blessed` under `pipeline`."
            )
        if isinstance(run.data, str):
            raise InputError(
                f"A pipeline encodes its rows itself; `data` is a folder of prepared ones, {run.data}. Give the logs "
                "or `pipeline.examples`."
            )
        return cls(run, **section)
