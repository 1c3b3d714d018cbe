"""What every task knows: the plan, and what the stages before it have found. It lies in the folder of the work."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
import pickle
import platform
from typing import Any

import numpy as np
import pandas as pd

from cdrzoo.data.encoder import Encoder
from cdrzoo.data.preparation.assignment import Facts
from cdrzoo.data.preparation.joins import Joined, Side
from cdrzoo.data.preparation.logs import Log
from cdrzoo.data.preparation.negatives import Catalogue
from cdrzoo.data.preparation.sources import place
from cdrzoo.data.preparation.splits import settle
from cdrzoo.data.rows import spill
from cdrzoo.data.rows.plan import Work
from cdrzoo.errors import DataError
from cdrzoo.files import whole

WORK = "work"
"""The folder, in that of the rows, that is there while they are prepared."""
BEGUN = "begun.json"
"""The file in it that says what is prepared, and by which code."""
KNOWN = "known.pkl"
"""The file in it that every stage begins with."""


@dataclasses.dataclass
class Chunk:
    """A file of rows, those of a slot together.

    Args:
        path: the file, in the folder of the work.
        rows: int64 [slots], rows of each.
        before: the number, in the log, of the first row of the file that they were read from.
    """

    path: str
    rows: np.ndarray
    before: int


@dataclasses.dataclass
class Known:
    """What the stages have found so far.

    Args:
        sizes: rows of each domain's log.
        chunks: the rows of each domain.
        joins: what was found by each join, by domain.
        fractions: whether the times of a domain are float64, by domain.
        partitions: the slots of each.
        facts: what the assignment of each partition's rows must know.
        only_training: whether histories list training events alone.
        catalogues: what negatives are drawn from, by domain.
        of_item: further columns of the target that are the same in all rows of an item.
        events: training events of each item of the target.
        bounds: by domain and part the keys at which a shard ends.
        examples: by domain and part the number of the last row that is kept raw.
        encoder: the folder of the encoder.
    """

    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    chunks: dict[str, list[Chunk]] = dataclasses.field(default_factory=dict)
    joins: dict[str, tuple[Joined, ...]] = dataclasses.field(default_factory=dict)
    fractions: dict[str, bool] = dataclasses.field(default_factory=dict)
    partitions: list[range] = dataclasses.field(default_factory=list)
    facts: list[Facts] = dataclasses.field(default_factory=list)
    only_training: bool = False
    catalogues: dict[str, list[Catalogue]] = dataclasses.field(default_factory=dict)
    of_item: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    events: pd.Series | None = None
    bounds: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    examples: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    encoder: str = ""


def save(path: pathlib.Path, value: Any) -> None:
    """Writes a value of this package, whole or not at all."""
    with whole(path) as part, open(part, "wb") as file:
        pickle.dump(value, file)


def load(path: pathlib.Path) -> Any:
    """Reads what `save` wrote."""
    with open(path, "rb") as file:
        return pickle.load(file)


@functools.cache
def code() -> str:
    """A hash of the code that prepares rows: what one version has begun no other goes on with."""
    digest = hashlib.sha256()
    for package in ("data", "schema"):
        for file in sorted(pathlib.Path(__file__).parents[2].joinpath(package).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class State:
    """What a task works with.

    Args:
        folder: of the work.

    Raises:
        DataError: another version of cdrzoo has begun it.
    """

    def __init__(self, folder: pathlib.Path):
        if json.loads((folder / BEGUN).read_text(encoding="utf-8"))["code"] != code():
            raise DataError(
                f"{folder} was begun by another version of cdrzoo than that of {platform.node()}. Install the same "
                "one on every machine."
            )
        self.folder = folder
        self.work: Work = load(folder / "plan.pkl")
        self.known: Known = load(folder / KNOWN) if (folder / KNOWN).exists() else Known()
        self.schema = self.work.settings.schema
        self.by, self.arguments = settle(self.work.settings.split, self.work.settings.seed)

    def result(self, stage: str, number: int) -> Any:
        """What a task gave."""
        return load(self.place(stage, number) / "result.pkl")

    def place(self, stage: str, number: int) -> pathlib.Path:
        """The folder of a task that is done."""
        return self.folder / stage / f"{number:05d}"

    @functools.cache  # noqa: B019
    def sides(self, domain: str) -> list[Side]:
        """The files that are joined to a domain's rows."""
        return [Side.read(join) for join in self.work.plans[domain].joins]

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The encoder, once it is known."""
        return Encoder.load(self.known.encoder)

    def logs(self, partition: int, keys: bool = False) -> dict[str, Log]:
        """The events of a partition of users; with `keys` their users, times and given parts alone."""
        return self.slots(self.known.partitions[partition], keys)

    def slots(self, slots: range, keys: bool = False) -> dict[str, Log]:
        """The same of some slots."""
        found = {}
        for name, plan in self.work.plans.items():
            columns = spill.names(plan) if keys else None
            tables = [
                (spill.read(self.folder / chunk.path, chunk.rows, slots, columns), chunk.before)
                for chunk in self.known.chunks[name]
            ]
            where = place(plan.domain, plan.source)
            found[name] = spill.log_of(
                plan, tables, where, self.known.sizes[name], self.known.fractions[name]
            )
        return found
