"""Where the time of a training step goes, by kind of operation, as TensorFlow's profiler sees it.

    python -m benchmarks.operations din cctl                     # the small schema of `benchmarks.costs`
    python -m benchmarks.operations afm fibinet --shape fields   # rows of `python -m benchmarks`

The times of operations that run at the same time add up, and what the machine does besides is in them: read the shares.
What XLA compiles is one operation.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import tempfile
import time
from typing import Any

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks import costs, workload
from benchmarks.runs import cdrzoo_run
from cdrzoo import models, optimizers

COMPILED = "CpuExecutable::ExecuteAsyncOnStream"
"""What the profiler calls a run of what XLA has compiled."""


def made(name: str, shape: str | None, rows: int) -> tuple[Any, tf.data.Dataset]:
    """A compiled model and its batches."""
    if shape:
        seen = cdrzoo_run.schema(shape, rows)
        model = models.card(name).load()(seen, **cdrzoo_run.SIZES[name])
        data = cdrzoo_run.dataset(seen, shape, rows)
    else:
        model = costs.make(name)
        data = costs.batches(model)
    model.compile(optimizers.Adam())
    return model, data


def operations(model: Any, data: tf.data.Dataset, steps: int) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of a step, `{kind of operation: sum}`; and `{"clock", "processor"}` of the step."""
    model.fit(data, steps_per_epoch=3, verbose=0, shuffle=False)  # traces and compiles
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        clock, processor = time.perf_counter(), time.process_time()
        model.fit(data, steps_per_epoch=steps, verbose=0, shuffle=False)
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        tf.profiler.experimental.stop()
        (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    found: collections.Counter = collections.Counter()
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            name, _, kind = names[event.metadata_id].rpartition(":")
            if names[event.metadata_id] == COMPILED:
                found["compiled by XLA"] += event.duration_ps / 1e9 / steps
            elif name and plane.name == "/host:CPU" and not name.endswith(":") and kind.isidentifier():
                found[kind] += event.duration_ps / 1e9 / steps
    return found, {"clock": 1e3 * clock / steps, "processor": 1e3 * processor / steps}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="MODEL")
    parser.add_argument("--shape", choices=["fields", "histories"], help="default: the schema of the costs")
    parser.add_argument("--rows", type=int, default=1_000, help="rows of the tables of a shape")
    parser.add_argument("--steps", type=int, default=workload.STEPS)
    parser.add_argument("--top", type=int, default=12)
    args = parser.parse_args()
    for name in args.names:
        found, step = operations(*made(name, args.shape, args.rows), args.steps)
        total = sum(found.values())
        print(
            f"\n{name}: {step['clock']:.1f} ms on the clock, {step['processor']:.1f} of processor time a step"
        )
        for kind, ms in found.most_common(args.top):
            print(f"  {ms / total:6.1%}  {kind}")


if __name__ == "__main__":
    main()
