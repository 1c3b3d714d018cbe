"""Every input that `python -m tests.attack` tries is answered right."""

from __future__ import annotations

import pytest

from cdrzoo.errors import InputError
from tests.attack import attack
from tests.attack.judge import Case, judged


def refuse(text):
    def run():
        raise InputError(text)

    return run


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (Case("", lambda: 7, 7), "right"),
        (Case("", lambda: 7, 8), "silent"),
        (Case("", lambda: 7.0, "7.0"), "silent"),
        (Case("", lambda: float("nan"), float("nan")), "right"),
        (Case("", lambda: 7), "silent"),
        (Case("", lambda: 7, 7, warned=("ids",)), "silent"),
        (Case("", lambda: 1 / 0, 7), "traceback"),
        (Case("", refuse("`x` must be text. Received: 5."), words=("`x`",)), "right"),
        (Case("", refuse("`x` must be text. Received: 5."), words=("`y`",)), "unclear"),
        (Case("", refuse("`x` must be text. Received: 5."), 5, None), "unclear"),
        (Case("", refuse("Expected integer, got bool.")), "unclear"),
        (Case("", refuse("It must be text: KeyError.")), "unclear"),
        (Case("", refuse("It must be text." * 1000)), "unclear"),
    ],
)
def test_the_judge(case, outcome):
    assert judged(case).outcome == outcome


@pytest.mark.exhaustive
@pytest.mark.once
def test_every_input_is_answered_right():
    pytest.importorskip("grpc", reason="needs the extra `serving`")
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    tallies = attack()
    wrong = [
        f"{result.outcome}: {tally.kind}: {result.case.name}: {result.said[:500]}"
        for tally in tallies
        for result in tally.results
        if result.outcome != "right"
    ]
    assert not wrong, "\n".join(wrong)
