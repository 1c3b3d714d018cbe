"""KuaiRand: impressions of short videos in an app's tabs, with clicks; a tab is a domain.

Files of an edition (Pure, 1K or 27K): `log_standard_4_08_to_4_21_1k.csv` and `log_standard_4_22_to_5_08_1k.csv` (27k:
each in two parts), `user_features_1k.csv` and `video_features_basic_1k.csv`, with headers. The random log and the
statistics of the videos are not read; the latter count events of the whole period.

Reference: Gao et al., KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos (CIKM 2022).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.datasets import _pairs
from cdrzoo.data.datasets._published import Published, csv_pieces, number, some_users, write
from cdrzoo.errors import DataError, shown
from cdrzoo.schema import Feature

HOME = "https://kuairand.com (https://zenodo.org/records/10439422)"
SIZES = {
    "pure": "1,436,609 rows in all",
    "1k": "11,713,045 rows in all",
    "27k": "322,278,385 rows in all, 46 GB",
}
LOGS = {
    "pure": ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv"),
    "1k": ("log_standard_4_08_to_4_21_1k.csv", "log_standard_4_22_to_5_08_1k.csv"),
    "27k": tuple(
        f"log_standard_{period}_27k_part{part}.csv"
        for period in ("4_08_to_4_21", "4_22_to_5_08")
        for part in (1, 2)
    ),
}
COLUMNS = {
    "user_id": pa.int64(),
    "video_id": pa.int64(),
    "time_ms": pa.int64(),
    "is_click": pa.int64(),
    "tab": pa.int64(),
}
OF_USERS = {
    name: pa.string()
    for name in (
        "user_active_degree",
        "is_video_author",
        "follow_user_num_range",
        "fans_user_num_range",
        "friend_user_num_range",
        "register_days_range",
    )
}
OF_VIDEOS = {name: pa.string() for name in ("author_id", "video_type", "upload_type", "music_id", "tag")}


def pair(
    folder: str | pathlib.Path,
    source: str = "1",
    target: str = "0",
    *,
    edition: str = "1k",
    users: float = 1.0,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Two tabs of the app.

    Args:
        folder: where the files are.
        source: the source's tab, 0 to 14; tab 1 has the most rows.
        target: the target's.
        edition: `pure`, `1k` or `27k`.
        users: share of the users that is kept.
        out: where the converted files go; default `rows` in the folder.

    Returns:
        Arguments of `prepare`: schema, sources (histories list clicks), split (by time: 70 % of the target rows train,
        10 % valid, 20 % test).
    """
    if edition not in LOGS:
        raise DataError(f"`edition` must be pure, 1k or 27k. Received: {shown(edition)}.")
    out = pathlib.Path(out) if out else pathlib.Path(folder) / "rows"
    tag = f"{edition}{f'_{users:g}' if users < 1 else ''}"
    tabs = {f"tab{tab}": number("A tab", tab) for tab in (source, target)}
    logs = [
        Published(name, SIZES[edition], HOME, f"a header with {', '.join(COLUMNS)} and others")
        for name in LOGS[edition]
    ]
    paths = {name: out / f"kuairand_{name}_of_{'_'.join(tabs)}_{tag}.parquet" for name in tabs}

    def pieces() -> Iterator[tuple[str, pa.Table]]:
        for log in logs:
            for piece in csv_pieces(log, folder, COLUMNS):
                kept = some_users(piece, users)
                for name, tab in tabs.items():
                    rows = kept.filter(pc.equal(kept.column("tab"), tab)).drop(["tab"])
                    yield name, rows.rename_columns(["user_id", "item_id", "timestamp", "label"])

    write(paths, pieces(), [log.within(folder) for log in logs])
    joins = [
        _side(folder, out, edition, "user_features", "user_id", "user_id", OF_USERS),
        _side(folder, out, edition, "video_features_basic", "video_id", "item_id", OF_VIDEOS),
    ]
    features = [
        *(Feature(name, "id", "user", "string", name) for name in OF_USERS),
        *(Feature(name, "id", "item", "string", name) for name in OF_VIDEOS if name != "tag"),
        Feature("tag", "ids", "item", "string", "tag", 5),
    ]
    return {
        "schema": _pairs.pair(f"tab{source}", f"tab{target}", features, ratings=False, time="timestamp"),
        "sources": {
            name: {"path": str(path), "join": joins, "separator": ",", "history_min_label": 1}
            for name, path in paths.items()
        },
        "split": dict(_pairs.TIME_SPLIT),
    }


def _side(
    folder: str | pathlib.Path,
    out: pathlib.Path,
    edition: str,
    file: str,
    key: str,
    renamed: str,
    types: Mapping[str, pa.DataType],
) -> dict[str, str]:
    """What is known of the users or of the videos, written as a file that is joined by its key."""
    published = Published(
        f"{file}_{edition}.csv", "a row a key", HOME, f"a header with {key}, {', '.join(types)}"
    )
    rows = csv_pieces(published, folder, {key: pa.int64(), **types})
    pieces = ((file, piece.rename_columns([renamed, *types])) for piece in rows)
    path = out / f"kuairand_{file}_{edition}.parquet"
    write({file: path}, pieces, [published.within(folder)])
    return {"path": str(path), "on": renamed}
