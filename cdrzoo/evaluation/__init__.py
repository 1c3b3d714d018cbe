"""Evaluation: statistics, simple baselines, and what a source was worth against training on the target alone."""
