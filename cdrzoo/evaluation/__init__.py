"""Evaluation: statistics, simple baselines, and what a source was worth against training on the target alone."""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
