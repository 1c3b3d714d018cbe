"""python -m tests.attack [KIND ...] [--seed N] [--said]: the table of kinds, and whatever is wrong."""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.attack import attack
from tests.attack.judge import table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help="what the names of kinds begin with; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--said", action="store_true", help="every message, too")
    arguments = parser.parse_args()
    tallies = attack(arguments.seed, arguments.kinds)
    for tally in tallies:
        for result in tally.results:
            if arguments.said or result.outcome != "right":
                print(f"{result.outcome}: {tally.kind}: {result.case.name}\n    {result.said.strip()}")
    print(table(tallies))
    return int(any(result.outcome != "right" for tally in tallies for result in tally.results))


if __name__ == "__main__":
    sys.exit(main())
