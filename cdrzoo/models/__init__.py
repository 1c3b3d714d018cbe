"""The models. A model is imported when it is asked for; what there is stands in the stub beside this file."""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
