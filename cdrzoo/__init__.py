"""cdrzoo: a Keras 3 model zoo for cross-domain recommendation.

What it offers stands in the stub beside this file, and is imported when it is first asked for.
"""

from __future__ import annotations

from cdrzoo import lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
