"""Pages from the templates beside this file; whatever a value says, it is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import yaml

from cdrzoo.evaluation.statistics import LEVEL
from cdrzoo.schema import Schema


def render(template: str, **values: Any) -> str:
    """The text that a template makes of values; one that it names and does not get is an error."""
    return ENVIRONMENT.get_template(template).render(values)


def breakable(name: str) -> list[str]:
    """The pieces of a long name, which may go on in a new line behind `_`, `/` and `.`."""
    return re.split("(?<=[_/.])", name)


def slug(title: str) -> str:
    """The name of a place on the page, by its heading."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def headings(body: str) -> list[tuple[str, str]]:
    """The places of a page, `(name, heading)`, for its contents."""
    found = re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', body, re.S)
    return [(html.unescape(name), html.unescape(text)) for name, text in found]


def sha256(script: str) -> str:
    """By which a browser knows a script that is part of the page itself."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def command(words: Sequence[Any]) -> str:
    """A command of cdrzoo as it is typed."""
    return shlex.join(["cdrzoo", *map(str, words)])


def settings(config: Mapping[str, Any]) -> str:
    """A configuration as YAML; its schema stands elsewhere on the page."""
    plain = {key: value for key, value in config.items() if key != "schema"}
    return yaml.safe_dump(json.loads(json.dumps(plain, default=str)), sort_keys=False)


def listing(schema: Schema) -> str:
    """A schema as `cdrzoo schema check` prints it."""
    from cdrzoo.data import check

    return check(schema)


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters |= {
    each.__name__: each for each in (breakable, command, settings, listing, slug, headings, sha256)
}
ENVIRONMENT.globals["signs"] = (
    f"+ and -: significantly better and worse (p < {LEVEL} after Holm's correction); =: what others are tested against."
)
