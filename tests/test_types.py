"""What completion and type checkers see of the package: every name, with its type."""

from __future__ import annotations

import importlib

import pytest

import cdrzoo
from cdrzoo.models import CARDS

ROOMS = (
    "",
    *(
        f".{room}"
        for room in "data evaluation experiments export models report schema serving training".split()
    ),
)
FILES = (".errors", ".metrics", ".optimizers", ".training.callbacks")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_what_it_offers_and_nothing_else(room):
    module = importlib.import_module(f"cdrzoo{room}")
    assert dir(module) == module.__all__ == sorted(set(dir(module)))
    assert not {"Any", "annotations", "difflib", "importlib", "lazy"} & set(dir(module))
    for name in dir(module):
        assert getattr(module, name) is not None, name
    with pytest.raises(AttributeError, match=rf"'cdrzoo{room}' has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("file", FILES)
def test_a_public_file_shows_its_own_names(file):
    module = importlib.import_module(f"cdrzoo{file}")
    assert dir(module) == module.__all__ == sorted(set(dir(module)))
    for name in dir(module):
        value = getattr(module, name)
        assert getattr(value, "__module__", module.__name__) == module.__name__, name


def test_every_model_is_among_the_models():
    """Its card and its line in the stub name one class."""
    assert {card.cls for card in CARDS} == {name for name in dir(cdrzoo.models) if name[0].isupper()} - {
        "CARDS",
        "ModelCard",
    }
    for card in CARDS:
        assert getattr(cdrzoo.models, card.cls) is card.load()
