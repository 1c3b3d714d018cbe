"""Schemas as files hold them: plain dictionaries and lists, in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from cdrzoo.errors import SchemaError, check_known, shown
from cdrzoo.schema import transforms
from cdrzoo.schema.domains import Domain, Label
from cdrzoo.schema.features import BY_NAME, Feature


def plain(instance: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    found = {
        field.name: getattr(instance, field.name)
        for field in dataclasses.fields(instance)
        if field.name not in skip and getattr(instance, field.name) != field.default
    }
    for name, written in (("where", dict), ("transform", transforms.plain), ("cross", list)):
        if name in found:
            found[name] = written(found[name])
    return found


def plain_labels(domain: Domain) -> dict[str, Any]:
    if not domain.labels:
        return {}
    return {
        "labels": {
            one.name: plain(one, skip=("name", *(("column",) * (one.column == one.name))))
            for one in domain.labels
        }
    }


def unsaid(domain: Domain) -> tuple[str, ...]:
    """The keys that a domain does not have, and that are not read from the names of its features either."""
    found = dataclasses.replace(domain, user=BY_NAME, item=BY_NAME)
    of_labels = ("label", "task", "threshold") if domain.labels else ()
    return (
        *of_labels,
        *(key for key in ("user", "item") if getattr(domain, key) is getattr(found, key) is None),
    )


def named(entry: str, given: Any) -> list[dict[str, Any]]:
    """The mappings of an entry of a schema, `{name: mapping}` or a list of mappings with `name`."""
    pairs = [(None, one) for one in given] if isinstance(given, (list, tuple)) else given
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif given is None and entry == "tables":
        return []
    elif not isinstance(given, (list, tuple)):
        raise SchemaError(
            f"`{entry}` must be a mapping from name to what it holds. Received: {shown(given)}."
        )
    for name, one in pairs:
        if not isinstance(one, (Mapping, type(None))):
            which = f"Entry {shown(name)} of `{entry}`" if name is not None else f"An entry of `{entry}`"
            raise SchemaError(f"{which} must be a mapping. Received: {shown(one)}.")
    return [{**({} if name is None else {"name": name}), **(one or {})} for name, one in pairs]


def domain_of(given: Mapping[str, Any]) -> Domain:
    where = f"domain {shown(given.get('name'))}"
    features = given.get("features")
    if features is not None and not isinstance(features, (list, tuple)):
        raise SchemaError(f"`features` of {where} must be a list. Received: {shown(features)}.")
    for key in ("user", "item"):
        if given.get(key) == BY_NAME:
            raise SchemaError(f"`{key}` of {where} must be the name of a column, or null. Received: ''.")
    made = tuple(build(Feature, f"A feature of {where}", feature) for feature in features or ())
    labels = {"labels": labels_of(given["labels"], where)} if given.get("labels") is not None else {}
    domain = build(Domain, f"D{where[1:]}", {**given, "features": made, **labels})
    domain.inputs()  # a cross names features that are there
    return domain


def labels_of(given: Any, where: str) -> tuple[Label, ...]:
    """Labels from `{name: column}` or `{name: {column: ..., given: ...}}`."""
    if not isinstance(given, Mapping):
        raise SchemaError(
            f"`labels` of {where} must be a mapping, such as {{click: clicked, conversion: {{given: click}}}}. "
            f"Received: {shown(given)}."
        )
    found = []
    for name, one in given.items():
        plain = {"column": one} if isinstance(one, (str, type(None))) else one
        if not isinstance(plain, Mapping):
            raise SchemaError(
                f"Label {shown(name)} of {where} must be a column or a mapping. Received: {shown(one)}."
            )
        found.append(build(Label, f"A label of {where}", {"name": name, **plain}))
    return tuple(found)


def check_entries(what: str, given: Any, allowed: list[str], required: list[str]) -> None:
    check_known(what, given, sorted(allowed), SchemaError)
    for entry in sorted(required):
        if entry not in given:
            raise SchemaError(f"{what} lacks {entry!r}. Add it.")


def build(cls: type, what: str, given: Any) -> Any:
    fields = dataclasses.fields(cls)
    if isinstance(given, Mapping) and "name" in given:
        what = f"{what} ({given['name']})"
    check_entries(
        what,
        given,
        allowed=[field.name for field in fields],
        required=[field.name for field in fields if field.default is dataclasses.MISSING],
    )
    return cls(**given)
