"""Public datasets: one file each; a function takes the folder they lie in and gives schema, sources and split.

What it gives goes to `prepare` as it stands: `prepare(**datasets.ciao.pair(folder, "01", "02"))`. Files that are
not read as they are published are first turned into Parquet, once and a piece at a time, in the folder `out`.
"""

from __future__ import annotations

import difflib
import inspect
import pathlib
import sys
from typing import Any

from cdrzoo.data.datasets import (
    ali_ccp,
    amazon,
    amazon_food_kitchen,
    amazon_subcat,
    ciao,
    douban,
    epinions,
    huawei,
    kuairand,
    movielens,
    taobao,
)
from cdrzoo.errors import InputError

__all__ = [
    "ali_ccp",
    "amazon",
    "amazon_food_kitchen",
    "amazon_subcat",
    "ciao",
    "douban",
    "epinions",
    "huawei",
    "kuairand",
    "movielens",
    "taobao",
]


def load(
    name: str,
    folder: str | pathlib.Path,
    out: str | pathlib.Path,
    /,
    *,
    beta: float | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """The arguments of `prepare` for a dataset by its name.

    Args:
        name: of the dataset.
        folder: where its files are.
        out: where files that are converted go.
        beta: share of the shared users that the cold-start protocol hides in the target (`cdrzoo.data.cold_start`);
            `None`: the dataset's own split.
        **arguments: of the dataset's `pair`.

    Raises:
        InputError: when there is no such dataset, or it has no such argument.
    """
    if name not in __all__:
        raise InputError(f"There is no dataset {name!r}. It must be one of {', '.join(__all__)}.")
    pair = getattr(sys.modules[__name__], name).pair
    known = [
        parameter for parameter in inspect.signature(pair).parameters if parameter not in ("folder", "out")
    ]
    for argument in arguments:
        if argument not in known:
            near = difflib.get_close_matches(argument, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known)}."
            raise InputError(f"The dataset {name} has no {argument!r}. {hint}")
    missing = [
        parameter.name
        for parameter in inspect.signature(pair).parameters.values()
        if parameter.default is parameter.empty and parameter.name not in ("folder", *arguments)
    ]
    if missing:
        raise InputError(f"The dataset {name} has several domains: give its {' and '.join(missing)}.")
    if "out" in inspect.signature(pair).parameters:
        arguments["out"] = pathlib.Path(out)
    found = pair(pathlib.Path(folder), **arguments)
    if beta is not None:
        from cdrzoo.data.preparation.coldstart import protocol

        found = {**found, **protocol(found["schema"], beta)}
    return found
