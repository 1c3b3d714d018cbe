"""A finished run as one file, and back on another machine. No part of it is a pickle; what it holds is not believed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pathlib
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any, BinaryIO

import pyarrow as pa

import cdrzoo
from cdrzoo import files
from cdrzoo.documents import dump_yaml, load_mapping
from cdrzoo.errors import InputError, check_whole, shown
from cdrzoo.training.config import RunConfig
from cdrzoo.training.contents import placed
from cdrzoo.training.finished import ARCHIVE, check_finished

MANIFEST = "packed.json"
"""The first member: name, size and hash of all others, in their order."""
MEND = "Have the run packed again, and copy the archive anew."
ROOM = "Free space, or choose another disk."
NEEDED = ("config.yaml", "schema.yaml", "split.json", "metrics.json", "model.keras", "encoder/encoder.json")
MEMBER = re.compile(
    r"config\.yaml|schema\.yaml|split\.json|profile\.json|examples\.parquet"
    r"|(first/)?(metrics\.json|history\.csv|model\.keras)"
    r"|encoder/(encoder\.json|schema\.yaml|vocab/[^/\0]+\.txt|ledger/[^/\0]+\.(seen\.npy|waiting\.parquet))"
    r"|logs/selector_weights\.csv"
    r"|data/((?!\.\.?/)[^/\0]+/)+prepared\.json"
)
"""What a packed run holds; an archive with another member is none."""
HEADERS, LIST, LARGEST, RATIO = 1 << 16, 1 << 20, 1 << 30, 100
"""Bytes of a member besides its content, of the list, of what is unpacked; beyond that, times the archive's size."""


def pack(folder: str | pathlib.Path, archive: str | pathlib.Path) -> list[str]:
    """Writes a finished run to one file, which `unpack` takes on another machine.

    ```python
    cdrzoo.pack("runs/cctl", "cctl.tar.zst")
    ```

    It holds the model, its first stage, encoder, schema, configuration, split, metrics and history, and the 64 raw rows
    that an export is proved with. It does not hold the rows of the run: its configuration looks for them in `data/` of
    the unpacked folder. Nor does it hold TensorBoard's logs or the callbacks of its configuration.

    Args:
        folder: the run's folder.
        archive: the file to write, `.tar.zst`. Nothing is overwritten.

    Returns:
        Where the rows belong in the unpacked folder, to evaluate it: `data/films.csv` and the like.

    Raises:
        InputError: the folder holds no finished run, or the file cannot be written.
    """
    folder, archive = pathlib.Path(folder), pathlib.Path(archive)
    check_finished(folder)
    if not archive.name.endswith(ARCHIVE):
        raise InputError(f"The archive's name must end in {ARCHIVE}. Received: {shown(str(archive))}.")
    if archive.exists():
        raise InputError(f"{archive} exists. Choose another name; nothing is overwritten.")
    if not archive.parent.is_dir():
        raise InputError(f"There is no folder {archive.parent} to write to. Make it, or name another.")
    mend = "Bring the file back from a copy, or train the run anew, with `--overwrite`."
    with files.reading(folder / "config.yaml", mend, whole=True):
        config = RunConfig.load(folder / "config.yaml")
    made, places = _made(config)
    there = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    members: dict[str, Any] = {name: path for name, path in there.items() if MEMBER.fullmatch(name)} | made
    for name in NEEDED:
        if name not in members:
            raise InputError(f"{folder / name} is missing. {mend}")
    listed = {name: _measured(content) for name, content in members.items()}
    manifest = json.dumps({"cdrzoo": cdrzoo.__version__, "files": listed}, indent=1).encode()
    with (
        files.writing(ROOM),
        files.whole(archive) as part,
        pa.output_stream(str(part), compression="zstd") as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        for name, content in {MANIFEST: manifest, **members}.items():
            member = tarfile.TarInfo(name)
            member.size = len(manifest) if name == MANIFEST else listed[name][0]
            with _opened(content) as source:
                tar.addfile(member, source)
    return places


def unpack(archive: str | pathlib.Path, folder: str | pathlib.Path) -> pathlib.Path:
    """Unpacks what `pack` wrote, to a new folder. It is there whole or not at all.

    ```python
    run = cdrzoo.load_run(cdrzoo.unpack("cctl.tar.zst", "runs/cctl"))
    ```

    The archive may come from a stranger. What is not a run's file is refused, and so are links, devices, paths that
    lead elsewhere, contents that are not those of the list, and one that grows to more than 100 times its size (and
    1 GiB). No code of it is run.

    Args:
        archive: the file.
        folder: the run's folder; new or empty.

    Returns:
        The folder.

    Raises:
        InputError: the archive is none of a run, or damaged, or the folder is taken.
    """
    archive, folder = pathlib.Path(archive), pathlib.Path(folder)
    if not archive.is_file():
        raise InputError(f"{archive} is no file. Give the archive that `cdrzoo pack` wrote.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty. Choose a new folder; nothing is overwritten.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as stage:
        run = pathlib.Path(stage, "run")
        with files.reading(archive, MEND, whole=True), files.writing(ROOM):
            _extract(archive, run)
            _check(run)
        run.replace(folder)
    return folder


def _made(config: RunConfig) -> tuple[dict[str, bytes], list[str]]:
    """The members that are not files of the run as they stand there, and where the rows belong."""
    named: list[pathlib.Path] = []
    logs: list[pathlib.Path] = []
    config.plain(named.append)
    dataclasses.replace(config, finetune=None, warm_start_from=None).plain(logs.append)
    places = _places(named)
    first = {name: value for name, value in config.first.items() if name != "callbacks"}
    bare = dataclasses.replace(config.with_changes({"callbacks": None}), first=first)
    made = {"config.yaml": dump_yaml(bare.plain(places.__getitem__)).encode()}
    if isinstance(config.data, str):  # how text became values stands beside the rows
        record = files.read_json(logs[0] / "prepared.json", "Bring the prepared rows back.", ("made_of",))
        for source in record["made_of"]["data"].values():
            source["files"] = [[pathlib.PurePath(file).name, size] for file, size, *_ in source["files"]]
        bare_logs = record.get("logs", {}).items()
        record["logs"] = {name: placed(source, ".", lambda path: path.name) for name, source in bare_logs}
        record["warnings"] = []  # they name files
        made[f"{places[logs[0]]}/prepared.json"] = (json.dumps(record, indent=2) + "\n").encode()
    return made, [places[path] for path in dict.fromkeys(logs)]


def _places(paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
    """For each path a place in `data/`: its name, after as many of its folders as tell the paths apart."""
    depth, places = 0, dict.fromkeys(paths, "")
    while len({*places.values()}) < len(places) or not depth:
        depth += 1
        places = {path: "/".join(("data", *path.absolute().parts[1:][-depth:])) for path in paths}
    return places


def _opened(content: pathlib.Path | bytes) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _measured(content: pathlib.Path | bytes) -> tuple[int, str]:
    """Size and hash."""
    size, digest = 0, hashlib.sha256()
    with _opened(content) as source:
        while part := source.read(1 << 20):
            size += len(part)
            digest.update(part)
    return size, digest.hexdigest()


class _Bounded:
    """A stream that gives `left` bytes and no more: what a header announces would be read into memory."""

    def __init__(self, stream: Any):
        self.stream, self.left = stream, HEADERS

    def read(self, size: int) -> bytes:
        found = self.stream.read(size)
        self.left -= len(found)
        if self.left < 0:
            raise ValueError("it holds more than it says")
        return found


def _extract(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the members to a folder, as far as they are those of a run, and what the list says."""
    with pa.input_stream(str(archive), compression="zstd") as stream:
        bounded = _Bounded(stream)
        with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
            listed = _listed(_member(tar, bounded, MANIFEST, LIST).read(), archive.stat().st_size)
            for name, (size, digest) in listed.items():
                source, path = _member(tar, bounded, name, size), folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    shutil.copyfileobj(source, file)
                if _measured(path) != (size, digest):
                    raise ValueError(f"{name} is not what was packed")
            bounded.left = HEADERS
            if more := tar.next():
                raise ValueError(f"{shown(more.name)} is not in its list")


def _member(tar: tarfile.TarFile, bounded: _Bounded, name: str, most: int) -> IO[bytes]:
    """The next member, which must be the plain file of this name."""
    bounded.left = HEADERS
    member = tar.next()
    if member is None or member.name != name:
        raise ValueError(f"{shown(name)} was wanted next, it holds {shown(member and member.name)}")
    source = None
    if member.type == tarfile.REGTYPE and member.sparse is None and member.size <= most:
        source = tar.extractfile(member)
    if source is None:
        raise ValueError(f"{shown(name)} is no plain file of at most {most:,} bytes")
    bounded.left = HEADERS + member.size
    return source


def _listed(manifest: bytes, packed: int) -> dict[str, tuple[int, str]]:
    """`{name: (size, hash)}` of the members, as the first one lists them."""
    found = json.loads(manifest)["files"]
    for name, (size, _) in found.items():
        if not MEMBER.fullmatch(name):
            raise ValueError(f"{shown(name)} is no file of a run")
        check_whole(f"the size of {name}", size, 0, 1 << 60)
    if missing := [name for name in NEEDED if name not in found]:
        raise ValueError(f"{missing[0]} is missing")
    if (total := sum(size for size, _ in found.values())) > LARGEST + RATIO * packed:
        raise ValueError(f"{packed:,} bytes would become {total:,}")
    return {name: (size, digest) for name, (size, digest) in found.items()}


def _check(folder: pathlib.Path) -> None:
    """A configuration that was packed runs no code and reads nothing outside its folder."""
    given = load_mapping(folder / "config.yaml")
    if not isinstance(given.get("schema"), Mapping):  # which `pack` writes out
        raise ValueError("config.yaml names a schema that lies elsewhere")
    if "://" in json.dumps(given.get("data"), default=str):
        raise ValueError("config.yaml names rows in another file system")
    config = RunConfig.load(folder / "config.yaml")
    if config.training.callbacks or config.first.get("callbacks"):
        raise ValueError("config.yaml names callbacks, which could be any code")
    named: list[pathlib.Path] = []
    config.plain(named.append)
    for path in named:
        if not path.is_relative_to(folder.resolve() / "data") or ".." in path.parts:
            raise ValueError(f"config.yaml names {shown(str(path))}, outside the run's data/")
