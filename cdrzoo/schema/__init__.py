"""The schema: what a row of each domain is.

A `Schema` names the domains, one of them the *target*, and the embedding *tables*. A `Feature` says how one column is
read and which table it looks up. Features of the same table share an embedding (an item and the history of that item;
a user in two domains). Features of the same *name* in two domains fill the same slot: what two domains both list is
shared, what one lists alone is specific to it.

This room imports neither TensorFlow nor Keras: a schema is checked in milliseconds, before any long work starts.
"""

from __future__ import annotations

from cdrzoo import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
