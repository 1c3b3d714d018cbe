"""Reports: self-contained HTML pages of runs, comparisons and transfer reports."""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
