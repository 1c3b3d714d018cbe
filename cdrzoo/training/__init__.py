"""Training: a run, from a configuration to a folder with a trained model. Command line and pipeline share it."""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
