"""Readers: CSV, Parquet, JSON lines, TFRecord and DataFrames to columns in the schema's types.

Every reader hands its raw columns to one converter, so a value is judged alike wherever it comes from, and what is
wrong is said with file, column and row before any long work starts. Rows are counted from 1, a header not counted.
"""

from cdrzoo.data.readers.columns import Columns, Wanted, require
from cdrzoo.data.readers.frame import check_weights, columns_of, joined
from cdrzoo.data.readers.paths import FORMATS, files
from cdrzoo.data.readers.reading import (
    as_written,
    cells,
    chunks,
    column_names,
    file_chunks,
    group_rows,
    read,
    row_groups,
)

__all__ = [
    "FORMATS",
    "Columns",
    "Wanted",
    "as_written",
    "cells",
    "check_weights",
    "chunks",
    "column_names",
    "columns_of",
    "file_chunks",
    "files",
    "group_rows",
    "joined",
    "read",
    "require",
    "row_groups",
]
