"""A packed run is the run, elsewhere; an archive that somebody made up does nothing."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import yaml

import cdrzoo
from cdrzoo import cli
from cdrzoo.errors import InputError
from cdrzoo.training import packing

RUNS = pathlib.Path(__file__).with_name("finished")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A run of two stages, as an archive."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(RUNS, home / "runs")
    (home / "runs/mkt/logs").mkdir()
    (home / "runs/mkt/logs/events.out.tfevents.1.host.v2").write_text("of this machine")
    assert packing.pack(home / "runs/mkt", home / "mkt.tar.zst") == ["data/books.csv", "data/films.csv"]
    return home / "mkt.tar.zst"


def raw(archive: pathlib.Path) -> bytes:
    with pa.input_stream(str(archive), compression="zstd") as stream:
        return stream.read()


@pytest.mark.slow
def test_it_is_the_run_elsewhere(packed, tmp_path, capsys):
    assert cli.main(["unpack", str(packed), "--out", str(tmp_path / "deep" / "mkt")]) == 0
    assert "Next: cdrzoo export" in capsys.readouterr().out
    run, was = cdrzoo.load_run(tmp_path / "deep" / "mkt"), packed.parent / "runs/mkt"
    there = {path.relative_to(was) for path in was.rglob("*") if path.is_file()}
    missing = {path for path in there if not (run.folder / path).exists()}
    assert {path.name for path in missing} == {"scores.npy", "events.out.tfevents.1.host.v2"}
    for path in there - missing - {pathlib.Path("config.yaml")}:
        assert (run.folder / path).read_bytes() == (was / path).read_bytes()
    assert str(packed.parent).encode() not in raw(packed) and b"pickle" not in raw(packed)
    shutil.copytree(RUNS / "demo", run.folder / "data")
    np.testing.assert_allclose(run.evaluate()["auc"], run.metrics["test"]["auc"], atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["mkt"]
    shutil.rmtree(run.folder / "data")  # the proof of an export needs no rows of the run
    alone = cdrzoo.load_run(run.folder)
    assert "the run's rows are not as they were" in str(alone.verify(alone.export(tmp_path / "served")))


def test_the_same_run_gives_the_same_bytes(packed, tmp_path):
    packing.pack(packed.parent / "runs/mkt", tmp_path / "again.tar.zst")
    assert (tmp_path / "again.tar.zst").read_bytes() == packed.read_bytes()


def test_nothing_is_overwritten_and_no_run_is_said(packed, tmp_path, capsys):
    run, full = packed.parent / "runs/mkt", tmp_path / "full"
    full.mkdir()
    (full / "x").touch()
    for given, said in (
        (["pack", str(run), "--out", str(packed)], "exists"),
        (["pack", str(run), "--out", str(tmp_path / "x.zip")], "must end in .tar.zst"),
        (["pack", str(run), "--out", str(tmp_path / "no" / "x.tar.zst")], "no folder"),
        (["pack", str(full), "--out", str(tmp_path / "x.tar.zst")], "no finished run"),
        (["unpack", str(packed), "--out", str(full)], "not empty"),
        (["unpack", str(full), "--out", str(tmp_path / "y")], "is no file"),
        (["export", str(packed), "--to", str(tmp_path / "y")], "Unpack it first"),
    ):
        assert cli.main(given) == 2 and said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_callbacks_are_not_packed_and_files_of_one_name_stay_apart(packed, tmp_path):
    shutil.copytree(packed.parent / "runs/mkt", tmp_path / "run")
    config = cdrzoo.RunConfig.load(tmp_path / "run/config.yaml").with_changes(
        {"callbacks": ["my.Logger"], "first.callbacks": ["my.Logger"]}
    )
    data = {"books": "/mine/01/ratings.csv", "films": {"path": ["/mine/02/ratings.csv"]}}
    plain = {**config.to_dict(), "data": data}
    (tmp_path / "run/config.yaml").write_text(json.dumps(plain))
    places = packing.pack(tmp_path / "run", tmp_path / "x.tar.zst")
    assert places == ["data/01/ratings.csv", "data/02/ratings.csv"]
    unpacked = cdrzoo.load_run(packing.unpack(tmp_path / "x.tar.zst", tmp_path / "there"))
    assert unpacked.config.training.callbacks is None and "callbacks" not in unpacked.config.first
    assert b"my.Logger" not in raw(tmp_path / "x.tar.zst")


def members(archive: pathlib.Path) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw(archive))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def write(path: pathlib.Path, content: dict[str, bytes], change=None, **listed) -> pathlib.Path:
    """An archive as `pack` writes it, with what `change` makes of a member's header, and other entries in its list."""
    content = dict(content)
    content.pop(packing.MANIFEST)
    entries = {name: [len(of), hashlib.sha256(of).hexdigest()] for name, of in content.items()} | listed
    manifest = json.dumps({"files": entries}).encode()
    with (
        pa.output_stream(str(path), compression="zstd") as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        for name, of in {packing.MANIFEST: manifest, **content}.items():
            member = tarfile.TarInfo(name)
            member.size = len(of)
            for key, value in (change or {}).get(name, {}).items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(of))
    return path


def config(old: bytes, new: bytes):
    """Another configuration."""
    return lambda good: ({**good, "config.yaml": good["config.yaml"].replace(old, new)}, {})


def header(**changed):
    """Another header of a member."""
    return lambda good: (good, {"change": {"split.json": changed}})


def listed(size: object, digest: str = "0" * 64, name: str = "split.json"):
    """Another entry in the list."""
    return lambda good: (good, {name: [size, digest]})


def schema_of_a_file(config_yaml: bytes) -> bytes:
    return yaml.safe_dump({**yaml.safe_load(config_yaml), "schema": "/etc/passwd"}).encode()


EVIL = {
    "a path upwards": (lambda good: ({**good, "../x": b""}, {}), "no file of a run"),
    "a path upwards inside": (
        lambda good: ({**good, "encoder/vocab/../../x.txt": b""}, {}),
        "no file of a run",
    ),
    "an absolute path": (lambda good: ({**good, "/tmp/x": b""}, {}), "no file of a run"),
    "a file of no run": (lambda good: ({**good, "sitecustomize.py": b""}, {}), "no file of a run"),
    "a link": (header(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
    "a hard link": (header(type=tarfile.LNKTYPE, linkname="model.keras"), "no plain file"),
    "a device": (header(type=tarfile.CHRTYPE), "no plain file"),
    "a folder": (header(type=tarfile.DIRTYPE), "no plain file"),
    "another name than listed": (header(name="../split.json"), "was wanted next"),
    "a bomb in a header": (header(pax_headers={"comment": "x" * (1 << 24)}), "more than it says"),
    "another content": (listed(1 << 12), "not what was packed"),
    "a size that is none": (listed(-5), "size of split.json"),
    "a size that is a text": (listed("9"), "size of split.json"),
    "a bomb that says so": (listed(10**13), "would become"),
    "a bomb that says another size": (
        lambda good: ({**good, "split.json": bytes(1 << 24)}, {"split.json": [9, ""]}),
        "no plain file of at most 9 bytes",
    ),
    "a bomb of a list": (
        listed(0, name="x" * (1 << 22)),
        "no plain file of at most 1,048,576",
    ),
    "callbacks": (config(b"  xla: null", b"  callbacks: [os.system]"), "could be any code"),
    "a path of this machine": (config(b"data/films.csv", b"/etc/passwd"), "outside the run's data"),
    "a home folder": (config(b"data/films.csv", b"~/films.csv"), "outside the run's data"),
    "rows elsewhere": (config(b"data/films.csv", b"data/../../x.csv"), "outside the run's data"),
    "rows in another file system": (config(b"data/films.csv", b"s3://x/films.csv"), "another file system"),
    "a schema that lies elsewhere": (
        lambda good: ({**good, "config.yaml": schema_of_a_file(good["config.yaml"])}, {}),
        "a schema that lies elsewhere",
    ),
    "no model": (
        lambda good: ({name: of for name, of in good.items() if name != "model.keras"}, {}),
        "model.keras is missing",
    ),
}


@pytest.mark.parametrize("what", EVIL)
def test_an_archive_that_is_made_up_is_refused(what, packed, tmp_path):
    make, said = EVIL[what]
    content, how = make(members(packed))
    write(tmp_path / "evil.tar.zst", content, **how)
    with pytest.raises(InputError, match=rf"evil\.tar\.zst is damaged.*({said})"):
        packing.unpack(tmp_path / "evil.tar.zst", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar.zst"]


def test_an_archive_that_is_cut_off_or_none_is_refused(packed, tmp_path):
    whole, zeros = packed.read_bytes(), pa.compress(bytes(1 << 24), "zstd", asbytes=True)
    write(tmp_path / "good.tar.zst", members(packed))
    packing.unpack(tmp_path / "good.tar.zst", tmp_path / "good")  # what `write` writes is not refused as such
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:-2000], zeros):
        (tmp_path / "cut.tar.zst").write_bytes(content)
        with pytest.raises(InputError, match=r"cut\.tar\.zst is damaged"):
            packing.unpack(tmp_path / "cut.tar.zst", tmp_path / "run")
    assert not (tmp_path / "run").exists()
