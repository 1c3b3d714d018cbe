"""From logs to Keras batches: readers, histories, labels, splits, the encoder, batches, synthetic logs.

`prepare` is the front door. What stands in the stub beside this file is imported when it is first asked for, so that
a schema error or `--help` never waits for pandas or TensorFlow.
"""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
