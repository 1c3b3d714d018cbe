"""Scores for rows, from an exported model alone, loaded here or served; what a trained one scores shares it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from cdrzoo.data import Ragged, readers
from cdrzoo.errors import InputError
from cdrzoo.export import raw_rows
from cdrzoo.export.card import check_files, loading, read_card
from cdrzoo.schema import Domain, Feature, Reading

BATCH_ROWS = 1024


def predict(
    model: str | pathlib.Path,
    rows: pd.DataFrame | str | pathlib.Path,
    separator: str | None = None,
    *,
    delimiter: str | None = None,
    server: str | None = None,
) -> pd.DataFrame:
    """Scores every row of a DataFrame or a file through the SavedModel's `serving_default`.

    Args:
        model: the version folder of an export; with `server` the name of a model.
        rows: a DataFrame or a file with a column for each input of the model, sequences as lists or, in a file,
            joined by `separator`. A server does not know the schema, so its model's columns are called as the features
            are.
        separator: what joins the ids of a sequence in a cell of text. Default: what joined those of the training, as
            the export says; of an export of old `|`.
        delimiter: what stands between the cells of a CSV file. Default: as in the training, or a comma.
        server: where the model is served: `localhost:8500` for gRPC, `http://localhost:8501` for REST. Default: the
            model is loaded here.

    Returns:
        The rows, every column as it stands there, and behind them the scores: `click` or `rating`, and
        `click_score` or `rating_score` where there is a column of that name (the label) already.

    Raises:
        InputError: the rows have both, or something is wrong with a column that the model reads.
    """
    reading = reading_of(model, separator, delimiter, server)
    if server is None:
        return _predict_here(pathlib.Path(model), rows, reading)
    from cdrzoo.serving import Client

    with Client(server, str(model)) as client:
        whole, names = _whole(rows, client.outputs, reading)
        features = client.features()
        absent = [f.name for f in features if f.name not in whole]
        if absent and len(whole.columns) > 1:  # of one column the delimiter is at fault
            raise InputError(
                f"{_called(rows)} lacks the column {absent[0]!r}. A server knows a feature by its name, not by its "
                "column in the logs. Rename the column, or leave `server` out and give the folder of the export."
            )
        frame = _read(rows, features, reading, ids=None)  # a server calls whole numbers ids
        found = client.predict(frame)
        scores = dict(zip(names, [found] if len(names) == 1 else [found[each] for each in client.outputs]))
        return whole.assign(**scores)


def reading_of(
    model: str | pathlib.Path,
    separator: str | None = None,
    delimiter: str | None = None,
    server: str | None = None,
) -> Reading:
    """How `predict` reads the text of its rows: as the training did, but for what is given."""
    if server is None:
        told = Reading.from_dict(read_card(pathlib.Path(model))[0].get("reading"))
    else:
        from cdrzoo.serving import Client

        with Client(server, str(model)) as client:
            told = client.reading()
    return changed(told, separator, delimiter)


def scored(
    rows: pd.DataFrame | str | pathlib.Path,
    features: Sequence[Feature],
    outputs: Sequence[str],
    score: Callable[[pd.DataFrame], Mapping[str, np.ndarray]],
    reading: Reading,
) -> pd.DataFrame:
    """The rows with the scores that `score` gives their raw features, batch by batch, `[n]` by the output's name."""
    frame = _read(rows, features, reading)
    whole, names = _whole(rows, outputs, reading)
    found = [score(frame.iloc[start : start + BATCH_ROWS]) for start in range(0, len(frame), BATCH_ROWS)]
    return whole.assign(
        **{name: np.concatenate([each[of] for each in found]) for name, of in zip(names, outputs)}
    )


def served_names(domain: Domain) -> list[str]:
    """What the scores of a domain's rows are called when served: its task, or its labels."""
    return [label.name for label in domain.outputs.values()]


def changed(reading: Reading, separator: str | None, delimiter: str | None) -> Reading:
    """A reading with what is given in the place of what it says."""
    given: dict[str, Any] = {"separator": separator, "delimiter": delimiter}
    return dataclasses.replace(reading, **{name: value for name, value in given.items() if value is not None})


def _whole(
    rows: pd.DataFrame | str | pathlib.Path, outputs: Sequence[str], reading: Reading
) -> tuple[pd.DataFrame, list[str]]:
    """The rows as they stand there, and what the scores are called beside them."""
    whole = readers.as_written(rows, reading.delimiter)
    names = []
    for output in outputs:
        free = [name for name in (output, f"{output}_score") if name not in whole]
        if not free:
            raise InputError(
                f"{_called(rows)} has the columns {output!r} and '{output}_score', so that no name is left for the "
                "scores. Rename one."
            )
        names.append(free[0])
    return whole, names


def _called(rows: pd.DataFrame | str | pathlib.Path) -> str:
    return "The DataFrame" if isinstance(rows, pd.DataFrame) else str(rows)


def _predict_here(
    path: pathlib.Path, rows: pd.DataFrame | str | pathlib.Path, reading: Reading
) -> pd.DataFrame:
    card, schema, features = read_card(path)
    check_files(path, card)
    domain = schema.target_domain
    with loading(path, card):
        model = tf.saved_model.load(str(path))
        serve = model.signatures["serving_default"]

    def score(frame: pd.DataFrame) -> dict[str, np.ndarray]:
        raw = raw_rows(frame, features)
        found = serve(**{name: tf.constant(values) for name, values in raw.items()})
        return {name: values.numpy() for name, values in found.items()}

    return scored(rows, features, served_names(domain), score, reading)


def _read(
    rows: pd.DataFrame | str | pathlib.Path,
    features: Sequence[Feature],
    reading: Reading,
    ids: bool | None = True,
) -> pd.DataFrame:
    """The features' columns; with `ids=None` what is an id is not known."""
    wanted = {feature.column: readers.Wanted.of(feature, reading) for feature in features}
    if ids is None:
        wanted = {column: dataclasses.replace(want, is_id=None) for column, want in wanted.items()}
    columns = readers.read(rows, wanted, _called(rows), reading.delimiter)
    return pd.DataFrame(
        {
            c: v.to_lists() if isinstance(v, Ragged) else list(v) if v.ndim > 1 else v
            for c, v in columns.items()
        }
    )
