"""The front door: a schema and where each domain's rows lie, in; encoded parts and batches, out."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cdrzoo.schema import Schema

if TYPE_CHECKING:
    import pandas as pd
    import tensorflow as tf

    from cdrzoo.data.batches import Part
    from cdrzoo.data.encoder import Encoder
    from cdrzoo.data.splits import Split


def prepare(
    schema: Schema,
    sources: Mapping[str, Any],
    *,
    split: str | Mapping[str, Any] = "time",
    include_ties: bool = False,
    history: str = "before",
    seed: int = 0,
    folder: str | pathlib.Path = ".",
) -> Prepared:
    """Reads every domain's rows, labels and splits them, builds histories and encodes them.

    Args:
        schema: the schema.
        sources: for every domain where its rows are: a path, a DataFrame, or a mapping (it may stand in YAML) with

            - `path`: a file, a list of files, or `data`: a DataFrame. `.csv`, `.parquet`, `.jsonl`, `.tfrecord`
              (all but Parquet also `.gz`).
            - `kind`: `interactions` (default; histories are built from the logs) or `examples` (rows hold them).
            - `join`: list of `{path: items.csv, on: item}`: files whose columns are added to the rows by key.
            - `negatives`: `{per_positive: 4, how: uniform | popularity}` for a log that holds only positives.
            - `separator`: what joins the ids of a sequence in a CSV cell; default `|`.
            - `weight`: the column of sample weights.
            - `history_min_label`: only rows whose raw label is at least this are listed in histories.

        split: `time`, `last`, `random`, `given`, or a mapping `{by: time, fractions: [0.7, 0.1, 0.2]}`; see `splits`.
        include_ties: histories also list what happened at the row's own time (the row itself excepted).
        history: `before` (strictly before the row's time), or `others`, for logs without time: every other
            *training* event of the user.
        seed: of negatives and random splits.
        folder: what relative paths are relative to.
    """
    raise NotImplementedError


class Prepared:
    """Encoded rows of every domain by part, and what made them.

    Attributes:
        schema: the schema with the rows of the tables filled in (give this one to the model).
        encoder: the `Encoder`, adapted on training rows.
        split: the `Split`: `.name`, `.hash`, `.describe()`, `.parts[domain][part]`.
        parts: `parts[domain]["train" | "valid" | "test"]`: a `Part` with `x`, `y`, `weight`, `user`.
    """

    schema: Schema
    encoder: Encoder
    split: Split
    parts: dict[str, dict[str, Part]]

    def train(
        self,
        batch_size: int | Mapping[str, int] = 256,
        *,
        seed: int = 0,
        epoch: str = "target",
        paired: bool = False,
        initial_epoch: int = 0,
        domains: tuple[str, ...] | None = None,
    ) -> tf.data.Dataset:
        """Training batches of all domains, or of `domains`. See `batches`."""
        raise NotImplementedError

    def valid(self, batch_size: int = 4096) -> tf.data.Dataset:
        """The target's validation rows, in order, none dropped."""
        raise NotImplementedError

    def test(self, batch_size: int = 4096) -> tf.data.Dataset:
        """The target's test rows, in order, none dropped."""
        raise NotImplementedError

    def frame(self, domain: str, part: str) -> pd.DataFrame:
        """Raw rows of a part: every feature by its column (histories as lists), the label, the time, the user."""
        raise NotImplementedError

    def groups(self, part: str) -> pd.DataFrame:
        """For each of the target's rows: `user`, and how many training rows that user has in target and sources."""
        raise NotImplementedError
