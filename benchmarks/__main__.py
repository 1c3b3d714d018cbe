"""`python -m benchmarks`: the speed of cdrzoo beside its peers."""

from __future__ import annotations

from benchmarks.peers import main

main()
