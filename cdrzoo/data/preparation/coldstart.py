"""The cold-start protocol: users whose rows in the target are hidden, and who are known by the source alone."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from cdrzoo.data.encoder import Encoder
from cdrzoo.data.preparation.prepared import Prepared, prepare
from cdrzoo.errors import DataError, shown
from cdrzoo.schema import Schema


def cold_start(
    schema: Schema,
    sources: Mapping[str, Any],
    beta: float,
    *,
    valid: float = 0.1,
    time_aware: bool = True,
    include_ties: bool = False,
    seed: int = 0,
    folder: str | pathlib.Path = ".",
    encoder: Encoder | None = None,
) -> Prepared:
    """Rows for the cold-start protocol: a share of the users that the target shares with a source is hidden in it.

    Of the shared users `beta` are the test: all their rows of the target, and none of these rows is trained on, counted
    by the encoder or listed in a history. Of the other shared users a part selects the model, hidden in the same way;
    the rest, and users of the target alone, train. All rows of the sources train.

    Histories of the target are left out of the schema: those of a hidden user's later rows would list his earlier ones,
    and a source's rows would bring them into training.

    Args:
        schema: the schema; its target has rows of users that a source has too.
        sources: where the rows are, see `prepare`.
        beta: share of the shared users whose target rows are the test; the papers take 0.2, 0.5 and 0.8.
        valid: share of the other shared users whose target rows select the model.
        time_aware: behaviours are listed if they happened before the row. `False`, and for logs without time: all of
            the user's behaviours in the source. Most published numbers are made that way, and it shows a model what
            the user did after the rating it predicts.
        include_ties: with `time_aware`, behaviours at the row's own time are listed too.
        seed: which users are hidden. Orders of hiding are the same for every `beta`: with one seed, the users hidden at
            0.2 are hidden at 0.5 too.
        folder: what relative paths are relative to.
        encoder: one that was adapted before; default: a new one, adapted on the training rows.

    Raises:
        DataError: when `beta` or `valid` is no share, or no user is shared.

    Reference: Man et al., Cross-Domain Recommendation: An Embedding and Mapping Approach (IJCAI 2017), section 5.1;
    Zhu et al., Personalized Transfer of User Preferences (WSDM 2022), section 4.1.3; Luo et al., Domain-Aware
    Cross-Attention (2024), section 4.2.
    """
    hidden = protocol(schema, beta, valid=valid, time_aware=time_aware, seed=seed)
    return prepare(
        sources=sources, **hidden, include_ties=include_ties, seed=seed, folder=folder, encoder=encoder
    )


def protocol(
    schema: Schema, beta: float, *, valid: float = 0.1, time_aware: bool = True, seed: int = 0
) -> dict[str, Any]:
    """The arguments of `prepare` that make the protocol, `schema`, `split` and `history`; see `cold_start`."""
    for name, share in (("beta", beta), ("valid", valid)):
        if not 0 < share < 1:
            raise DataError(
                f"`{name}` must be a share between 0 and 1, such as 0.2. Received: {shown(share)}."
            )
    timed = time_aware and all(domain.time is not None for domain in schema.domains)
    return {
        "schema": without_histories_of(schema, schema.target),
        "split": {
            "by": "users",
            "fractions": [(1 - beta) * (1 - valid), (1 - beta) * valid, beta],
            "seed": seed,
        },
        "history": "before" if timed else "others",
    }


def without_histories_of(schema: Schema, domain: str) -> Schema:
    """The schema in which no domain lists what happened in `domain`."""
    kept = tuple(
        dataclasses.replace(one, features=tuple(f for f in one.features if f.of != domain))
        for one in schema.domains
    )
    used = {f.table for one in kept for f in one.features}
    return Schema(kept, schema.target, tuple(table for table in schema.tables if table.name in used))
