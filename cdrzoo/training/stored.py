"""Rows that were prepared to a folder, as a configuration names them: `data: rows/`."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cdrzoo.errors import InputError
from cdrzoo.files import read_json
from cdrzoo.schema import Reading, Schema

if TYPE_CHECKING:
    from cdrzoo.data import StoredRows


def load(folder: pathlib.Path, schema: Schema, slices: Sequence[str], encoder: Any = None) -> StoredRows:
    """The rows, which must be of this schema and encoded as by `encoder`; by one of fewer domains the target's."""
    from cdrzoo.data import load_rows

    found = load_rows(folder, slices=slices)
    if _bare(found.schema) != _bare(schema):
        raise InputError(
            f"The schema is not that of the prepared rows in {folder}. Leave `schema` out, or prepare the rows again."
        )
    if encoder is None:
        return found
    rows = found.only(schema.target) if len(encoder.schema.domains) < len(schema.domains) else found
    if not rows.encoder.same(encoder):
        raise InputError(
            f"The prepared rows in {folder} have other vocabularies than the trained model, so its tables would be "
            "looked up at wrong rows. Prepare them by the configuration that is trained, with its `finetune`."
        )
    return rows


def _bare(schema: Schema) -> dict[str, Any]:
    """A schema without what was counted of its rows."""
    plain = schema.to_dict()
    for domain in plain["domains"].values():
        for each in (domain, *domain.get("labels", {}).values()):
            each.pop("mean", None)
    for table in plain["tables"].values():
        table.pop("rows", None)
        table.pop("first_rows", None)
    return plain


def reading(folder: pathlib.Path, domain: str) -> Reading:
    """How the text of a domain's rows became values."""
    from cdrzoo.data.rows.format import Rows

    source = Rows.load(folder).made_of["data"][domain]
    return Reading(separator=source["separator"], delimiter=source["delimiter"])


def logs(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where the logs of the rows lay and how histories were built of them: `data` and `preparation`."""
    from cdrzoo.data.rows.format import MEND, Rows

    record = Rows.load(folder)
    if not record.logs:
        raise InputError(
            f"The rows in {folder} were prepared by an older version, which did not keep where their logs lay. {MEND}"
        )
    return dict(record.logs), {name: record.made_of[name] for name in ("include_ties", "history")}


def identity(folder: pathlib.Path) -> list[tuple[str, str]]:
    """Name and hash of what the rows were made of, wherever that lay."""
    from cdrzoo.data.rows.format import FILE, MEND

    record = read_json(folder / FILE, MEND, ("made_of", "split", "domains"))
    made_of = record["made_of"]
    for source in made_of["data"].values():
        source["files"] = [[pathlib.PurePath(file).name, size] for file, size, *_ in source["files"]]
    text = json.dumps([made_of, record["split"]["hash"], record["domains"]], sort_keys=True)
    return [(FILE, hashlib.sha256(text.encode()).hexdigest())]
