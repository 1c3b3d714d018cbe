"""Ali-CCP: impressions of Taobao's recommendation with clicks; a scene (field 301) is a domain.

Files: `sample_skeleton_train.csv` and `sample_skeleton_test.csv` (sample, click, conversion, key of the common
features, number of features, features) and `common_features_train.csv` and `common_features_test.csv` (key, number,
features), without headers. A feature is `field \\x02 id \\x03 value`; features are joined by `\\x01`. There are no
times, so the user's behaviour is what the common features list of it.

Reference: Ma et al., Entire Space Multi-Task Model (SIGIR 2018).
"""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from cdrzoo.data.datasets._pairs import MIN_COUNT
from cdrzoo.data.datasets._published import Published, keys, line_pieces, number, some_users, write
from cdrzoo.errors import DataError
from cdrzoo.schema import Domain, Feature, Schema, Table

HOME = "https://tianchi.aliyun.com/dataset/408"
FEATURES = "number of features, features (field \\x02 id \\x03 value, joined by \\x01)"
SAMPLES = f"no header; sample, click, conversion, key of the common features, {FEATURES}"
COMMON = f"no header; key, {FEATURES}"
FILES = {
    part: (
        Published(f"sample_skeleton_{part}.csv", size, HOME, SAMPLES),
        Published(f"common_features_{part}.csv", common, HOME, COMMON),
    )
    for part, size, common in (
        ("train", "42,300,135 rows, 10.9 GB", "about 730,000 rows, 8.6 GB"),
        ("test", "a row an impression", "a row a key"),
    )
}
ITEM = {"205": "item_id", "206": "category", "207": "shop", "210": "intention", "216": "brand"}
USER = {"101": "user_id", "121": "profile_121", "122": "profile_122", "124": "gender", "125": "age"}
USER |= {"126": "profile_126", "127": "profile_127", "128": "profile_128", "129": "profile_129"}
LISTS = {"109_14": "categories", "110_14": "shops", "127_14": "brands", "150_14": "intentions"}
TABLES = {"categories": "category", "shops": "shop", "brands": "brand", "intentions": "intention"}
LENGTH = 30
"""Ids of a list that a row keeps."""
SCENE = "301"
VALID = 0.1
"""Share of the training file, by a hash of the sample, that selects the model."""


def pair(
    folder: str | pathlib.Path,
    source: str = "1",
    target: str = "2",
    *,
    users: float = 1.0,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Two scenes.

    Args:
        folder: where the files are.
        source: the source's scene by its rank among the training rows: 1 has the most.
        target: the target's.
        users: share of the users' keys (those of the common features) that is kept.
        out: where the converted files go; default `rows` in the folder.

    Returns:
        Arguments of `prepare`: schema, sources, split (given: the published test file is the test).
    """
    out = pathlib.Path(out) if out else pathlib.Path(folder) / "rows"
    tag = f"_{users:g}" if users < 1 else ""
    names = {f"scene{rank}": number("A scene", rank) for rank in (source, target)}
    paths = {name: out / f"aliccp_{name}_of_{'_'.join(names)}{tag}.parquet" for name in names}
    raw = [files[0].within(folder) for files in FILES.values()]

    def pieces() -> Iterator[tuple[str, pa.Table]]:
        ranked = _ranked(folder)
        for rank in names.values():
            if not 1 <= rank <= len(ranked):
                raise DataError(
                    f"There are {len(ranked)} scenes, so a scene is 1 to {len(ranked)}. Received: {rank}."
                )
        for part in FILES:
            for piece in _samples(part, folder):
                kept = some_users(piece, users, "common")
                scenes = np.asarray(kept.column("scene").to_pylist(), object)
                for name, rank in names.items():
                    yield name, kept.filter(pa.array(scenes == ranked[rank - 1])).drop(["scene", "sample"])

    write(paths, pieces(), raw)
    common = out / "aliccp_common.parquet"
    found = (("common", piece) for part in FILES for piece in _common(part, folder))
    write({"common": common}, found, [files[1].within(folder) for files in FILES.values()])
    joins = [{"path": str(common), "on": "common"}]
    return {
        "schema": _schema(*names),
        "sources": {name: {"path": str(path), "join": joins} for name, path in paths.items()},
        "split": "given",
    }


def _ranked(folder: str | pathlib.Path) -> list[str]:
    """The scenes, those with the most training rows first."""
    counts: collections.Counter[str] = collections.Counter()
    for piece in _samples("train", folder):
        counts.update(piece.column("scene").to_pylist())
    return [scene for scene, _ in sorted(counts.items(), key=lambda found: (-found[1], found[0]))]


def _schema(source: str, target: str) -> Schema:
    profile = [name for name in USER.values() if name != "user_id"]
    features = (
        Feature("user", "id", "user", "string", "user", column="user_id"),
        *(Feature(name, "id", "user", "string", name) for name in profile),
        *(Feature(name, "ids", "user", "string", table, LENGTH) for name, table in TABLES.items()),
        Feature("item", "id", "item", "string", "item", column="item_id"),
        *(Feature(name, "id", "item", "string", name) for name in TABLES.values()),
    )
    tables = ("user", *profile, "item", *TABLES.values())
    return Schema(
        (Domain(source, features), Domain(target, features)),
        target,
        tuple(Table(name, min_count=MIN_COUNT) for name in tables),
    )


def _features(text: str) -> dict[str, list[str]]:
    """Ids by field."""
    found: dict[str, list[str]] = {}
    for feature in text.split("\x01") if text else ():
        field, rest = feature.split("\x02")
        found.setdefault(field, []).append(rest.split("\x03")[0])
    return found


def _samples(part: str, folder: str | pathlib.Path) -> Iterator[pa.Table]:
    def parse(line: str) -> tuple[Any, ...]:
        sample, click, _, common, _, features = line.split(",")
        ids = _features(features)
        of_item = (ids.get(field, [""])[0] for field in ITEM)
        return sample, int(click), f"{part}-{common}", ids.get(SCENE, [""])[0], *of_item

    types = dict.fromkeys(("sample", "label", "common", "scene", *ITEM.values()), pa.string())
    for piece in line_pieces(FILES[part][0], folder, parse, {**types, "label": pa.int64()}):
        valid = keys(piece.column("sample")) < np.uint64(int(VALID * 2**64))
        split = np.where(valid & (part == "train"), "valid", part)
        yield piece.append_column("split", pa.array(split.astype(object), pa.string()))


def _common(part: str, folder: str | pathlib.Path) -> Iterator[pa.Table]:
    def parse(line: str) -> tuple[Any, ...]:
        common, _, features = line.split(",")
        ids = _features(features)
        lists = ("|".join(ids.get(field, [])[-LENGTH:]) for field in LISTS)
        return f"{part}-{common}", *(ids.get(field, [""])[0] for field in USER), *lists

    types = dict.fromkeys(("common", *USER.values(), *LISTS.values()), pa.string())
    return line_pieces(FILES[part][1], folder, parse, types)
