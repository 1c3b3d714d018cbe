"""Our docstrings have a section `Example`; griffe knows `Examples`, whose sessions it shows as code."""

from __future__ import annotations

import re

import griffe


class Examples(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
