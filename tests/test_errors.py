"""Values in messages: short however large they are, and in time that does not grow with them."""

import time

import pytest

from cdrzoo.errors import InputError, check_choice, check_known, shown


def _nested(levels):
    value = "x" * 100
    for _ in range(levels):
        value = [value] * 8
    return value


def test_short_values_are_shown_whole():
    for value in (None, True, 3, -1.5, "", "film", b"a", [1, "a"], {"b": 1, "a": [2]}, (1,), {3}, {}):
        assert shown(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        b"x" * 10_000_000,
        10**100_000,
        _nested(20),
        {"a": _nested(20)},
        {i: _nested(5) for i in range(100_000)},
        list(range(1_000_000)),
        set(range(100_000)),
        ("x" * 1_000_000,) * 100,
    ],
    ids=lambda value: type(value).__name__,
)
def test_large_values_are_cut_and_cost_nothing(value):
    start = time.perf_counter()
    text = shown(value)
    assert len(text) <= 420 and time.perf_counter() - start < 0.2
    for check in (check_choice, check_known):
        with pytest.raises(InputError) as caught:
            check("`split`", value, ["time", "users"])
        assert len(str(caught.value)) < 700
    assert time.perf_counter() - start < 1


def test_a_value_that_holds_itself_ends():
    value = []
    value.append(value)
    assert len(shown(value)) < 100
