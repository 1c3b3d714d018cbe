"""From a log that kept a share of the rows without a click to all traffic: probabilities, and what a row counts."""

from __future__ import annotations

from typing import Any

import numpy as np


def prior_correction(probability: Any, kept: float) -> Any:
    """The probability of a click on all traffic, given that on a log which kept a share of the rows without a click.

        p' = p / (p + (1 - p) / w)

    Dropping rows without a click multiplies the odds by 1 / w; this divides them again. The order of scores stays.

    Args:
        probability: p, learnt from the log.
        kept: w, the share of rows without a click that the log kept, in (0, 1]; 1 changes nothing.

    Reference: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014), section 6.3.
    """
    return probability if kept == 1 else probability / (probability + (1.0 - probability) / kept)


def row_weights(labels: np.ndarray, weights: np.ndarray | None, kept: float | None) -> np.ndarray | None:
    """What rows count for all traffic, [n]: one without a click as many as the log dropped with it.

    Args:
        labels: [n], clicks.
        weights: [n], or `None`: 1 each.
        kept: as above; `None` is 1.
    """
    if kept is None or kept == 1:
        return weights
    return (1.0 if weights is None else weights) * np.where(labels == 0, 1 / kept, 1.0)
