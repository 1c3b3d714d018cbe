"""Experiments: what is trained on what, with which numbers, and what came out. The only place that knows everything."""
