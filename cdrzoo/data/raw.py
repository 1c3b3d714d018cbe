"""Raw ids: what stands for a missing one, and which tables read ids as numbers."""

from __future__ import annotations

from cdrzoo.schema import Schema

MISSING = {"string": "", "int64": -1}
"""The raw id that stands for a missing one."""


def as_numbers(schema: Schema, table: str) -> bool:
    """Whether the vocabulary of the table is int64: every feature that looks it up is."""
    features = [f for domain in schema.domains for f in domain.features if f.table == table]
    return all(f.dtype == "int64" for f in features) and schema.table(table).hash_buckets is None
