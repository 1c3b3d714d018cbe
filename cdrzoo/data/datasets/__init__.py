"""Public datasets: one file each; a function takes the folder they lie in and gives schema, sources and split.

What it gives goes to `prepare` as it stands: `prepare(**datasets.ciao.pair(folder, "01", "02"))`. Files that are
not read as they are published are first turned into Parquet, once and a piece at a time, in the folder `out`.
"""

from __future__ import annotations

from cdrzoo.data.datasets import (
    ali_ccp,
    amazon,
    amazon_food_kitchen,
    amazon_subcat,
    ciao,
    douban,
    epinions,
    huawei,
    kuairand,
    movielens,
    taobao,
)

__all__ = [
    "ali_ccp",
    "amazon",
    "amazon_food_kitchen",
    "amazon_subcat",
    "ciao",
    "douban",
    "epinions",
    "huawei",
    "kuairand",
    "movielens",
    "taobao",
]
