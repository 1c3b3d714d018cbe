"""Drift before a push: how far the newest rows have moved from the training rows of a model; `cdrzoo drift` as a node.

No `from __future__ import annotations` here: `@component` reads the annotations themselves.
"""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cdrzoo import files
from cdrzoo.data import Encoder, Part
from cdrzoo.data.statistics import Statistics
from cdrzoo.evaluation import drift
from cdrzoo.schema import Schema
from cdrzoo.training.profiles import PROFILE, profile
from tfx_pipeline import evaluation as evaluator
from tfx_pipeline import rows
from tfx_pipeline._tfx import (
    InputArtifact,
    OutputArtifact,
    Parameter,
    artifact_utils,
    component,
    io_utils,
    standard_artifacts,
)


def measured(
    schema: Schema, examples: str, run: pathlib.Path, scores: Mapping[str, float], age: float | None
) -> dict[str, Any]:
    """What is held against the thresholds: of the target's newest rows the features, and how the model scores them.

    Args:
        schema: the schema.
        examples: the folder of the raw examples of these rows.
        run: what Trainer has kept of the model's run.
        scores: what Evaluator has measured on them; it is held against the validation rows.
        age: from the last training row to the last of these.
    """
    target, encoder, counted = schema.target_domain, Encoder.load(run / "encoder"), Statistics()
    mend = "An earlier version trained it. Train it anew."
    before = files.read_json(run / PROFILE, mend, ("domains",))["domains"][target.name]

    def blocks() -> Iterator[Part]:  # counted on the way, for the rows may be many
        for file in sorted(pathlib.Path(examples).glob("*")):
            for columns in rows.raw(schema, target, str(file)):
                counted.merge(encoder.statistics(target.name, columns))
                weight = np.nan_to_num(columns[rows.WEIGHT], nan=1.0)
                x = encoder.encode(target.name, columns)
                yield Part(x, columns[rows.LABEL].reshape(-1, 1), weight)

    now = profile(target, blocks(), before)
    new = drift.new_ids(encoder, target, counted.counts)
    then = json.loads((run / "metrics.json").read_text())["validation"]
    calibration = scores.get(
        "calibration", scores.get("mean_prediction", 0) / (scores.get("mean_label") or 1)
    )
    return {
        "age": age,
        "domains": {target.name: drift.compared(before, now, new)},
        "scores": {
            **{name: [value, scores[name]] for name, value in then.items() if name in scores},
            "calibration": [None, calibration],
        },
    }


@component
def Drift(
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    schema: Parameter[str],
    settings: Parameter[str],
    code: Parameter[str],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
) -> None:
    """Blesses a model unless the test rows lie beyond a threshold of `drift`; prints what has moved."""
    domains, given = Schema.from_dict(json.loads(schema)), json.loads(settings)
    split = artifact_utils.get_split_uri([examples], f"{domains.target}_test")
    overall = evaluator.report(evaluation.uri)["overall"]
    found = measured(domains, split, pathlib.Path(model_run.uri), overall, given["age"])
    moved = drift.Drift({**found, "over": list(drift.over(found, given["thresholds"]))})
    print(moved, flush=True)
    io_utils.write_string_file(os.path.join(blessing.uri, "drift.json"), json.dumps(moved.result, indent=2))
    blessing.set_int_custom_property("blessed", int(moved.ok))
    blessing.set_int_custom_property("model", model.id)
