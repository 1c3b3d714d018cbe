"""The files that a path stands for, their bytes, and words for what is wrong with them."""

from __future__ import annotations

import csv
import difflib
import glob
import gzip
import pathlib
import zlib
from typing import Any

import pyarrow as pa

from cdrzoo.errors import DataError

FORMATS = (".csv", ".csv.gz", ".parquet", ".jsonl", ".jsonl.gz", ".tfrecord", ".tfrecord.gz")
"""The endings that are read."""


def files(path: Any) -> list[pathlib.Path]:
    """The files a path, a pattern, a folder or a list of these stands for; they exist and have a known ending."""
    if isinstance(path, (list, tuple)):
        return [file for one in path for file in files(one)]
    if not isinstance(path, (str, pathlib.Path)):
        raise DataError(f"A path or a DataFrame was wanted as data. Received: {type(path).__name__}.")
    path = pathlib.Path(path)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(FORMATS))
        if not found:
            raise DataError(
                f"The folder {path} holds no file that ends in {', '.join(FORMATS)}. Name the file itself."
            )
        return found
    if not path.exists() and any(mark in str(path) for mark in "*?["):
        found = sorted(pathlib.Path(file) for file in glob.glob(str(path)))
        if not found:
            raise DataError(f"No file matches {path}. Check the pattern.")
        return [file for one in found for file in files(one)]
    if not path.exists():
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Check the path (relative to where?)."
        raise DataError(f"{path} does not exist. {hint}")
    if not path.name.endswith(FORMATS):
        raise DataError(
            f"{path} has an unknown ending. Known: {', '.join(FORMATS)}. Rename or convert the file."
        )
    if not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes). Check how it was written.")
    return [path]


def format_of(file: pathlib.Path) -> str:
    """`csv`, `parquet`, `jsonl` or `tfrecord`, by the ending."""
    return next(
        ending for ending in sorted(FORMATS, key=len, reverse=True) if file.name.endswith(ending)
    ).split(".")[1]


def opened(file: pathlib.Path) -> Any:
    """The bytes of a file, unpacked."""
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


def arrow_stream(file: pathlib.Path) -> Any:
    """The bytes of a file, unpacked, for Arrow; not to be closed.

    Arrow's CSV reader reads ahead in a thread, which may go on after an error or when no more rows are wanted. Were the
    file closed then, that thread could take bytes of whichever file is opened next, for it gets the same descriptor.
    The last reference closes it.
    """
    return pa.input_stream(str(file), compression="gzip" if file.suffix == ".gz" else None)


class clear_errors:
    """Turns what libraries raise on a broken file into one line with the file's name."""

    def __init__(self, file: pathlib.Path):
        self.file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, DataError):
            return
        text = " ".join(str(error).split())[:200]
        if (
            isinstance(error, (EOFError, zlib.error))
            or "runcated" in text
            or "zlib" in text
            or "gzip" in text.lower()
        ):
            raise DataError(
                f"{self.file} is a damaged or cut-off gzip file ({text}). Copy or download it again."
            ) from None
        if isinstance(error, pa.ArrowInvalid) and "Empty CSV" in text:
            raise DataError(f"{self.file} is empty. Check how it was written.") from None
        if isinstance(error, UnicodeDecodeError) or "UTF8" in text or "utf-8" in text.lower():
            raise DataError(f"{self.file} is not UTF-8 text ({text}). Convert it to UTF-8.") from None
        if isinstance(error, (pa.ArrowException, csv.Error, OSError)):
            raise DataError(f"Cannot read {self.file}: {text}.") from None
