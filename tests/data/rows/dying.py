"""A preparation that is killed, with all its processes, in the middle of a task."""

from __future__ import annotations

import functools
import os
import pathlib
import signal
import sys

from cdrzoo.data.rows import tasks
from cdrzoo.data.rows.executors import executor
from cdrzoo.data.rows.making import prepare_to
from cdrzoo.data.rows.state import load


def dying(task: tuple[str, str, int], stage: str, group: int):
    """Does a task; the second one of a stage kills all processes of a group before its result is written."""
    if task[1:] == (stage, 1):

        def die(path, value):
            os.killpg(group, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)  # a worker may be in a group of its own

        tasks.save = die
    return tasks.run(task)


class Dying:
    """An executor that does `dying` tasks."""

    def __init__(self, name: str, flags: tuple[str, ...], stage: str):
        self.of, self.stage = executor(name, 2, flags=flags), stage

    def __enter__(self):
        run, how = self.of.__enter__(), {"stage": self.stage, "group": os.getpgid(0)}
        return lambda function, todo: run(functools.partial(dying, **how), todo)

    def __exit__(self, *error):
        return self.of.__exit__(*error)


def main() -> None:
    """settings, folder, executor's name, stage, flags."""
    settings, out, name, stage, *flags = sys.argv[1:]
    prepare_to(
        out, load(pathlib.Path(settings)), partitions=3, jobs=2, executor=Dying(name, tuple(flags), stage)
    )
