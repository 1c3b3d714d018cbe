"""Huawei's DIGIX 2022: clicks on advertisements (target) and on news in the browser's feed (source), seven days.

Files: `train_data_ads.csv` and `train_data_feeds.csv` of `2022_3_data.zip`, with headers; sets of ids are joined by
`^`. The competition's test files have no labels and are not read.

Reference: DIGIX Global AI Challenge 2022, advertisement and information flow cross-domain CTR prediction.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.datasets import _pairs
from cdrzoo.data.datasets._published import Published, csv_pieces, minutes, some_users, write
from cdrzoo.schema import Feature

HOME = "the DIGIX Global AI Challenge 2022 (a copy: https://www.kaggle.com/datasets/xiaojiu1414/digix-global-ai-challenge)"
ADS = Published(
    "train_data_ads.csv", "7,675,517 rows", HOME, "a header with label, user_id, adv_id, pt_d and 31 others"
)
FEEDS = Published(
    "train_data_feeds.csv",
    "a row an impression",
    HOME,
    "a header with u_userId, i_docId, label, e_et and 24 others",
)

SHARED = ("u_feedLifeCycle", "u_refreshTimes", "u_newsCatInterestsST")
OF_ADS = {
    "user": ("age", "gender", "residence", "city", "city_rank", "device_name", "device_size", "net_type"),
    "item": ("creat_type_cd", "adv_prim_id", "inter_type_cd", "spread_app_id", "app_second_class", "task_id"),
    "context": ("slot_id",),
}
OF_FEEDS = {
    "user": ("u_phonePrice", "u_browserLifeCycle", "u_browserMode"),
    "item": ("i_s_sourceId", "i_regionEntity", "i_cat", "i_dtype"),
    "context": ("e_ch", "e_section"),
}
LENGTH = 10
"""News categories a row keeps."""


def pair(
    folder: str | pathlib.Path,
    source: str = "feeds",
    target: str = "ads",
    *,
    users: float = 1.0,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """News and advertisements, either way.

    Args:
        folder: where the files are.
        source: `feeds` or `ads`.
        target: the other.
        users: share of the users that is kept.
        out: where the converted files go; default `rows` in the folder.

    Returns:
        Arguments of `prepare`: schema, sources (histories list clicks), split (by time: 70 % of the target rows train,
        10 % valid, 20 % test).
    """
    out = pathlib.Path(out) if out else pathlib.Path(folder) / "rows"
    tag = f"_{users:g}" if users < 1 else ""
    paths = {name: out / f"huawei_{name}{tag}.parquet" for name in (source, target)}
    readers = {
        "ads": (ADS, "user_id", "adv_id", "pt_d", OF_ADS),
        "feeds": (FEEDS, "u_userId", "i_docId", "e_et", OF_FEEDS),
    }
    for name, path in paths.items():
        published, user, item, time, features = readers[name]
        rows = _rows(published, folder, user, item, time, features)
        write({name: path}, ((name, some_users(piece, users)) for piece in rows), [published.within(folder)])
    common = (
        Feature("feed_life_cycle", "id", "user", "string", "feed_life_cycle", column="u_feedLifeCycle"),
        Feature("refresh_times", "id", "user", "string", "refresh_times", column="u_refreshTimes"),
        Feature(
            "news_interests", "ids", "user", "string", "news_category", LENGTH, column="u_newsCatInterestsST"
        ),
    )
    own = {
        name: [
            Feature(column, "id", role, "string", column)
            for role, columns in readers[name][4].items()
            for column in columns
        ]
        for name in paths
    }
    return {
        "schema": _pairs.pair(
            source, target, common, ratings=False, keys="string", own=own, time="timestamp"
        ),
        "sources": {
            name: {"path": str(path), "separator": "^", "history_min_label": 1}
            for name, path in paths.items()
        },
        "split": dict(_pairs.TIME_SPLIT),
    }


def _rows(
    published: Published,
    folder: str | pathlib.Path,
    user: str,
    item: str,
    time: str,
    features: dict[str, tuple[str, ...]],
) -> Iterator[pa.Table]:
    columns = [column for group in features.values() for column in group] + list(SHARED)
    types = {name: pa.string() for name in (user, item, time, *columns)}
    for piece in csv_pieces(published, folder, {**types, "label": pa.int64()}):
        made = {
            "user_id": piece.column(user),
            "item_id": piece.column(item),
            "timestamp": minutes(piece.column(time), f"{published.name}, column {time!r}"),
            "label": pc.cast(
                pc.equal(piece.column("label"), 1), pa.int64()
            ),  # not clicked is 0 in one file, -1 in the other
            **{column: piece.column(column) for column in columns},
        }
        yield pa.table(made)
