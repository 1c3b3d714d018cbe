"""Rows to score of a run, from its logs or from new ones. Imports no TensorFlow."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cdrzoo import files
from cdrzoo.errors import InputError
from cdrzoo.training import stored
from cdrzoo.training.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd


def build_requests(
    config: RunConfig,
    requests: Any = None,
    *,
    users: Any = None,
    candidates: Any = None,
    logs: Mapping[str, Any] | None = None,
    time: float | str | None = None,
) -> pd.DataFrame:
    """`cdrzoo.data.request_rows` with what a run says of its logs; see `Run.requests`."""
    from cdrzoo.data.preparation.requests import crossed, request_rows

    if isinstance(config.data, str):
        sources, preparation = stored.logs(files.home(config.data, config.folder))
    else:
        sources, preparation = dict(config.data), config.preparation
    if (requests is None) == (users is None or candidates is None):
        raise InputError("Give `requests`, or `users` and `candidates`.")
    if requests is None:
        requests = crossed(users, candidates, config.schema.target_domain)
    for name, rows in (logs or {}).items():
        config.schema.domain(name)
        own = sources[name] if isinstance(sources[name], Mapping) else {}
        kept = {key: value for key, value in own.items() if key not in ("path", "data")}
        absolute = pathlib.Path(rows).resolve() if isinstance(rows, (str, pathlib.Path)) else rows
        sources[name] = {**kept, ("data" if hasattr(rows, "columns") else "path"): absolute}
    how = {name: value for name, value in preparation.items() if name in ("include_ties", "history")}
    return request_rows(config.schema, sources, requests, time=time, folder=config.folder, **how)
