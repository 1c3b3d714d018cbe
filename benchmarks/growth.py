"""What it costs to let a table grow: a vocabulary, its rows and the moments of Adam.

    python -m benchmarks.growth                    # 10 million ids, and 100 thousand new ones
    python -m benchmarks.growth --rows 1000000

It prints the seconds of each step of a warm start and the largest memory of the process so far. The day has one event
of each new id, and as many of known ones.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile

import numpy as np

from benchmarks.steps import steps
from cdrzoo import models, optimizers
from cdrzoo.data import Encoder
from cdrzoo.data.growth import fresh_rows, grown
from cdrzoo.schema import Domain, Feature, Schema, Table
from cdrzoo.training.folders import read_model
from cdrzoo.training.warm import carry

SCHEMA = Schema(
    (Domain("films", (Feature("user", "id", "user", "int64", "user"), Feature("age", "number", "user"))),),
    "films",
    (Table("user"),),
)


def make(schema: Schema) -> models.DNN:
    """A small network on the table."""
    model = models.DNN(schema, units=(32,))
    model.compile(optimizer=optimizers.Adam())
    return model


def measure(rows: int, new: int) -> None:
    """Prints a line a step."""
    done = steps()
    known = np.arange(rows, dtype=np.int64)
    encoder = Encoder(SCHEMA).adapt({"films": {"user": known, "age": np.ones(rows)}})
    done("day 1: vocabulary")
    with tempfile.TemporaryDirectory(prefix="cdrzoo_") as folder:
        make(encoder.schema).save(pathlib.Path(folder, "model.keras"))
        encoder.save(folder)
        done("day 1: model, saved")
        before = Encoder.load(folder)
        done("vocabulary read")
        users = np.concatenate([np.arange(rows, rows + new), known[:: rows // new]])
        after = grown(before, {"films": {"user": users, "age": np.ones(len(users))}}, 30)
        done("vocabulary grown")
        former = read_model(pathlib.Path(folder, "model.keras"))
        done("model read")
        model = make(after.schema)
        done("larger model made")
        carry(former, model, fresh_rows(before, after), make)
        done("weights and moments carried over")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="ids that are known")
    parser.add_argument("--new", type=int, default=100_000, help="ids that are new")
    given = parser.parse_args()
    measure(given.rows, given.new)


if __name__ == "__main__":
    main()
