"""Scores for the rows of a file, from an exported model alone."""

from __future__ import annotations

import json
import pathlib

import pandas as pd
import tensorflow as tf

from cdrzoo.data import Ragged, readers
from cdrzoo.errors import InputError
from cdrzoo.export import raw_rows
from cdrzoo.schema import Schema

BATCH_ROWS = 1024


def predict(path: str | pathlib.Path, rows: str | pathlib.Path, separator: str = "|") -> pd.DataFrame:
    """Scores every row of a file through the SavedModel's `serving_default`.

    Args:
        path: the version folder of an export.
        rows: a file with a column for each input of the model, sequences as lists or joined by `separator`.
        separator: what joins the ids of a sequence in a CSV cell.

    Returns:
        The rows with one more column, `click` or `rating`.
    """
    path = pathlib.Path(path)
    card = path / "assets.extra" / "model_card.json"
    if not card.exists():
        raise InputError(
            f"{path} is no export of cdrzoo. Give a version folder, for example saved_models/films/1."
        )
    facts = json.loads(card.read_text(encoding="utf-8"))
    domain = Schema.from_dict(facts["schema"]).target_domain
    features = [domain.feature(name) for name in facts["inputs"]]
    wanted = {feature.column: readers.Wanted.of(feature, separator) for feature in features}
    columns = readers.read(rows, wanted, str(rows))
    frame = pd.DataFrame({c: v.to_lists() if isinstance(v, Ragged) else v for c, v in columns.items()})
    model = tf.saved_model.load(str(path))
    serve = model.signatures["serving_default"]
    scores = []
    for start in range(0, len(frame), BATCH_ROWS):
        raw = raw_rows(frame.iloc[start : start + BATCH_ROWS], features)
        scores.append(
            serve(**{name: tf.constant(values) for name, values in raw.items()})[domain.task].numpy()
        )
    return frame.assign(**{domain.task: [score for part in scores for score in part]})
