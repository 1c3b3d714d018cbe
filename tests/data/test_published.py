"""The loaders of published files, on small files of the published form."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.io import savemat

from cdrzoo.data import datasets, prepare
from cdrzoo.data.datasets import _published, amazon, taobao
from cdrzoo.errors import DataError


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def interactions(rows: int = 300, users: int = 25, items: int = 40) -> pd.DataFrame:
    rng = random()
    return pd.DataFrame(
        {
            "user": rng.integers(0, users, rows),
            "item": rng.integers(0, items, rows),
            "rating": rng.integers(1, 6, rows),
            "time": 86_400 * rng.integers(10_000, 10_100, rows),
        }
    )


@pytest.fixture
def pieces(monkeypatch):
    """Small pieces; what was written, piece by piece, and how many tables of raw rows were alive at once."""
    monkeypatch.setattr(_published, "ROWS", 16)
    monkeypatch.setattr(_published, "BLOCK", 1024)
    written = []
    original = parquet.ParquetWriter.write_table

    def write_table(self, table, *args, **kwargs):
        written.append(len(table))
        return original(self, table, *args, **kwargs)

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", write_table)
    return written


# Amazon ----------------------------------------------------------------------------------------------------------


def write_amazon(folder, edition: int, categories=("Books", "Movies_and_TV")) -> dict[str, pd.DataFrame]:
    found = {}
    for place, category in enumerate(categories):
        frame = interactions().assign(user=lambda f, p=place: f["user"] + 5 * p)  # some users in one alone
        found[category] = frame
        reviews = [
            {
                "reviewerID": f"A{row.user}",
                "asin": f"{category[0]}{row.item}",
                "reviewText": 'fine, \n"really"',
                "overall": float(row.rating),
                "unixReviewTime": int(row.time),
            }
            for row in frame.itertuples()
        ]
        name = f"{'reviews_' if edition == 2014 else ''}{category}_5.json.gz"
        with gzip.open(folder / name, "wt") as file:
            file.writelines(json.dumps(review) + "\n" for review in reviews)
        order = ["user", "item"] if edition == 2014 else ["item", "user"]
        plain = frame.assign(
            user="A" + frame["user"].astype(str), item=category[0] + frame["item"].astype(str)
        )
        plain["rating"] = plain["rating"].astype(float)
        name = f"{'ratings_' if edition == 2014 else ''}{category}.csv"
        plain[[*order, "rating", "time"]].to_csv(folder / name, index=False, header=False)
        items = [
            {
                "asin": f"{category[0]}{item}",
                "brand": "it's" if item % 2 else None,
                "categories": [["Top", f"c{item % 3}"]],
                "category": ["Top", f"c{item % 3}"],
            }
            for item in [*range(40), 3]  # one stands there twice
        ]
        with gzip.open(folder / f"meta_{category}.json.gz", "wt") as file:
            file.writelines((repr(i) if edition == 2014 else json.dumps(i)) + "\n" for i in items)
    return found


@pytest.mark.parametrize("edition", [2014, 2018])
def test_amazon(tmp_path, edition):
    raw = write_amazon(tmp_path, edition)
    made = prepare(**amazon.pair(tmp_path, edition=edition, metadata=True))
    assert sum(len(part.y) for part in made.parts["Movies_and_TV"].values()) == 300
    rows = pd.concat([made.frame("Movies_and_TV", part) for part in ("train", "valid", "test")])
    assert set(rows["user_id"]) == {f"A{user}" for user in raw["Movies_and_TV"]["user"]}
    assert (rows["brand"] == np.where(rows["item_id"].str[1:].astype(int) % 2, "it's", "")).all()
    assert (rows["category"] == "c" + (rows["item_id"].str[1:].astype(int) % 3).astype(str)).all()
    plain = prepare(**amazon.pair(tmp_path, edition=edition, core=False))
    assert plain.split.hash == made.split.hash  # the file of ratings holds the same here


def test_amazon_of_shared_users_and_of_a_share_of_them(tmp_path):
    raw = write_amazon(tmp_path, 2014)
    both = set.intersection(*(set(frame["user"]) for frame in raw.values()))
    arguments = amazon.pair(tmp_path, shared=True, task="rating")
    for name, frame in raw.items():
        rows = parquet.read_table(arguments["sources"][name]["path"]).to_pandas()
        assert set(rows["user_id"]) == {f"A{user}" for user in both}
        assert len(rows) == frame["user"].isin(both).sum()
    half = amazon.pair(tmp_path, users=0.5)
    users = [set(parquet.read_table(half["sources"][name]["path"])["user_id"].to_pylist()) for name in raw]
    assert 0 < len(users[0] | users[1]) < 30 and users[0] & users[1]
    assert users[0] - users[1] <= {f"A{user}" for user in range(5)}  # kept here, kept there
    with pytest.raises(DataError, match="share above 0"):
        amazon.pair(tmp_path, users=0.0)


def test_a_conversion_is_made_once_in_pieces_and_again_of_another_file(tmp_path, pieces):
    write_amazon(tmp_path, 2014)
    first = amazon.pair(tmp_path)
    assert max(pieces) <= 16 and sum(pieces) == 600
    amazon.pair(tmp_path)
    assert sum(pieces) == 600
    amazon.pair(tmp_path, out=tmp_path / "elsewhere")
    assert sum(pieces) == 1200

    os.utime(tmp_path / "reviews_Books_5.json.gz", (1, 1))  # downloaded again, with the server's date
    amazon.pair(tmp_path)
    assert sum(pieces) == 1500
    (tmp_path / "newer").mkdir()
    write_amazon(tmp_path / "newer", 2014)
    for name in ("Books", "Movies_and_TV"):
        raw = f"reviews_{name}_5.json.gz"
        shutil.copy2(tmp_path / raw, tmp_path / "newer" / raw)
    again = amazon.pair(tmp_path / "newer", out=tmp_path / "rows")
    assert sum(pieces) == 2100
    path = pathlib.Path(first["sources"]["Books"]["path"])
    assert again["sources"] == first["sources"]
    before = path.read_bytes()
    amazon.pair(tmp_path)
    assert path.read_bytes() == before  # what a run is known by: nothing of the place


@pytest.mark.parametrize("form", ["lines", "csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, form):
    monkeypatch.setattr(_published, "ROWS", 128)
    monkeypatch.setattr(_published, "BLOCK", 4096)
    held, original = [], parquet.ParquetWriter.write_table

    def write_table(self, table, *args, **kwargs):
        held.append(pa.total_allocated_bytes())
        return original(self, table, *args, **kwargs)

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", write_table)
    line = '{"reviewerID": "A1", "asin": "B2", "overall": 4.0, "unixReviewTime": 86400}'
    row = ("A1,B2,4.0,86400" if form == "csv" else line) + "\n"
    peaks = []
    for rows in (4_000, 32_000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        for category in ("Books", "Movies_and_TV"):
            name = f"ratings_{category}.csv" if form == "csv" else f"reviews_{category}_5.json"
            (folder / name).write_text(row * rows)
        held.clear()
        before = pa.total_allocated_bytes()
        amazon.pair(folder, core=form == "lines")
        assert len(held) >= 2 * rows / 128
        peaks.append(max(held) - before)
    assert peaks[1] < 2 * peaks[0]  # of eight times the rows


def test_what_is_missing_or_malformed_is_said(tmp_path):
    with pytest.raises(DataError, match=r"lacks reviews_Books_5.json.gz \(8,898,041 reviews.*index_2014"):
        amazon.pair(tmp_path)
    write_amazon(tmp_path, 2014)
    (tmp_path / "reviews_Books_5.json.gz").unlink()
    (tmp_path / "reviews_Books_5.json").write_text('{"reviewerID": "A", "asin": "B"}\n')
    with pytest.raises(DataError, match="line 1 is not as published.*overall.*Wanted: a JSON object a line"):
        amazon.pair(tmp_path)
    assert not list(tmp_path.glob("rows/*Books*.parquet"))  # nothing that looks like a result
    (tmp_path / "reviews_Books_5.json").unlink()
    (tmp_path / "reviews_Books_5.json.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="reviews_Books_5.json.gz is a damaged or cut-off gzip"):
        amazon.pair(tmp_path)
    (tmp_path / "ratings_Books.csv").write_text("A1,B1,5.0,yesterday\n")
    with pytest.raises(DataError, match="ratings_Books.csv.*Wanted: no header; user, item"):
        amazon.pair(tmp_path, core=False)
    (tmp_path / "ratings_Books.csv").write_text("A1,B1,5.0\n")
    with pytest.raises(DataError, match="ratings_Books.csv.*Wanted: no header; user, item"):
        amazon.pair(tmp_path, core=False)
    with pytest.raises(DataError, match="2014 or 2018"):
        amazon.pair(tmp_path, edition=2016)


# Taobao ----------------------------------------------------------------------------------------------------------


def write_taobao(folder) -> pd.DataFrame:
    rng, rows = random(), 800
    frame = pd.DataFrame(
        {
            "user": rng.integers(1, 30, rows),
            "item": rng.integers(1, 60, rows),
            "behaviour": rng.choice(["pv", "buy", "cart", "fav"], rows, p=[0.85, 0.05, 0.05, 0.05]),
            "time": rng.integers(taobao.FIRST, taobao.END, rows),
        }
    )
    frame["category"] = np.minimum(frame["item"] % 8, frame["item"] % 5)  # small numbers are the large ones
    frame.loc[:3, "time"] = [-1511539200, 0, 1511539199, 2122867355]  # as in the file
    columns = ["user", "item", "category", "behaviour", "time"]
    frame[columns].to_csv(folder / "UserBehavior.csv", index=False, header=False)
    return frame


def test_taobao(tmp_path, pieces):
    raw = write_taobao(tmp_path)
    arguments = taobao.pair(tmp_path)
    assert max(pieces) <= 16
    right = raw[(raw["behaviour"] == "pv") & raw["time"].between(taobao.FIRST, taobao.END - 1)]
    rows = {n: parquet.read_table(s["path"]).to_pandas() for n, s in arguments["sources"].items()}
    assert sum(map(len, rows.values())) == len(right)
    counts = right["category"].value_counts()
    assert (
        counts[list(set(rows["large"]["category"]))].min()
        >= counts[list(set(rows["small"]["category"]))].max()
    )
    assert not set(rows["large"]["category"]) & set(rows["small"]["category"])
    assert len(rows["large"]) >= 0.7 * len(right)
    made = prepare(**arguments)
    test = made.frame("small", "test")
    assert (test["timestamp"] >= taobao.TEST).all() and test["label"].mean() == 0.5
    train = made.frame("small", "train")
    assert (train["timestamp"] < taobao.VALID).all()
    assert set(test.columns) >= {"category", "large_items", "small_items"}


# Others ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "dat"])
def test_movielens(tmp_path, form):
    frame = interactions()
    genres = {
        film: [["Comedy"], ["Horror"], ["Comedy", "Horror"], ["Sci-Fi"]][film % 4] for film in range(40)
    }
    if form == "csv":
        frame.columns = ["userId", "movieId", "rating", "timestamp"]
        frame.to_csv(tmp_path / "ratings.csv", index=False)
        films = pd.DataFrame(
            {
                "movieId": list(genres),
                "title": "A film, (1999)",
                "genres": ["|".join(g) for g in genres.values()],
            }
        )
        films.to_csv(tmp_path / "movies.csv", index=False)
    else:
        (tmp_path / "ratings.dat").write_text(
            "".join(f"{r.user}::{r.item}::{r.rating}::{r.time}\n" for r in frame.itertuples())
        )
        (tmp_path / "movies.dat").write_text(
            "".join(f"{film}::A film: again (1999)::{'|'.join(g)}\n" for film, g in genres.items())
        )
    made = prepare(**datasets.movielens.pair(tmp_path, "Comedy", "Horror", task="rating"))
    for name, rest in (("Comedy", 0), ("Horror", 1)):
        items = pd.concat([made.frame(name, p)["item_id"] for p in ("train", "valid", "test")])
        assert (items % 4 == rest).all() and len(items) > 30
    assert "Sci_Fi" in datasets.movielens.pair(tmp_path, "Sci-Fi", "Horror")["sources"]
    with pytest.raises(
        DataError, match="No film has the genre 'Drama'. Genres of the file: Comedy, Horror, Sci-Fi"
    ):
        datasets.movielens.pair(tmp_path, "Drama", "Horror")
    films = tmp_path / f"movies.{form}"  # what a film is is in no rating
    films.write_text(films.read_text().replace("Sci-Fi", "Horror"))
    made = prepare(**datasets.movielens.pair(tmp_path, "Comedy", "Horror", task="rating"))
    assert set(made.frame("Horror", "train")["item_id"] % 4) == {1, 3}


def test_huawei(tmp_path, pieces):
    rng, rows = random(), 300
    times = pd.date_range("2022-06-01", periods=rows, freq="20min").strftime("%Y%m%d%H%M")
    files = {"ads": datasets.huawei.OF_ADS, "feeds": datasets.huawei.OF_FEEDS}
    for name, features in files.items():
        user, item, time = ("user_id", "adv_id", "pt_d") if name == "ads" else ("u_userId", "i_docId", "e_et")
        frame = pd.DataFrame(
            {"log_id": range(rows), "label": rng.choice([0 if name == "ads" else -1, 1], rows), time: times}
        )
        frame[user], frame[item] = rng.integers(1e5, 1e5 + 20, rows), rng.integers(1, 30, rows)
        for column in [c for group in features.values() for c in group] + [
            "u_feedLifeCycle",
            "u_refreshTimes",
        ]:
            frame[column] = rng.integers(0, 4, rows)
        frame["u_newsCatInterestsST"] = "39^220^16"
        frame.to_csv(tmp_path / f"train_data_{name}.csv", index=False)
    made = prepare(**datasets.huawei.pair(tmp_path))
    assert max(pieces) <= 16
    assert made.schema.target == "ads"
    frame = made.frame("ads", "test")
    assert list(frame["u_newsCatInterestsST"].iloc[0]) == ["39", "220", "16"]
    assert pd.to_datetime(frame["timestamp"].max(), unit="s").strftime("%Y%m%d%H%M") == times[-1]
    feeds = made.frame("feeds", "train")
    assert set(feeds["label"]) == {0, 1}
    clicked = set(feeds.loc[feeds["label"] == 1, "i_docId" if "i_docId" in feeds else "item_id"])
    assert {item for listed in feeds["feeds_items"] for item in listed} <= clicked  # histories list clicks
    bad = pd.read_csv(tmp_path / "train_data_ads.csv").assign(pt_d="June")
    bad.to_csv(tmp_path / "train_data_ads.csv", index=False)
    with pytest.raises(DataError, match="YYYYMMDDHHMM"):
        datasets.huawei.pair(tmp_path, out=tmp_path / "other")


@pytest.mark.parametrize("site", ["ciao", "epinions"])
def test_ciao_and_epinions(tmp_path, site):
    rng, rows = random(), 600
    matrix = np.stack(
        [
            rng.integers(1, 25, rows),
            rng.integers(1, 60, rows),
            rng.integers(1, 3, rows),
            rng.integers(0, 6, rows),
            rng.integers(0, 6, rows),
            86_400 * rng.integers(11_000, 11_100, rows),
        ],
        axis=1,
    ).astype(float)
    savemat(
        tmp_path / "rating_with_timestamp.mat",
        {"rating" if site == "ciao" else "rating_with_timestamp": matrix},
    )
    pair = getattr(datasets, site).pair
    arguments = pair(tmp_path, "01", "02", task="rating")
    raw = pd.DataFrame(matrix, columns=["user_id", "item_id", "cat", "rating", "help", "timestamp"])
    wanted = raw[(raw["cat"] == 2) & (raw["rating"] > 0)].drop_duplicates(["user_id", "item_id"], keep="last")
    found = parquet.read_table(arguments["sources"]["cat02"]["path"]).to_pandas()
    pd.testing.assert_frame_equal(
        found.astype(float), wanted.drop(columns=["cat", "help"]).reset_index(drop=True), check_dtype=False
    )
    assert prepare(**arguments).schema.target == "cat02"
    with pytest.raises(DataError, match="gives no rows for 'cat77'"):
        pair(tmp_path, "01", "77")
    with pytest.raises(DataError, match="named by its number"):
        pair(tmp_path, "books", "02")
    savemat(tmp_path / "rating_with_timestamp.mat", {"rating": matrix[:, :4]})
    with pytest.raises(DataError, match="six columns.*Received: one of shape"):
        pair(tmp_path, "01", "02", out=tmp_path / "other")
    (tmp_path / "rating_with_timestamp.mat").write_bytes(b"no matrix at all" * 20)
    with pytest.raises(DataError, match="is not as published"):
        pair(tmp_path, "01", "02", out=tmp_path / "other")


def test_douban_as_it_is_published(tmp_path):
    for name in ("book", "music"):
        (tmp_path / f"douban_{name}").mkdir()
        lines = [f"{r.user}\t{r.item}\t{r.rating}\n" for r in interactions().itertuples()]
        (tmp_path / f"douban_{name}" / "ratings.dat").write_text("".join(lines))
    made = prepare(**datasets.douban.pair(tmp_path, "music", "book"))
    assert made.schema.target == "book" and sum(len(p.y) for p in made.parts["music"].values()) == 300
    (tmp_path / "douban_book" / "ratings.dat").write_text("1,2,3\n")
    with pytest.raises(
        DataError, match="Wanted: user, item and rating, separated by tabs. Received: '1,2,3'"
    ):
        datasets.douban.pair(tmp_path, out=tmp_path / "other")


def test_kuairand(tmp_path, pieces):
    rng, rows = random(), 400
    for place, log in enumerate(datasets.kuairand.LOGS["1k"]):
        frame = pd.DataFrame(
            {
                "user_id": rng.integers(0, 20, rows),
                "video_id": rng.integers(0, 50, rows),
                "date": 20220408,
                "hourmin": 1200,
                "time_ms": 1_650_000_000_000 + 10**9 * place + rng.integers(0, 10**9, rows),
                "is_click": rng.integers(0, 2, rows),
                "is_like": 0,
                "tab": rng.choice([0, 1, 4], rows),
            }
        )
        frame.to_csv(tmp_path / log, index=False)
    columns = dict.fromkeys(datasets.kuairand.OF_USERS, "x")
    pd.DataFrame({"user_id": range(20), **columns}).to_csv(tmp_path / "user_features_1k.csv", index=False)
    columns = {name: "y" for name in datasets.kuairand.OF_VIDEOS if name != "tag"}
    videos = pd.DataFrame({"video_id": range(50), **columns, "tag": ["39,8", ""] * 25})
    videos.to_csv(tmp_path / "video_features_basic_1k.csv", index=False)
    made = prepare(**datasets.kuairand.pair(tmp_path))
    assert max(pieces) <= 16
    assert made.schema.target == "tab0"
    frame = made.frame("tab0", "test")
    assert (frame["user_active_degree"] == "x").all()
    assert all(list(t) == (["39", "8"] if i % 2 == 0 else []) for t, i in zip(frame["tag"], frame["item_id"]))
    assert frame["timestamp"].min() > 1_650_000_000_000
    with pytest.raises(DataError, match="pure, 1k or 27k"):
        datasets.kuairand.pair(tmp_path, edition="2k")


def test_ali_ccp(tmp_path, pieces):
    rng = random()

    def features(**fields):
        one = [f"{k[1:]}\x02{v}\x031.0" for k, vs in fields.items() for v in np.atleast_1d(vs)]
        return f"{len(one)},{chr(1).join(one)}"

    for part, rows in (("train", 400), ("test", 120)):
        with open(tmp_path / f"common_features_{part}.csv", "w") as file:
            for user in range(20):
                listed = features(
                    _101=1000 + user, _121=user % 3, _124=user % 2, _109_14=[7, 8, 9], _150_14=[4]
                )
                file.write(f"k{user},{listed}\n")
        with open(tmp_path / f"sample_skeleton_{part}.csv", "w") as file:
            for sample in range(rows):
                item, scene = rng.integers(0, 30), rng.choice([11, 12, 13], p=[0.2, 0.5, 0.3])
                listed = features(
                    _205=item, _206=item % 4, _207=item % 5, _210=[1, 2], _216=item % 6, _301=scene
                )
                file.write(f"{sample},{sample % 2},0,k{rng.integers(0, 20)},{listed}\n")
    made = prepare(**datasets.ali_ccp.pair(tmp_path))
    assert max(pieces) <= 16
    parts = made.split.summary["scene2"]  # scene 13: the second by rows
    assert 20 < parts["test"]["rows"] < 60 and 60 < parts["train"]["rows"] + parts["valid"]["rows"] < 160
    assert parts["valid"]["rows"] > 0
    assert made.split.summary["scene1"]["train"]["rows"] > parts["train"]["rows"]
    frame = made.frame("scene2", "test")
    assert frame["user_id"].str.startswith("10").all()
    assert all(list(listed) == ["7", "8", "9"] for listed in frame["categories"])
    assert (frame["category"] == (frame["item_id"].astype(int) % 4).astype(str)).all()
    with pytest.raises(DataError, match="There are 3 scenes"):
        datasets.ali_ccp.pair(tmp_path, "1", "9")
    (tmp_path / "sample_skeleton_train.csv").write_text("1,0,0,k1\n")
    with pytest.raises(DataError, match="line 1 is not as published.*Wanted: no header; sample, click"):
        datasets.ali_ccp.pair(tmp_path, out=tmp_path / "other")


def test_a_file_may_lie_deeper_and_be_packed(tmp_path):
    published = _published.Published("log.csv", "small", "https://home", "a header with user")
    (tmp_path / "x" / "data").mkdir(parents=True)
    with gzip.open(tmp_path / "x" / "data" / "log.csv.gz", "wt") as file:
        file.write("user,other\n1,a\n2,b\n")
    (piece,) = _published.csv_pieces(published, tmp_path, {"user": pa.int64()})
    assert piece.to_pydict() == {"user": [1, 2]}
    with pytest.raises(DataError, match="Wanted: a header with user"):
        list(_published.csv_pieces(published, tmp_path, {"usr": pa.int64()}))
