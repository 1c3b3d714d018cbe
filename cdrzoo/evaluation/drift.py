"""Drift: how far newer rows have moved from those that a run was trained on, and whether its model still fits them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cdrzoo import files, metrics
from cdrzoo.data import Encoder, evaluation_batches
from cdrzoo.data.statistics import Counts
from cdrzoo.errors import InputError
from cdrzoo.evaluation.lift import PRIMARY
from cdrzoo.schema import Domain
from cdrzoo.training.config import RunConfig
from cdrzoo.training.profiles import PROFILE, divergence, profile

RESULT = "drift.json"


@dataclasses.dataclass(frozen=True)
class Drift:
    """What `drift` found. `print` it for the words.

    Args:
        result: the `run` and the `thresholds`, `domains` (by domain, `rows`, `label` and by feature what was and is),
            `scores` (of the target, then and now), `age`, and `over`: what lies beyond its threshold.
    """

    result: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether everything lies within its threshold."""
        return not self.result["over"]

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes the result to a folder, for `cdrzoo report`."""
        files.write(pathlib.Path(folder) / RESULT, json.dumps(self.result, indent=2) + "\n")

    def __str__(self) -> str:
        lines = []
        for domain, found in self.result["domains"].items():
            lines.append(
                f"{domain}: {found['rows']:,} new rows; mean label {_text(found['label'][0])} in training, "
                f"{_text(found['label'][1])} now"
            )
            for name, of in found["features"].items():
                unknown = (
                    f"unknown {of['unknown'][0]:.4f} -> {of['unknown'][1]:.4f}  " if "unknown" in of else ""
                )
                new = f"{of['new']:,} new ids  " if of.get("new") else ""
                lines.append(f"  {name:<20} divergence {of['divergence']:.4f}  {unknown}{new}".rstrip())
        lines.append("scores, at the training's test and now:")
        for name, (then, now) in self.result["scores"].items():
            lines.append(f"  {name:<20} {_text(then)} -> {_text(now)}")
        if self.result["age"] is not None:
            lines.append(f"age: {self.result['age']:g}, in the unit of the times")
        lines += [
            f"OVER {each['what']}: {each['value']:.4f} > {each['threshold']:g}"
            for each in self.result["over"]
        ]
        return "\n".join(lines)


def _text(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"


def drift(folder: str | pathlib.Path, config: RunConfig | Mapping[str, Any] | str | pathlib.Path) -> Drift:
    """Holds the rows that came since a run's training against its training rows.

    The rows are those of all parts of the configuration's split that come after the run's last training row; of logs
    without times all of them.

    Args:
        folder: a finished run.
        config: names the newer rows, in the run's schema; its `drift` has the thresholds.

    Raises:
        InputError: the run keeps no profile of its rows, the schema is another one, or there is no newer row.
    """
    from cdrzoo.training import callbacks, descent, measuring, run

    done, config = run.load_run(folder), RunConfig.of(config)
    if isinstance(config.data, str):
        raise InputError(f"`data` is a folder of prepared rows, {config.data}. Give the newer logs.")
    if not (done.folder / PROFILE).exists():
        raise InputError(
            f"{folder} keeps no profile of its training rows: an earlier version made it. Train it anew."
        )
    before = files.read_json(done.folder / PROFILE, "Train the run anew.", ("domains",))["domains"]
    descent.check_schema(done.folder, done.config, config)
    prepared, since = config.prepare(done.encoder), descent.trained_until(done.folder)
    target, domains, ages, newer = prepared.schema.target_domain, {}, [0.0], None
    for domain in prepared.schema.domains:
        rows, logged, times = _newer(prepared, domain.name, since.get(domain.name))
        with files.reading(done.folder / PROFILE, "Train the run anew.", whole=True):
            encoded = prepared.encoded(domain.name, "train", rows)
            now = profile(domain, encoded.blocks(), before[domain.name])
            new = new_ids(done.encoder, domain, done.encoder.statistics(domain.name, logged).counts)
            domains[domain.name] = compared(before[domain.name], now, new)
        ages += [float(times.max()) - since[domain.name]] if times is not None and len(times) else []
        if domain == target:  # scored as it is served
            newer = prepared.encoded(target.name, "test", rows)
    if newer is None or not len(newer):
        raise InputError(f"No row of {target.name!r} comes after the training of {folder}. Give newer ones.")
    batches = evaluation_batches(newer, target.name, measuring.EVALUATION_ROWS)
    labels, scores, weights = callbacks.target_scores(done.model, batches)
    then = {**done.metrics["test"], "calibration": done.metrics.get("calibration")}
    measured: dict[str, Any] = metrics.evaluate(labels, scores, target.task, newer.user, weights=weights)
    measured["calibration"] = measuring.calibration(labels, scores, weights)
    found = {
        "run": str(folder),
        "thresholds": dict(config.drift),
        "age": max(ages) if since else None,
        "domains": domains,
        "scores": {name: [then.get(name), value] for name, value in measured.items()},
    }
    return Drift({**found, "over": list(over(found, config.drift))})


def _newer(prepared: Any, domain: str, since: float | None) -> tuple[np.ndarray, Any, np.ndarray | None]:
    """The rows of a domain, of all parts, that come after a time: their places in the log, raw, and their times."""
    log: Any = prepared.logs[domain]
    parts = prepared.split.parts[domain]
    rows = np.concatenate([parts[name] for name in parts])
    if log.time is not None and since is not None:
        rows = rows[log.time[rows] > since]
    return rows, log.take(rows), None if log.time is None else log.time[rows]


def new_ids(encoder: Encoder, domain: Domain, counts: Mapping[str, Counts]) -> dict[str, int]:
    """How many different ids of each feature have no row, of those that were counted (`Encoder.statistics`)."""
    tables = {f.name: f.table or "" for f in domain.features}
    return {
        name: int((encoder.places(tables[name], encoder.typed(tables[name], of.merged()[0])) < 0).sum())
        for name, of in counts.items()
    }


def compared(then: Mapping[str, Any], now: Mapping[str, Any], new: Mapping[str, int]) -> dict[str, Any]:
    """What was and what is, of a domain: both profiles, and by feature how many ids are new."""
    features = {}
    for name, one in then["features"].items():
        two = now["features"][name]
        pairs = {key: [one[key], two[key]] for key in ("unknown", "missing", "mean") if key in one}
        apart = divergence(one["shares"], two["shares"]) if now["rows"] else 0.0
        features[name] = {"divergence": apart, **pairs, **({"new": new[name]} if name in new else {})}
    return {"rows": now["rows"], "label": [then["label"], now["label"]], "features": features}


def over(found: Mapping[str, Any], thresholds: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """What lies beyond its threshold."""
    values: list[tuple[str, str, float | None]] = [("age", "age", found["age"])]
    for domain, of in found["domains"].items():
        for name, feature in of["features"].items():
            here = f"{domain}.{name}"
            values.append(("divergence", f"divergence of {here}", feature["divergence"]))
            if "unknown" in feature:
                then, now = feature["unknown"]
                values.append(("unknown", f"more unknown ids of {here}", now - then))
    then, now = found["scores"]["calibration"]
    values.append(
        ("calibration", "distance of the calibration from 1", None if now is None else abs(now - 1))
    )
    metric = next(name for name in PRIMARY.values() if name in found["scores"])
    then, now = found["scores"][metric]
    values.append(("worse_by", f"{metric}, worse than at the test", metrics.merit(metric, then - now)))
    for key, what, value in values:
        if key in thresholds and value is not None and not value <= thresholds[key]:
            yield {"what": what, "value": value, "threshold": thresholds[key]}
