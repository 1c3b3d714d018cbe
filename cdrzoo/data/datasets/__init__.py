"""Public datasets: one file each; a function takes the folder they lie in and gives schema, sources and split.

What it gives goes to `prepare` as it stands: `prepare(**datasets.ciao.pair(folder, "01", "02"))`.
"""

from __future__ import annotations

from cdrzoo.data.datasets import amazon_food_kitchen, amazon_subcat, ciao, douban

__all__ = ["amazon_food_kitchen", "amazon_subcat", "ciao", "douban"]
