"""How text becomes values: what a run says of its logs, and an export of the rows that it scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from cdrzoo.errors import SchemaError, check_known, shown

AS_TEXT = "@text "
"""How the name of a column begins that holds, beside a column of values, their cells as they stood in a file."""
MISSING_WORDS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")


@dataclasses.dataclass(frozen=True)
class Reading:
    """How text becomes values.

    Args:
        separator: what joins the ids of a sequence in a cell of text.
        missing: the words that stand for a missing number, or a missing id of dtype int64. Of an id that is text the
            empty text alone is missing: `NA` may be an id.
        delimiter: what stands between the cells of a CSV file. Default: a comma; in `.tsv` a tab.
    """

    separator: str = "|"
    missing: tuple[str, ...] = MISSING_WORDS
    delimiter: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "missing", tuple(self.missing))
        if not isinstance(self.separator, str) or not self.separator:
            raise SchemaError(f"`separator` must be text. Received: {shown(self.separator)}.")
        if self.delimiter is not None and (
            not isinstance(self.delimiter, str) or len(self.delimiter) != 1 or self.delimiter in '"\r\n'
        ):
            raise SchemaError(
                f'`delimiter` must be one character, such as ";" or "\\t" (a tab). Received: {shown(self.delimiter)}.'
            )

    def to_dict(self) -> dict[str, Any]:
        """For a model card."""
        return {**dataclasses.asdict(self), "missing": list(self.missing)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any] | None) -> Reading:
        """What `to_dict` gave; of an export that says nothing the defaults."""
        check_known("`reading`", given or {}, [field.name for field in dataclasses.fields(cls)], SchemaError)
        return cls(**(given or {}))


def numbers_in(value: Any, separator: str) -> Any:
    """Text of a vector as a list of texts: `0.5|1`, `[0.5, 1]`, or in brackets with blanks between."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1].replace(",", " ").split()
    return text.split(separator) if text else []
