"""A run: a configuration in, a folder with a trained model and everything that is needed to trust it out."""

from __future__ import annotations

import functools
import html
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from cdrzoo import data, export, files, models
from cdrzoo.data import growth, quality
from cdrzoo.documents import dump_yaml
from cdrzoo.errors import InputError, shown
from cdrzoo.export.verification import check_descent
from cdrzoo.schema import Reading, Schema
from cdrzoo.training import descent, measuring, profiles
from cdrzoo.training.config import RunConfig
from cdrzoo.training.finished import check_finished
from cdrzoo.training.fitting import check_build, check_model, check_rows, fit, prepare, seen
from cdrzoo.training.folders import (
    MEND,
    begin,
    check_begun,
    check_data,
    claim,
    discard,
    keep,
    read_config,
    read_encoder,
    read_history,
    read_json,
    read_model,
)
from cdrzoo.training.predict import changed, scored, served_names
from cdrzoo.training.requests import build_requests

if TYPE_CHECKING:
    from cdrzoo.export.verification import Report
    from cdrzoo.models.base import CrossDomainModel

EXAMPLE_ROWS = 64
"""Raw test rows that a run keeps for its exports: to warm them up, and to prove them without the data."""


class Run:
    """A finished run, as `train` leaves it in a folder. What is large is read when it is first asked for.

    ```python
    run = cdrzoo.load_run("runs/cctl")
    run.metrics["test"]["auc"], run.history
    run.predict("requests.csv")
    run.verify(run.export("saved_models/films"))
    ```

    Args:
        folder: the run's folder.
        slices: columns of the target to group by when it is evaluated, besides those of its configuration.

    Attributes:
        folder: the same.
        config: the `RunConfig` that it was made from.
        metrics: what `metrics.json` holds: `test` and `validation` metrics, `epochs`, `seconds`, `parameters`, ...

    Raises:
        InputError: the folder holds no finished run.
    """

    def __init__(self, folder: str | pathlib.Path, slices: Sequence[str] = ()):
        self.folder = pathlib.Path(folder)
        check_finished(self.folder)
        self.config = read_config(self.folder)
        if slices:
            self.config = self.config.with_changes({"slices": [*self.config.slices, *slices]})
        self.metrics: dict[str, Any] = read_json(self.folder, "metrics.json")

    @functools.cached_property
    def schema(self) -> Schema:
        """The schema of the domains that the model saw, with the rows of the tables filled in."""
        with files.reading(self.folder / "schema.yaml", MEND, whole=True):
            return Schema.load(self.folder / "schema.yaml")

    @functools.cached_property
    def encoder(self) -> data.Encoder:
        """What turns raw ids and numbers into those that the model takes."""
        return read_encoder(self.folder)

    @functools.cached_property
    def model(self) -> CrossDomainModel:
        """The Keras model with the weights of its best epoch."""
        return read_model(self.folder / "model.keras")

    @functools.cached_property
    def rows(self) -> data.Prepared:
        """The rows that it was trained and measured on.

        Raises:
            InputError: the data has changed since.
        """
        prepared = prepare(self.config, self.encoder)
        check_data(self.config, prepared, self.folder)
        return prepared

    @property
    def history(self) -> pd.DataFrame:
        """A line an epoch: losses of training, and metrics of the validation rows (`val_...`)."""
        return read_history(self.folder)

    def evaluate(self, part: str = "test") -> dict[str, float]:
        """Exact metrics of the target's rows of a part, `test` or `valid`, in total and by group.

        Raises:
            InputError: the data has changed since the training.
        """
        return measuring.evaluate(self.model, self.rows, part)

    def measured(self, part: str = "test") -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """What `evaluate` gives, and of each metric its standard error and 95 % interval (see `cdrzoo.intervals`)."""
        return measuring.measured(self.model, self.rows, part)

    @property
    def reading(self) -> Reading:
        """How the text of the target's rows became values."""
        return self.config.reading

    def predict(
        self,
        rows: pd.DataFrame | str | pathlib.Path,
        separator: str | None = None,
        *,
        delimiter: str | None = None,
    ) -> pd.DataFrame:
        """Scores raw rows of the target, as an export of the run scores them.

        Args:
            rows: a DataFrame or a file with a column for each feature that the model reads, sequences as lists or, in
                a file, joined by `separator`.
            separator: what joins the ids of a sequence in a cell of text. Default: as in the training.
            delimiter: what stands between the cells of a CSV file. Default: as in the training.

        Returns:
            The rows, every column as it stands there, and behind them the scores: `click` or `rating`, and
            `click_score` or `rating_score` where there is a column of that name already.

        Raises:
            InputError: a column is missing, or something is wrong with one.
        """
        model, target = self.model, self.schema.target_domain
        names = [feature.name for feature in model.serving_features]

        def score(frame: pd.DataFrame) -> dict[str, np.ndarray]:
            return model.score_rows(self.encoder.encode(target.name, frame, names, serving=True))

        return scored(
            rows,
            model.serving_inputs,
            served_names(target),
            score,
            changed(self.reading, separator, delimiter),
        )

    def export(self, to: str | pathlib.Path, version: int | None = None) -> pathlib.Path:
        """Exports the model, with its model card, as a version in the folder `to`; see `cdrzoo.export.save`.

        Returns:
            The path of the new version.
        """
        card = {
            "model": models.card(self.config.model).title,
            "paper": models.card(self.config.model).paper,
            "data": self.config.to_dict()["data"],
            "split": read_json(self.folder, "split.json"),
            "metrics": {part: self.metrics[part] for part in ("validation", "test")},
            "training": {
                name: self.metrics[name]
                for name in ("arguments", "width", "training", "first", "seed", "best_epoch", "selection")
                if name in self.metrics
            },
            "trained_with": self.metrics["versions"],
        }
        file, columns = self.folder / "examples.parquet", [f.column for f in self.model.serving_inputs]
        with files.reading(file, MEND):
            examples = pd.read_parquet(file)
            if absent := [column for column in columns if column not in examples]:
                raise ValueError(f"it lacks the column {absent[0]!r}")
        return export.save(
            self.model, self.encoder, to, version=version, examples=examples, card=card, reading=self.reading
        )

    def verify(self, path: str | pathlib.Path) -> Report:
        """Proves that an export scores as this run's model does; see `cdrzoo.export.verify`.

        Rows that `requests` builds from the run's logs get the scores of the test rows.
        """
        descent = read_json(self.folder, "split.json").get("descent", [])
        how: dict[str, Any] = {"model": self.model, "encoder": self.encoder, "rebuilt": self._rebuilt()}
        return check_descent(export.verify(path, **how), descent)

    def _rebuilt(self) -> tuple[pd.DataFrame, pd.DataFrame] | str:
        """The run's examples, and the same with histories built anew from its logs; or why that cannot be."""
        target, config = self.schema.target_domain, self.config
        built = [f.column for f in target.features if f.built]
        if not built:
            return "the target lists no history"
        if isinstance(config.data, str):
            return "prepared rows do not keep the logs"
        if self._kind(config.data[target.name]) == "examples":
            return "the rows hold their histories"
        if config.preparation.get("include_ties"):
            return "histories list what happened at the row's own time"
        alone = "with this split histories list training events alone"
        if config.preparation.get("history", "before") != "before":
            return alone
        try:
            prepared = self.rows
        except InputError as error:  # the rest of the proof does not hang on the logs
            return f"the run's rows are not as they were: {error}"
        if prepared.only_training:
            return alone
        if any(log.source.negatives for log in prepared.logs.values()):
            return "test rows were drawn, and stand in no log"
        examples = prepared.examples(EXAMPLE_ROWS)
        return examples, self.requests(examples.drop(columns=built))

    @staticmethod
    def _kind(source: Any) -> str:
        return source.get("kind", "interactions") if isinstance(source, Mapping) else "interactions"

    def requests(
        self,
        requests: pd.DataFrame | str | pathlib.Path | None = None,
        *,
        users: Any = None,
        candidates: pd.DataFrame | str | pathlib.Path | None = None,
        logs: Mapping[str, Any] | None = None,
        time: float | str | None = None,
    ) -> pd.DataFrame:
        """Rows to score, built from logs as the run's training rows were; see `cdrzoo.data.request_rows`.

        ```python
        rows = run.requests(users=["u17", "u18"], candidates="items.csv", logs={"films": "new.parquet"})
        run.predict(rows)
        ```

        Args:
            requests: a row each that is to be scored; or, in its place, `users` and `candidates`.
            users: a DataFrame or a file with the columns of users and context, or the users' keys.
            candidates: a DataFrame or a file with the columns of items; every user gets every candidate.
            logs: by domain files or DataFrames in the place of the run's own logs.
            time: of all rows; default: their column of the target's time, else the end of the logs.
        """
        return build_requests(self.config, requests, users=users, candidates=candidates, logs=logs, time=time)

    def __repr__(self) -> str:
        measured = ", ".join(
            f"{name} {value:.4f}" for name, value in self.metrics["test"].items() if "@" not in name
        )
        model = models.card(self.config.model).called(self.config.domains)
        return f"Run({str(self.folder)!r}): {model} on {self.config.schema.target}; test rows: {measured}"

    def _repr_html_(self) -> str:
        table = pd.DataFrame({part: self.metrics[part] for part in ("validation", "test")})
        return (
            f"<p>{html.escape(repr(self).partition(';')[0])}</p>{table.to_html(float_format='{:.4f}'.format)}"
        )


def load_run(folder: str | pathlib.Path, slices: Sequence[str] = ()) -> Run:
    """The finished run in a folder; see `Run`.

    Raises:
        InputError: it holds none.
    """
    return Run(folder, slices)


def train(
    config: RunConfig | Mapping[str, Any] | str | pathlib.Path | None,
    folder: str | pathlib.Path,
    *,
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] = (),
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    verbose: int | str = 0,
) -> Run:
    """Trains and evaluates a model; everything about it goes to a folder.

    ```python
    run = cdrzoo.train("demo/run.yaml", "runs/cctl", settings={"model": "cctl", "learning_rate": 0.003})
    ```

    The folder holds `config.yaml`, `schema.yaml`, `encoder/` (the vocabularies as text), `split.json`, `model.keras`,
    `metrics.json`, `history.csv` and `logs/` (TensorBoard). The first stage of a model of two has the last four in
    `first/`, and is not trained again once it is done.

    Args:
        config: the configuration: a `RunConfig`, the path of its YAML file, or what such a file holds, as a mapping.
        folder: the run's folder; new or empty.
        settings: what is to be otherwise, by plain names (see `RunConfig.with_changes`); not of a resumed run.
        callbacks: Keras callbacks besides those of the configuration, for a first stage, too: made already, or as
            `Training.callbacks` names them. A resumed run wants the same ones.
        resume: continue the stopped run in the folder, with the configuration that stands there (`config` is then
            `None`, or that one); it ends as if it had not been stopped.
        overwrite: discard the run in the folder.
        strict: whether a warning about the rows is an error (see `cdrzoo.data.quality.warnings_of`).
        verbose: as of Keras's `fit`, or `lines`: a line per epoch.

    Raises:
        InputError: before any long work, when the input is at fault or the folder is taken.
    """
    folder = pathlib.Path(folder)
    made, named = _apart(callbacks)
    config = _configuration(config, folder, resume, settings).with_callbacks(named)
    config = descent.settled(config)
    check_model(config)
    described = dump_yaml(config.to_dict())
    claim(folder, config, resume, overwrite)
    prepared = _rows(config, folder, resume)
    _look(config, prepared, strict, verbose)
    if resume:
        check_data(config, prepared, folder, ", or start anew with `--overwrite`")
    else:
        check_build(config, prepared)  # what does not fit fails before anything is written or discarded
    with files.lock(folder), files.writing(_room(folder)):
        if overwrite:
            discard(folder)
        if not resume:
            begin(folder, config, described, prepared, descent.line(config))
        prepared.examples(EXAMPLE_ROWS).to_parquet(folder / "examples.parquet")
        if not (folder / profiles.PROFILE).exists():  # rows that are not held are read for it
            profiles.write(prepared, folder)
        fitted = fit(config, prepared, folder, verbose, own=made)
        keep(fitted, measuring.summary(config, prepared, fitted), folder)
    return _read(folder, prepared)


def _read(folder: pathlib.Path, prepared: data.Prepared) -> Run:
    """A run just finished, with its rows: else they would be read again."""
    run = Run(folder)
    run.rows = prepared
    return run


def _apart(callbacks: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Callbacks that are made already, and those that are named."""
    made = [each for each in callbacks if isinstance(each, keras.callbacks.Callback)]
    return made, [each for each in callbacks if not isinstance(each, keras.callbacks.Callback)]


def _rows(config: RunConfig, folder: pathlib.Path, resume: bool) -> data.Prepared:
    """The rows as the model sees them; a stopped run that goes on with another one has its own encoder."""
    if not (config.warm_start_from and resume):
        return seen(config, prepare(config))
    descent.check_line(config, folder)
    return prepare(config, read_encoder(folder))


def _look(config: RunConfig, prepared: data.Prepared, strict: bool, verbose: int | str) -> None:
    """Says what the rows are and what is doubtful about them; an `InputError` if they cannot be trained on."""
    if verbose:
        print(quality.parts(prepared))
        if prepared.encoder.growth:
            print(growth.describe(prepared.encoder.growth))
    quality.heed(prepared, strict)
    check_rows(config, prepared)


def _configuration(
    config: RunConfig | Mapping[str, Any] | str | pathlib.Path | None,
    folder: pathlib.Path,
    resume: bool,
    settings: Mapping[str, Any] | None,
) -> RunConfig:
    if resume and settings:
        raise InputError(
            f"A resumed run keeps its configuration: leave `settings` out. Received: {shown(settings)}."
        )
    if config is not None:
        return RunConfig.of(config).with_changes(settings or {})
    if not resume:
        raise InputError("Give the configuration of the run, for example the path of its YAML file.")
    check_begun(folder)
    return read_config(folder)


def _room(folder: pathlib.Path) -> str:
    return f"Free space; then `cdrzoo train --out {folder} --resume` goes on where it stopped."


def fit_once(
    config: RunConfig,
    prepared: data.Prepared,
    first_folder: pathlib.Path | None = None,
    own: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains and evaluates; what a comparison does many times. Nothing stays but a first stage in `first_folder`."""
    with tempfile.TemporaryDirectory(prefix="cdrzoo_") as folder:
        prepared = seen(config, prepared)
        how: dict[str, Any] = {"first_folder": first_folder, "histograms": False, "own": own}
        fitted = fit(config, prepared, pathlib.Path(folder), **how)
        result = measuring.summary(config, prepared, fitted)
    keras.backend.clear_session(free_memory=True)
    return result
