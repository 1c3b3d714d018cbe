"""The files that a path stands for, their bytes, and words for what is wrong with them."""

from __future__ import annotations

import csv
import difflib
import functools
import gzip
import io
import pathlib
import tempfile
import zlib
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from cdrzoo.errors import DataError, shown
from cdrzoo.files import home, is_path, is_remote, matches, seekable, stamp

FORMATS = (
    ".csv",
    ".csv.gz",
    ".tsv",
    ".tsv.gz",
    ".parquet",
    ".jsonl",
    ".jsonl.gz",
    ".tfrecord",
    ".tfrecord.gz",
)
"""The endings that are read."""
_PASSED = ("_", ".")
"""How names begin that are passed by among several: `_SUCCESS`, `.part-0.crc` and the like."""


def files(path: Any) -> list[pathlib.Path]:
    """The files a path, a pattern, a folder or a list of these stands for; they exist and have a known ending."""
    if isinstance(path, (list, tuple)):
        if not path:
            raise DataError("A list of files was wanted as data, and it is empty. Name at least one.")
        return [file for one in path for file in files(one)]
    if not is_path(path):
        raise DataError(f"A path or a DataFrame was wanted as data. Received: {type(path).__name__}.")
    path = home(path)
    try:
        str(path).encode()
        path.exists()
    except UnicodeEncodeError:
        raise DataError(f"The name of the file {ascii(str(path))} is not UTF-8. Rename the file.") from None
    except OSError as error:  # a name that is too long, a folder that may not be entered
        what = error.strerror or " ".join(str(error).split())[:200]
        raise DataError(f"Cannot look for {shown(str(path))}: {what}. Check the path.") from None
    except Exception as error:
        if not is_remote(path):
            raise
        what = " ".join(str(error).split())[:200]
        raise DataError(f"Cannot look for {path}: {what}. Check the path and the credentials.") from None
    if "\0" in str(path):
        raise DataError(
            f"The name of a file holds no NUL byte. Received: {shown(str(path))}. Correct the path."
        )
    if path.is_dir():
        found = _inside(path)
        if not found:
            raise DataError(
                f"The folder {path} holds no file that ends in {', '.join(FORMATS)}. Name the file itself."
            )
        return _with_rows(found)
    if not path.exists() and any(mark in str(path) for mark in "*?["):
        found = matches(path)
        if not found:
            raise DataError(f"No file matches {path}. Check the pattern.")
        plain = [one for one in found if not one.name.startswith(_PASSED)]
        several = [file for one in plain for file in (_inside(one) if one.is_dir() else [one])]
        return [file for one in _with_rows(several or found) for file in files(one)]
    if not path.exists():
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Check the path (relative to where?)."
        raise DataError(f"{path} does not exist. {hint}")
    if path.name.endswith((".yaml", ".yml")):
        raise DataError(f"{path} is a configuration or a schema, by its ending. Name the file with the rows.")
    if not path.name.endswith(FORMATS):
        raise DataError(
            f"{path} has an unknown ending. Known: {', '.join(FORMATS)}. Rename or convert the file."
        )
    if not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes). Check how it was written.")
    return [path]


def _inside(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder and of its partitions, `dt=2024-05-01/`, as Hive and Spark write them."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(_PASSED):
            continue
        if path.is_dir():
            found += _inside(path) if "=" in path.name else []
        elif path.name.endswith(FORMATS):
            found.append(path)
    return found


def _with_rows(found: list[pathlib.Path]) -> list[pathlib.Path]:
    """Those that hold a row, for a part of many may be empty; all, where none does."""
    return [file for file in found if not file.name.endswith(FORMATS) or _has_rows(file)] or found


def _has_rows(file: pathlib.Path) -> bool:
    from pyarrow import parquet

    try:
        if format_of(file) == "parquet":
            return file.stat().st_size > 0 and parquet.ParquetFile(seekable(file)).metadata.num_rows > 0
        with opened(file) as stream:
            lines = (line for line in stream if line.strip() or format_of(file) == "tfrecord")
            if format_of(file) == "csv":
                next(lines, None)
            return next(lines, None) is not None
    except (OSError, EOFError, zlib.error, pa.ArrowException):
        return True  # whoever reads it says what is wrong


def partition(file: pathlib.Path) -> dict[str, str | None]:
    """Columns that the folders of a file stand for: `dt=2024-05-01/` is the column `dt` of all its rows."""
    named = (folder.partition("=") for folder in file.parts[:-1] if "=" in folder)
    values = {name: unquote(value) for name, _, value in named}
    return {name: None if value == "__HIVE_DEFAULT_PARTITION__" else value for name, value in values.items()}


def format_of(file: pathlib.Path) -> str:
    """`csv`, `parquet`, `jsonl` or `tfrecord`, by the ending."""
    ending = next(e for e in sorted(FORMATS, key=len, reverse=True) if file.name.endswith(e))
    return ending.split(".")[1].replace("tsv", "csv")


def opened(file: pathlib.Path) -> Any:
    """The bytes of a file, unpacked."""
    if not is_remote(file):
        return gzip.open(file) if file.suffix == ".gz" else file.open("rb")
    stream: Any = io.BufferedReader(file.open("rb"))
    return gzip.open(stream) if file.suffix == ".gz" else stream


def arrow_stream(file: pathlib.Path) -> Any:
    """The bytes of a file, unpacked, for Arrow; not to be closed.

    Arrow's CSV reader reads ahead in a thread, which may go on after an error or when no more rows are wanted. Were the
    file closed then, that thread could take bytes of whichever file is opened next, for it gets the same descriptor.
    The last reference closes it.
    """
    source = file.open("rb") if is_remote(file) else str(file)
    return pa.input_stream(source, compression="gzip" if file.suffix == ".gz" else None)


def local(file: pathlib.Path) -> pathlib.Path:
    """The file, or a copy of one in another file system; there is one copy, that of the last file."""
    if not is_remote(file):
        return file
    return _copy(file, stamp(file))[1]


@functools.lru_cache(maxsize=1)
def _copy(file: pathlib.Path, changed: Any) -> tuple[Any, pathlib.Path]:
    folder = tempfile.TemporaryDirectory(prefix="cdrzoo_copy_")  # goes with this entry
    place = pathlib.Path(folder.name, file.name)
    file.fs.get_file(file.path, str(place))  # type: ignore[attr-defined]
    return folder, place


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
            raise DataError(
                f"{self.file} has no rows. At least one is needed; check how it was written."
            ) from None
        if isinstance(error, pa.ArrowInvalid) and "straddling" in text:
            raise DataError(
                f"{self.file} has a row of more than 64 MB. Split it, or check its quotes."
            ) from None
        if isinstance(error, UnicodeDecodeError) or "UTF8" in text or "utf-8" in text.lower():
            raise DataError(f"{self.file} is not UTF-8 text ({text}). Convert it to UTF-8.") from None
        if isinstance(error, OSError):
            fix = "Check that it is there and may be read."
            raise DataError(f"Cannot read {self.file}: {error.strerror or text}. {fix}") from None
        if isinstance(error, (pa.ArrowException, csv.Error)):
            raise DataError(f"Cannot read {self.file}: {text}. Check how it was written.") from None
