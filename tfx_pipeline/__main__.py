"""The command line: `python -m tfx_pipeline run CONFIG`."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from cdrzoo import files
from cdrzoo.errors import InputError, printed
from tfx_pipeline import runners
from tfx_pipeline.config import PipelineConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 2 the input is at fault."""
    parser = argparse.ArgumentParser(prog="python -m tfx_pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run", help="run the pipeline on this machine; what is done already is not done again"
    )
    examples = commands.add_parser("examples", help="only write the examples that the pipeline starts from")
    compiling = commands.add_parser(
        "compile", help="write the definition for Vertex AI and Kubeflow Pipelines"
    )
    for command in (run, examples, compiling):
        command.add_argument("config", type=pathlib.Path, help="run configuration with a section `pipeline`")
    for command in (run, examples):
        command.add_argument("--strict", action="store_true", help="a warning about the data is an error")
    compiling.add_argument("--image", required=True, help="container image that holds this project")
    compiling.add_argument("--to", type=pathlib.Path, required=True, help="JSON file to write")
    work = commands.add_parser("work", help="train as one of several workers (TF_CONFIG says which)")
    work.add_argument("arguments", type=pathlib.Path, help="the file that the chief names")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        if arguments.command == "work":
            from tfx_pipeline import trainer

            trainer.work(arguments.arguments)
            return 0
        config = PipelineConfig.load(arguments.config)
        _quiet()
        with printed():
            if arguments.command == "run":
                print(runners.table(runners.run(config, strict=arguments.strict)))
            elif arguments.command == "examples":
                with files.lock(pathlib.Path(config.path(config.root))):
                    print(f"Examples: {runners.write_examples(config, arguments.strict)}")
            else:
                runners.compile(config, arguments.image, arguments.to)
                print(f"Wrote {arguments.to}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _quiet() -> None:
    """TFX logs every step at the level of information, and Google's libraries deplore Python 3.10."""
    import logging
    import warnings

    import absl.logging

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
