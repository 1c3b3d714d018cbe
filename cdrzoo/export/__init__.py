"""Export: a SavedModel of the target's part of a trained model, and the proof that it does what the model does.

`save` writes a version, `verify` replays recorded rows through it. The others turn rows of a log into what a server
takes.
"""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
