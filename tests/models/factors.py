"""Small worlds for what maps users between domains."""

from __future__ import annotations

import numpy as np

from cdrzoo.models import card
from cdrzoo.schema import FIRST_KNOWN


def trained(schema, name="mf", **arguments):
    """A first stage in which each domain knows half of its users, and no number is like another's."""
    from tests.models import oracle

    model = card(name).load()(schema, **arguments)
    model.build()
    oracle.randomise(model, seed=5)
    for domain, seen_by in model.factors.seen.items():
        known = np.arange(seen_by.shape[0]) % 2 == (0 if domain == schema.target else 1)
        known[1:8] = domain != schema.target  # some only the source knows,
        known[8:12] = True  # some both,
        known[12:14] = False  # some nobody
        seen_by.assign(known)
    for domain, readers in getattr(model.factors, "liked_by", {}).items():
        users = model.factors.keys.table(model.factors.users[domain].table).rows
        liked_by = np.random.default_rng(3).integers(0, users, readers.shape)
        liked_by[0] = 0  # padding
        liked_by[liked_by < FIRST_KNOWN] = 0  # nobody
        readers.assign(liked_by)
    return model
