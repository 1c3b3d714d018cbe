"""Wrong and odd inputs of every kind, some thousands, and what becomes of each: `python -m tests.attack`.

An input is answered *right* where it gives the right value, where it is refused clearly (by rule: the message names the
file, the option or the key, and says what is wanted or how to mend it), or where it is read with the warning that it
deserves. Else it is wrong in *silence*, a *traceback*, or *unclear*. Which answer is right is said by each kind on its
own, never asked of cdrzoo.
"""

from __future__ import annotations

from collections.abc import Collection

from tests.attack.judge import Tally, judged, workplace


def attack(seed: int = 0, kinds: Collection[str] = ()) -> list[Tally]:
    """Tries every input; `kinds`: what the names of those that are tried begin with, default all."""
    from tests.attack import cells, commands, forms, logs, runs, schemas, served

    tallies: dict[str, Tally] = {}
    with workplace():
        for cases in (
            cells.of_cells,
            forms.of_forms,
            logs.of_logs,
            schemas.of_schemas,
            runs.of_runs,
            commands.of_commands,
            served.of_served,
        ):
            for kind, case in cases(seed):
                if not kinds or kind.startswith(tuple(kinds)):
                    tallies.setdefault(kind, Tally(kind)).results.append(judged(case))
    return list(tallies.values())
