"""A model whose schema lacks what its card says is refused when it is made, and read from a file as it was."""

from __future__ import annotations

import dataclasses

import pytest

from cdrzoo.errors import SchemaError
from cdrzoo.models import card
from cdrzoo.schema import Schema
from tests.models.toys import toy_schema


def without(unwanted):
    """The toy schema without some features: `unwanted(domain, feature)`."""
    schema = toy_schema()
    domains = tuple(
        dataclasses.replace(d, features=tuple(f for f in d.features if not unwanted(d, f)))
        for d in schema.domains
    )
    used = {f.table for d in domains for f in d.features}
    return Schema(domains, schema.target, tuple(t for t in schema.tables if t.name in used))


@pytest.mark.parametrize("name", ["din", "dadin", "minet", "dacdr"])
def test_histories(name):
    with pytest.raises(SchemaError, match="histor"):
        card(name).load()(without(lambda d, f: f.role == "history" and d.name == "films"))


@pytest.mark.parametrize("name", ["conet", "csn", "mlp_pp"])
def test_shared_users(name):
    with pytest.raises(SchemaError, match="no table of users in common"):
        card(name).load()(without(lambda d, f: f.role == "user" and d.name == "books"))


@pytest.mark.parametrize("name", ["din", "conet"])
def test_a_file_of_before_is_read(name, monkeypatch):
    cls = card(name).load()
    with monkeypatch.context() as patch:  # as an earlier version made them
        for check in ("check_histories", "check_shared_users"):
            patch.setattr(cls, check, lambda self, method: None)
        model = cls(without(lambda d, f: f.role == "history" or (f.role == "user" and d.name == "books")))
    assert isinstance(cls.from_config(model.get_config()), cls)
