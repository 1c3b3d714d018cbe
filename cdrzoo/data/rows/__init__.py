"""Prepared rows in a folder: encoded once, read by every training. `format` says what lies where."""
