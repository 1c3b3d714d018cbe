"""What a run configuration says of going on with another run, and of drift: checked before TensorFlow starts."""

from __future__ import annotations

from typing import Any

from cdrzoo import files
from cdrzoo.errors import InputError, check_known, check_number, check_whole

DRIFT = ("age", "unknown", "divergence", "calibration", "worse_by")
"""What `drift` may have a threshold of."""


def check(config: Any) -> None:
    """Raises an `InputError` for what a configuration cannot say."""
    if config.forget_after is not None:
        check_whole("`forget_after`", config.forget_after, 1)
    for name in ("finetune", "warm_start_from"):
        if files.is_remote(path := getattr(config, name)):
            raise InputError(f"`{name}` wants a run on this machine. Received: {path}. Copy it here.")
    if config.warm_start_from and (config.finetune or isinstance(config.data, str)):
        raise InputError(
            "`warm_start_from` goes on with a model of these domains and with its vocabularies. Leave `finetune` out, "
            "and give the logs as `data`, no folder of prepared rows, which have vocabularies of their own."
        )
    check_known("`drift`", config.drift, DRIFT)
    for name, most in config.drift.items():
        check_number(f"`{name}` of `drift`", most, 0)


def check_whole_rows(config: Any) -> None:
    """Raises an `InputError` where rows that are prepared to a folder would not be those of the configuration."""
    if config.warm_start_from or "since" in config.preparation:
        raise InputError(
            "Rows in a folder have vocabularies of their own, and `warm_start_from` goes on with others; `since` "
            "leaves some out. Train on the logs themselves, or leave both out."
        )
