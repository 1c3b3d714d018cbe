"""The command line."""

from __future__ import annotations

from cdrzoo.cli.main import main

__all__ = ["main"]
