"""Scores for the rows of a file, from an exported model alone, loaded here or served."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import tensorflow as tf

from cdrzoo.data import Ragged, readers
from cdrzoo.errors import InputError
from cdrzoo.export import raw_rows
from cdrzoo.schema import Feature, Schema

BATCH_ROWS = 1024


def predict(
    model: str | pathlib.Path,
    rows: str | pathlib.Path,
    separator: str = "|",
    *,
    server: str | None = None,
) -> pd.DataFrame:
    """Scores every row of a file through the SavedModel's `serving_default`.

    Args:
        model: the version folder of an export; with `server` the name of a model.
        rows: a file with a column for each input of the model, sequences as lists or joined by `separator`. A server
            does not know the schema, so its model's columns are called as the features are.
        separator: what joins the ids of a sequence in a CSV cell.
        server: where the model is served: `localhost:8500` for gRPC, `http://localhost:8501` for REST. Default: the
            model is loaded here.

    Returns:
        The rows, every column as it stands in the file, and behind them the scores: `click` or `rating`, and
        `click_score` or `rating_score` where the file has a column of that name (the label) already.

    Raises:
        InputError: the file has both, or something is wrong with a column that the model reads.
    """
    if server is None:
        return _predict_here(pathlib.Path(model), rows, separator)
    from cdrzoo.serving import Client

    with Client(server, str(model)) as client:
        whole, name = _whole(rows, client.task)
        frame = _read(rows, client.features(), separator, ids=False)  # a server calls whole numbers ids
        return whole.assign(**{name: client.predict(frame)})


def _whole(rows: str | pathlib.Path, task: str) -> tuple[pd.DataFrame, str]:
    """The rows as they stand in the file, and what the scores are called beside them."""
    whole = readers.as_written(rows)
    for name in (task, f"{task}_score"):
        if name not in whole:
            return whole, name
    raise InputError(
        f"{rows} has the columns {task!r} and '{task}_score', so that no name is left for the scores. Rename one."
    )


def _predict_here(path: pathlib.Path, rows: str | pathlib.Path, separator: str) -> pd.DataFrame:
    card = path / "assets.extra" / "model_card.json"
    if not card.exists():
        raise InputError(
            f"{path} is no export of cdrzoo. Give a version folder, for example saved_models/films/1."
        )
    facts = json.loads(card.read_text(encoding="utf-8"))
    domain = Schema.from_dict(facts["schema"]).target_domain
    features = [domain.feature(name) for name in facts["inputs"]]
    frame = _read(rows, features, separator)
    whole, name = _whole(rows, domain.task)
    model = tf.saved_model.load(str(path))
    serve = model.signatures["serving_default"]
    scores = []
    for start in range(0, len(frame), BATCH_ROWS):
        raw = raw_rows(frame.iloc[start : start + BATCH_ROWS], features)
        scores.append(
            serve(**{name: tf.constant(values) for name, values in raw.items()})[domain.task].numpy()
        )
    return whole.assign(**{name: np.concatenate(scores)})


def _read(
    rows: str | pathlib.Path, features: Sequence[Feature], separator: str, ids: bool = True
) -> pd.DataFrame:
    """The features' columns; with `ids` a negative id is an error."""
    wanted = {feature.column: readers.Wanted.of(feature, separator) for feature in features}
    if not ids:
        wanted = {column: dataclasses.replace(want, is_id=False) for column, want in wanted.items()}
    columns = readers.read(rows, wanted, str(rows))
    return pd.DataFrame({c: v.to_lists() if isinstance(v, Ragged) else v for c, v in columns.items()})
