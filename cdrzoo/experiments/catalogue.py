"""The only home of numbers that training uses and that no paper fixes. Imports no TensorFlow."""

from __future__ import annotations

SEARCH: dict[str, list[float]] = {
    "learning_rate": [0.0003, 0.001, 0.003],
    "weight_decay": [0.0, 0.3, 1.0],
    "dropout": [0.0, 0.2, 0.5],
    "width": [4, 8, 16],
    "source_ratio": [1.0, 2.0, 4.0],
}
"""What a search draws from, the same for every model; what a model does not have is left out of its draws."""
