"""Preparation: logs, labels, histories, negatives and splits, up to encoded rows of every part."""
