"""The arguments of a model's constructor, checked by what its signature says of them, before any layer is made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cdrzoo import memory
from cdrzoo.errors import LARGEST_COUNT, WIDEST, InputError, check_number, check_whole, is_whole, shown
from cdrzoo.schema import Schema

FROM_ZERO = ("reversal_warmup", "hops", "shared_experts", "specific_experts")
"""Whole numbers of which 0 means something."""
BEYOND_WIDTHS = ("reversal_warmup", "sync_every", "selector_every", "buckets")
"""Whole numbers that are no width and no number of layers."""


def check_arguments(model: str, cls: Any, parameters: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises an `InputError` for an argument that is not of its default's kind, or out of its bounds.

    Args:
        model: what messages call the model.
        cls: its class, whose `may_be_empty` names the lists of widths of which none may be meant.
        parameters: those of the constructor's signature.
        given: the arguments, by name.
    """
    for name, value in given.items():
        if name not in parameters:
            continue
        usual, said = parameters[name].default, str(parameters[name].annotation)
        what = f"`{name}` of {model}"
        if isinstance(usual, bool):
            if not isinstance(value, bool):
                raise InputError(f"{what} must be true or false. Received: {shown(value)}.")
        elif isinstance(usual, tuple):
            _check_widths(what, value, usual, name in cls.may_be_empty)
        elif isinstance(usual, int) or (usual is None and "int" in said.split(" | ") and value is not None):
            most = LARGEST_COUNT if name in BEYOND_WIDTHS else WIDEST
            check_whole(what, _plain(value), int(name not in FROM_ZERO), most)
        elif isinstance(usual, float) and not ("str" in said and isinstance(value, str)):
            check_number(what, value, 0)
        elif isinstance(usual, str) and not isinstance(value, str):
            raise InputError(f"{what} must be a word, such as {usual}. Received: {shown(value)}.")
        elif usual is None and "Sequence[str]" in said and value is not None:
            if isinstance(value, str) and "str" in said.split(" | "):
                continue  # a word that stands for names
            if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
                raise InputError(f"{what} must be a list of names. Received: {shown(value)}.")


def _check_widths(what: str, value: Any, usual: Sequence[int], empty: bool) -> None:
    listed = isinstance(value, (list, tuple))
    if not listed or not all(is_whole(_plain(width), 1) and width <= WIDEST for width in value):
        raise InputError(
            f"{what} must be a list of whole numbers from 1 to {WIDEST}, such as {list(usual)}. "
            f"Received: {shown(value)}."
        )
    if not value and not empty:
        raise InputError(
            f"{what} must name at least one hidden layer, such as {list(usual)}. Received: {shown(value)}."
        )
    weights = sum(one * two for one, two in itertools.pairwise(value))
    memory.check(f"The layers of {what}, {shown(value)},", 3 * weights, "Give narrower ones.")


def checked_share(schema: Schema, negatives_kept: float) -> float:
    """The argument `negatives_kept`; an `InputError` for one that cannot be, or that the schema says, too."""
    if not 0 < negatives_kept <= 1:
        raise InputError(
            f"`negatives_kept` must be a share above 0 and at most 1. Received: {shown(negatives_kept)}."
        )
    if negatives_kept < 1 and schema.target_domain.task != "click":
        raise InputError(
            "`negatives_kept` corrects probabilities of clicks, but the target has ratings. Leave it out."
        )
    if negatives_kept < 1 and schema.target_domain.negatives_kept:
        raise InputError("`negatives_kept` stands in the schema already. Leave it out of the arguments.")
    return negatives_kept


def _plain(value: Any) -> Any:
    """A whole number of NumPy as one of Python."""
    return int(value) if isinstance(value, np.integer) else value


def check_tables(schema: Schema, copies: int = 1) -> None:
    """Raises an `InputError` unless the tables whose rows are known fit in memory.

    `copies`: how often a weight is held; a training with Adam holds it three times, with its two moments.
    """
    sizes = {t.name: (t.rows or t.hash_buckets or t.buckets or 0) * t.width for t in schema.tables}
    if sizes:
        largest = max(schema.tables, key=lambda table: sizes[table.name])
        rows = largest.rows or largest.hash_buckets or 0
        memory.check(
            "The tables" if copies == 1 else f"Tables of which training holds {copies} copies",
            copies * math.fsum(sizes.values()),
            f"The largest, {largest.name!r}, has {rows:,} rows of {largest.width} "
            "columns. Lower `hash_buckets` or `width`, or raise `min_count`.",
        )
