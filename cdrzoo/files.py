"""Files that are there whole or not at all, and folders that one process writes to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cdrzoo.errors import InputError

LOCK = ".lock"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, a quota or a limit on files is used up."""

_MENDS = {
    **dict.fromkeys(FULL, "Free space, or choose another disk, then start it again."),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM), "Give yourself the right to it (chmod), or choose another place."
    ),
    errno.EROFS: "That disk can be read alone; choose another place.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "A part of that path is a file where a folder is wanted; check the path.",
    errno.EISDIR: "That is a folder, a file is wanted; check the path.",
    errno.EEXIST: "It is there already; choose another name.",
    errno.ENOTEMPTY: "It is there already; choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Links lead to each other there; check the path.",
    errno.EMFILE: "Too many files are open; allow more (ulimit -n).",
    errno.EADDRINUSE: "Choose another port, or end what listens there.",
}


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""By protocol the extra that brings its package; `remote` of any other."""


def is_remote(path: Any) -> bool:
    """Whether a path lies in another file system, such as `s3://bucket/logs.csv`."""
    return _URL.match(str(path)) is not None


def reachable(path: Any) -> bool:
    """Whether this machine has the package of a path's file system."""
    try:
        _remote(path)
    except InputError:
        return False
    return True


def is_path(value: Any) -> bool:
    """Whether a value is a path: text, of `pathlib`, or what `home` makes of one in another file system."""
    return isinstance(value, (str, pathlib.Path)) or type(value).__module__.partition(".")[0] == "upath"


def home(path: str | pathlib.Path, folder: str | pathlib.Path | None = None) -> pathlib.Path:
    """A path, `~` at its start as the home folder; a relative one in `folder`.

    One in another file system is a path of universal_pathlib, which has what those of `pathlib` have.

    Raises:
        InputError: a package that such a file system wants is missing.
    """
    if is_remote(path):
        return _remote(path)
    try:
        found = pathlib.Path(path).expanduser()
    except RuntimeError:  # no such user: a file may be called so
        found = pathlib.Path(path)
    if folder is None or found.is_absolute():
        return found
    return home(folder) / str(found) if is_remote(folder) else pathlib.Path(folder, found)


def _remote(path: Any) -> pathlib.Path:
    if not isinstance(path, str):
        return path
    protocol = path.partition("://")[0].lower()
    extra = _EXTRAS.get(protocol, "remote")
    try:
        import upath

        found: Any = upath.UPath(path, use_listings_cache=False)  # else a file that has changed is not seen
        host = path.partition("://")[2].partition("/")[0]
        if host not in str(found):  # its files would be looked for on another one
            raise InputError(
                f"{path} names the host {host}, which paths of {protocol}:// do not keep. Write {found}, and name the "
                "host where that file system's client looks for it (of hdfs:// fs.defaultFS in core-site.xml)."
            )
        found.fs  # noqa: B018
        return found
    except ImportError as error:
        raise InputError(f"{protocol}:// wants a package: pip install 'cdrzoo[{extra}]'. ({error})") from None
    except OSError as error:
        what = str(error).partition("\n")[0]
        raise InputError(
            f"The file system of {path} cannot be reached: {what}. Check that it is there; hdfs:// wants Java and "
            "Hadoop's libhdfs on this machine (JAVA_HOME, HADOOP_HOME, CLASSPATH)."
        ) from None
    except ValueError as error:
        raise InputError(
            f"{path} is in no file system that fsspec knows: {error}. Known are s3, gs, hdfs and others."
        ) from None


def is_folder(path: Any) -> bool:
    """Whether a path is a folder; `False` of what can be no path."""
    return path.is_dir() if is_remote(path) else os.path.isdir(path)


def matches(pattern: pathlib.Path) -> list[pathlib.Path]:
    """The paths that a pattern such as `part-*.parquet` stands for, sorted."""
    if not is_remote(pattern):
        return sorted(map(pathlib.Path, glob.glob(str(pattern))))
    system = pattern.fs  # type: ignore[attr-defined]
    return [_remote(system.unstrip_protocol(path)) for path in sorted(system.glob(pattern.path))]  # type: ignore[attr-defined]


def stamp(path: str | pathlib.Path) -> tuple[int, Any]:
    """Size and time of a file, or what its file system gives for it: what is compared to notice that it has changed."""
    path = home(path)
    if is_remote(path):
        return path.stat().st_size, path.fs.ukey(path.path)  # type: ignore[attr-defined]
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def seekable(path: pathlib.Path) -> Any:
    """What Arrow reads of any place: the name of a file, or a stream of one in another file system."""
    if is_remote(path):
        return path.fs.open(path.path, "rb", cache_type="none")  # type: ignore[attr-defined]
    return str(path)


def said(error: OSError) -> str:
    """What the system refused, of which file, and what to do about it."""
    named = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))
    ]
    code = error.errno or 0
    what = (os.strerror(code) if code in _MENDS else error.strerror) or " ".join(str(error).split())[:300]
    mend = _MENDS.get(code, "Check the path, its rights and the disk.")
    return f"{': '.join([*named[:1], what])}. {mend}"


_PREAMBLE = re.compile(r"^Graph execution error:.*(<stack traces unavailable>|\(most recent call last\):) *")
"""What TensorFlow puts before its words."""


@contextlib.contextmanager
def reading(path: str | pathlib.Path, mend: str, whole: bool = False) -> Iterator[None]:
    """Around the reading of what cdrzoo wrote itself: whatever goes wrong there, the file is at fault.

    Args:
        path: the file, or the folder of several.
        mend: what to do about it, a sentence.
        whole: whether an `InputError` from within is said in this way, too.

    Raises:
        InputError: it is missing, damaged, or of something else.
    """
    try:
        yield
    except (MemoryError, BrokenPipeError):
        raise
    except FileNotFoundError as error:
        name = error.filename or (path if not home(path).exists() else None)
        what = f"{name} is missing" if name else f"{path} is damaged ({' '.join(str(error).split())[:200]})"
        raise InputError(f"{what}. {mend}") from error
    except PermissionError as error:
        raise InputError(said(error)) from error
    except InputError as error:
        if not whole or mend in str(error):
            raise
        named = "" if str(path) in str(error) else f"{path} is damaged: "
        raise type(error)(f"{named}{error} {mend}") from error
    except Exception as error:
        first = _PREAMBLE.sub("", " ".join(str(error).split()))[:200].rstrip(". ")
        raise InputError(f"{path} is damaged ({first or type(error).__name__}). {mend}") from error


def read_json(path: str | pathlib.Path, mend: str, entries: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping of a JSON file that cdrzoo wrote.

    Raises:
        InputError: it is missing or damaged, or lacks one of `entries`; the message ends with `mend`.
    """
    with reading(path, mend):
        found = json.loads(home(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no mapping")
        for entry in entries:
            if entry not in found:
                raise ValueError(f"it lacks {entry!r}")
    return found


@contextlib.contextmanager
def writing(mend: str) -> Iterator[None]:
    """Around the writing of much: a disk that is full is said, with what to do about it.

    Raises:
        InputError: there is no room, for Python or for TensorFlow.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        full = any(os.strerror(code) in str(error) for code in FULL)  # TensorFlow has words alone
        if not full and not (
            isinstance(error, OSError) and error.errno in (*FULL, errno.EROFS, errno.EACCES)
        ):
            raise
        where = (
            f" {error.filename}:" if isinstance(error, OSError) and isinstance(error.filename, str) else ""
        )
        words = getattr(error, "strerror", None) or next(
            (os.strerror(code) for code in FULL if os.strerror(code) in str(error)), str(error)
        )
        raise InputError(f"It could not be written:{where} {words}. {mend}") from error


def unfinished(path: pathlib.Path) -> pathlib.Path:
    """Where the text of a file stands until it is whole; a process that is killed then leaves it there."""
    return path.with_name(f".{path.name}.unfinished")


def write(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file; until it is whole, what stood there stays."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def whole(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the place to write a file to; it gets its name once it is whole, and goes where that fails."""
    path = pathlib.Path(path)
    try:
        yield unfinished(path)
        unfinished(path).replace(path)
    except BaseException:
        unfinished(path).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[None]:
    """Keeps a second process out of a folder, which is made; the lock goes with the process, however it ends.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"Another run is working in {folder}; two at once would write the same files. Wait until it has ended, "
                "or choose another folder."
            ) from None
        yield


PAGE = "</title>\n<style>\n:root { color-scheme: light"
"""What stands in every page of `cdrzoo report`, and tells it from a file of somebody else's."""


def is_page(path: pathlib.Path) -> bool:
    """Whether a file is a page of `cdrzoo report`."""
    return PAGE in path.read_text(encoding="utf-8", errors="replace")
