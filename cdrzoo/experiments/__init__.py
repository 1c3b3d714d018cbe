"""Experiments: what is trained on what, with which numbers, and what came out. The only place that knows everything."""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
