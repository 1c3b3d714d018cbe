"""MovieLens: ratings of films with times; two genres are the domains.

Files: `ratings.csv` and `movies.csv` (20M, 25M, 32M, latest: with a header), or `ratings.dat` and `movies.dat` (1M,
10M: no header, `::` between the columns). A film is in a genre's domain if it has that genre and not the other one's.

Reference: Harper and Konstan, The MovieLens Datasets (ACM TiiS 2015).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cdrzoo.data.datasets import _pairs
from cdrzoo.data.datasets._published import Published, csv_pieces, line_pieces, some_users, write
from cdrzoo.errors import DataError

HOME = "https://grouplens.org/datasets/movielens/"
SIZE = "ml-1m 1,000,209 ratings, ml-10m 10,000,054, ml-20m 20,000,263, ml-25m 25,000,095"
CSV = (
    Published("ratings.csv", SIZE, HOME, "a header; userId,movieId,rating,timestamp"),
    Published("movies.csv", "a film a line", HOME, "a header; movieId,title,genres (joined by |)"),
)
DAT = (
    Published("ratings.dat", SIZE, HOME, "UserID::MovieID::Rating::Timestamp"),
    Published("movies.dat", "a film a line", HOME, "MovieID::Title::Genres (joined by |)"),
)
RATINGS = {"userId": pa.int64(), "movieId": pa.int64(), "rating": pa.float32(), "timestamp": pa.int64()}
FILMS = {"movieId": pa.int64(), "title": pa.string(), "genres": pa.string()}
NAMES = ["user_id", "item_id", "rating", "timestamp"]


def pair(
    folder: str | pathlib.Path,
    source: str = "Comedy",
    target: str = "Horror",
    *,
    task: str = "click",
    users: float = 1.0,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Two genres.

    Args:
        folder: where the files are.
        source: the source's genre, as the files write it.
        target: the target's.
        task: `click` (a rating of at least 4) or `rating`.
        users: share of the users that is kept.
        out: where the converted files go; default `rows` in the folder.

    Returns:
        Arguments of `prepare`: schema, sources, split (by time: 70 % of the target rows train, 10 % valid, 20 % test).
    """
    out = pathlib.Path(out) if out else pathlib.Path(folder) / "rows"
    genres = {_word(genre): genre for genre in (source, target)}
    films = _films(folder)
    known = sorted({genre for listed in films.values() for genre in listed})
    for genre in (source, target):
        if genre not in known:
            raise DataError(f"No film has the genre {genre!r}. Genres of the file: {', '.join(known)}.")
    both = set(genres.values())
    of = {
        name: pa.array([film for film, listed in films.items() if both & listed == {genre}], pa.int64())
        for name, genre in genres.items()
    }
    tag = f"{'_'.join(genres)}{f'_{users:g}' if users < 1 else ''}"
    paths = {name: out / f"movielens_{name}_of_{tag}.parquet" for name in genres}

    def pieces() -> Iterator[tuple[str, pa.Table]]:
        for piece in _ratings(folder):
            kept = some_users(piece.rename_columns(NAMES), users)
            for name, items in of.items():
                yield name, kept.filter(pc.is_in(kept.column("item_id"), value_set=items))

    write(paths, pieces(), [published.within(folder) for published in _files(folder)])
    first, second = genres
    threshold = 4 if task == "click" else None
    return {
        "schema": _pairs.pair(
            first, second, label="rating", task=task, threshold=threshold, time="timestamp"
        ),
        "sources": {name: {"path": str(path)} for name, path in paths.items()},
        "split": dict(_pairs.TIME_SPLIT),
    }


def _word(genre: str) -> str:
    """The genre as the name of a domain: letters, digits and underscores."""
    return "".join(letter if letter.isalnum() else "_" for letter in genre)


def _files(folder: str | pathlib.Path) -> tuple[Published, Published]:
    """The files of the form that is there."""
    try:
        DAT[0].within(folder)
    except DataError:
        return CSV
    return DAT


def _ratings(folder: str | pathlib.Path) -> Iterator[pa.Table]:
    published = _files(folder)[0]
    if published.name == "ratings.csv":
        return csv_pieces(published, folder, RATINGS)

    def parse(line: str) -> tuple[Any, ...]:
        user, film, rating, time = line.split("::")
        return int(user), int(film), float(rating), int(time)

    return line_pieces(published, folder, parse, RATINGS)


def _films(folder: str | pathlib.Path) -> dict[int, set[str]]:
    """Genres of each film."""
    published = _files(folder)[1]
    if published.name == "movies.csv":
        pieces = csv_pieces(published, folder, FILMS)
    else:

        def parse(line: str) -> tuple[Any, ...]:
            film, title, genres = line.split("::")
            return int(film), title, genres

        pieces = line_pieces(published, folder, parse, FILMS)
    return {
        film: set(genres.split("|"))
        for piece in pieces
        for film, genres in zip(
            piece.column("movieId").to_pylist(), piece.column("genres").to_pylist(), strict=True
        )
    }
