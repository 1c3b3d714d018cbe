"""Export: a SavedModel that takes the target's raw features and needs neither cdrzoo nor Keras to run.

    folder/
      3/                                  the version; a server takes the highest number
        saved_model.pb variables/ assets/     four signatures, the target's variables alone, the vocabularies
        assets.extra/
          tf_serving_warmup_requests      TensorFlow Serving runs these before it takes traffic
          replay.jsonl                    recorded raw rows (values, text) and the scores the Keras model gave them
          model_card.json model_card.md

`serving_default` takes one named tensor a feature: ids as they stand in the logs (string or int64, `[batch]`),
sequences `[batch, any length]` (oldest first; missing steps are `""` or -1, wherever they stand), numbers `[batch]`
(missing: NaN; for int64 -1), vectors `[batch, size]` (missing: zeros). `serve_examples` takes serialized
`tf.train.Example`s, `examples: [batch]`; a feature that an example lacks is missing. Both give `{"click": [batch]}` or
`{"rating": [batch]}`, float32; of several labels one output each, by the label's name.

`rank` orders candidates for one user. What the schema says of user, context and history comes once (`[1]`, `[1, any]`),
the features of role item once a candidate (`[n]`, `[n, any]`), and `k`, a scalar int32, says how many are wanted. It
gives, best first, `index` (int32, the place among the candidates), `item` (the candidate's raw id, where the schema has
one) and `click` or `rating`, `[min(k, n)]` each; of several labels the first decides the order. Of equal scores the
earlier candidate comes first. What is the user's alone (lookups, the mean of a history) is computed once. It is
repeated for the candidates where it meets what is theirs, and for a model that cannot have it so, before the model. The
scores are those of `serving_default`. A schema without a feature of role item has nothing to rank, and no such
signature.

`reading` says how text becomes values (see `cdrzoo.schema.Reading`): for each of `examples: [batch]`, whatever it is,
the same JSON text. The model card holds it, too; of a served model a client sees signatures alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cdrzoo.errors import MAX_VERSION, InputError, check_whole
from cdrzoo.export.arguments import check_arguments
from cdrzoo.export.card import digests, facts, markdown, plain
from cdrzoo.export.graph import check_serves_anywhere, inlined, read_variables, repeated, shares_user
from cdrzoo.export.rows import (
    is_missing,
    item_key,
    missing_rows,
    parse_examples,
    rank_signature,
    raw_rows,
    signature,
    stacked,
    text_row,
)
from cdrzoo.export.warm_up import write_warm_up
from cdrzoo.schema import Feature, Reading
from cdrzoo.schema.features import with_weights
from cdrzoo.schema.reading import AS_TEXT

if TYPE_CHECKING:
    import pandas as pd

REPLAY_ROWS = 256
"""At most so many of the examples are recorded with their scores."""


def save(
    model: Any,
    encoder: Any,
    folder: str | pathlib.Path,
    *,
    version: int | None = None,
    examples: pd.DataFrame | None = None,
    card: Mapping[str, Any] | None = None,
    reading: Reading | None = None,
) -> pathlib.Path:
    """Writes the target's part of a model as a SavedModel: `folder/version`.

    Only the variables that scoring a target row reads are inside; no optimizer, no source, no part used in training
    alone. The version appears under its number once it is complete, and an existing one is never touched.

    Args:
        model: a trained `CrossDomainModel`.
        encoder: the encoder whose schema the model was made with.
        folder: the model's folder, which holds one folder a version. It is made if need be.
        version: a whole number of at least 0; default: one above the highest that exists, or 1.
        examples: raw rows of the target (every feature by its column; perhaps `@text COLUMN`, its cells in a file, too)
            for warm-up requests and the recorded replay. Default: warm-up with one missing row, no replay.
        card: what the model card is to say beyond what can be read off the model, for example `data`, `split`,
            `metrics`, `training`, `intended_use`, `limits`. It may also replace what is read off.
        reading: how the text of the training's rows became values, so that rows to score are read alike. Default:
            sequences are joined by `|`.

    Returns:
        The path of the new version.

    Raises:
        InputError: an argument is not what it should be, the version exists, or the folder cannot be written.
    """
    check_arguments(model=model, encoder=encoder, folder=folder, examples=examples)
    folder = pathlib.Path(folder)
    _check(model, encoder, folder, version)
    model.prepare_export()
    features = model.serving_inputs
    reading = reading or Reading()
    lookups, signatures = _signatures(model, encoder, features, reading)
    examples = examples.head(REPLAY_ROWS) if examples is not None and len(examples) else None
    rows = missing_rows(features) if examples is None else raw_rows(examples, features, reading)
    described = facts(model, features, read_variables([signatures["serving_default"]], model))
    described |= {"reading": reading.to_dict(), **plain(card or {})}
    texts = {"model_card.md": markdown(described)}
    if examples is not None:
        texts["replay.jsonl"] = _replay(model, encoder, examples, rows, reading)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _unfinished(folder) as unfinished:
            _write_graph(model, lookups, signatures, unfinished)
            extra = unfinished / "assets.extra"
            texts["model_card.json"] = (
                json.dumps({**described, "files": digests(unfinished)}, indent=2) + "\n"
            )
            _write_texts(extra, texts)
            write_warm_up(extra / "tf_serving_warmup_requests", folder.absolute().name, rows, features)
            return _publish(unfinished, folder, version)
    except (OSError, tf.errors.OpError) as error:
        raise _unwritten(folder, error) from error


def _write_graph(model: Any, lookups: tf.Module, signatures: Mapping[str, Any], folder: pathlib.Path) -> None:
    served = tf.Module()
    served.lookups = lookups  # the tables
    served.read = [variable.value for variable in read_variables(signatures.values(), model)]
    for name, traced in signatures.items():
        setattr(served, name, traced)  # for `keras.layers.TFSMLayer`, and to be called by the name
    tf.saved_model.save(served, str(folder), signatures)
    check_serves_anywhere(folder)


def _unwritten(folder: pathlib.Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return InputError(
        f"The export to {folder} could not be written: {reason}. Nothing was left behind. Free space or choose "
        "another folder, then export again; the model is not harmed."
    )


def _signatures(
    model: Any, encoder: Any, features: Sequence[Feature], reading: Reading
) -> tuple[tf.Module, dict[str, Any]]:
    """The lookups of raw values, and the signatures, traced.

    Saved as they are. `tf.function`s, as `keras.export.ExportArchive` holds, would be traced and kept once more.
    """
    domain = model.schema.target_domain
    candidates = [feature for feature in features if feature.role == "item"]
    lookups = encoder.graph(domain.name, [feature.name for feature in model.serving_features])
    once = {f.name for f in features if f.role != "item"} if candidates and shares_user(model) else set()

    def scores(rows):
        found = model.serve_outputs(rows)
        return {name: tf.reshape(tf.cast(each, tf.float32), [-1]) for name, each in found.items()}

    def score(raw):
        return scores(lookups(raw))

    def score_examples(examples):
        return score(parse_examples(examples, features))

    def rank(raw):
        count = tf.shape(raw[candidates[0].name])[0]
        counts = {f.name: 1 if f.name in once else count for f in with_weights(model.serving_features)}
        found = scores(repeated(lookups(raw), counts))
        first = next(iter(domain.outputs.values())).name  # of several labels the first decides
        best, index = tf.math.top_k(found[first], tf.minimum(raw["k"], count))
        others = {name: tf.gather(each, index) for name, each in found.items() if name != first}
        items = {"item": tf.gather(raw[key.name], index)} if (key := item_key(candidates, domain)) else {}
        return {"index": index, **items, first: best, **others}

    def told(
        examples,
    ):  # of the examples no more than their number: a server that batches wants as many answers
        return {"reading": tf.fill(tf.shape(examples), json.dumps(reading.to_dict()))}

    examples = tf.TensorSpec([None], tf.string, name="examples")
    wanted = {
        "serving_default": (score, signature(features)),
        "serve_examples": (score_examples, examples),
        "reading": (told, examples),
    }
    if candidates:
        wanted["rank"] = (rank, rank_signature(features))
    with inlined(model):
        return lookups, {
            name: tf.function(function, [given], autograph=False).get_concrete_function()
            for name, (function, given) in wanted.items()
        }


def _check(model: Any, encoder: Any, folder: pathlib.Path, version: int | None) -> None:
    if version is not None:
        check_whole("`version`", version, 0, MAX_VERSION)
    if version is not None and (folder / str(version)).exists():
        raise InputError(
            f"Version {version} exists in {folder}, and a version is never overwritten. Leave `version` out for the "
            "next number, or choose another."
        )
    if not model.built:
        raise InputError("The model has no weights yet. Train it, or load weights, before the export.")
    for feature in model.serving_features:
        if feature.table is not None:
            wanted, received = (schema.table(feature.table).rows for schema in (model.schema, encoder.schema))
            if wanted != received:
                raise InputError(
                    f"The encoder is not the model's: table {feature.table!r} has {received} rows in the encoder and "
                    f"{wanted} in the model. Export with the encoder that was saved with the run."
                )


def _write_texts(folder: pathlib.Path, texts: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _unfinished(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder for a version that is being written; it goes on failure, and so do those of processes that died.

    It lies beside the versions, so that the last step is a rename; a server passes by names that are not numbers.
    Whoever writes one holds a lock on it, which goes with the process, however it ends.
    """
    with contextlib.ExitStack() as own:
        with _held(folder, fcntl.LOCK_EX):  # or a folder would go that is made, and not locked yet
            for left in folder.glob(".export-*"):
                with _held(left, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
                    if free:
                        shutil.rmtree(left, ignore_errors=True)
            made = folder / f".export-{uuid.uuid4().hex}"
            made.mkdir()
            own.enter_context(_held(made, fcntl.LOCK_EX))
        try:
            yield made
        except BaseException:  # an interruption too
            shutil.rmtree(made, ignore_errors=True)
            raise


@contextlib.contextmanager
def _held(folder: pathlib.Path, how: int) -> Iterator[bool]:
    """Locks a folder; gives `False` where another process holds it, or the file system knows no locks."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, how)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(opened)


def _publish(unfinished: pathlib.Path, folder: pathlib.Path, version: int | None) -> pathlib.Path:
    while True:
        taken = [int(path.name) for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()]
        latest = max((number for number in taken if number < MAX_VERSION), default=0)
        path = folder / str(latest + 1 if version is None else version)
        try:
            return unfinished.rename(path)
        except OSError:
            if not path.exists():
                raise
            if version is not None:  # someone else was quicker
                raise InputError(f"Version {version} exists in {folder} now. Choose another.") from None


def _replay(
    model: Any, encoder: Any, examples: pd.DataFrame, rows: Mapping[str, np.ndarray], reading: Reading
) -> str:
    """Raw rows, as values and as text, and the scores that the Keras model gives them, a JSON object a line."""
    target = model.schema.target
    names = [feature.name for feature in model.serving_features]
    scores = stacked(model.score_rows(encoder.encode(target, examples, names, serving=True)).values())
    lines = []
    for i, score in enumerate(scores):
        raw = {f.name: _json_value(rows[f.name][i], f) for f in model.serving_inputs}
        text = _text(
            examples.iloc[i],
            {name: values[i] for name, values in rows.items()},
            model.serving_inputs,
            reading,
        )
        line = {"features": raw, "text": text, "score": score.tolist()}
        lines.append(json.dumps(line, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _text(
    example: pd.Series, row: Mapping[str, Any], features: Sequence[Feature], reading: Reading
) -> dict[str, str] | None:
    """A row as text: its cells as they stood in a file, and as `text_row` writes it what stood in none."""
    kept = {f.name: example.get(AS_TEXT + f.column) for f in features}
    written = {name: cell for name, cell in kept.items() if isinstance(cell, str)}
    others = text_row(row, [f for f in features if f.name not in written], reading)
    return None if others is None else {**others, **written}


def _json_value(value: Any, feature: Feature) -> Any:
    if feature.kind == "vector":
        return value.tolist()
    if feature.ragged:
        steps = value.tolist()
        while steps and is_missing(steps[-1], feature.dtype):
            steps.pop()
        return [None if step != step else step for step in steps]  # JSON has no NaN
    value = value.item() if isinstance(value, np.generic) else value
    return None if is_missing(value, feature.dtype) else value
