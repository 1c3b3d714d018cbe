"""deepctr is imported without asking anybody."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _offline():
    """As it is imported, deepctr looks for newer versions of itself, in a thread; a test does not."""
    import requests

    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "get", refuse)
        yield
