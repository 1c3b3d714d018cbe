"""Exports behind a server: serve and label."""

from __future__ import annotations

import argparse
import contextlib
import re
from typing import Any

from cdrzoo.cli.common import command, number, pairs, path, quiet, start_tensorflow, whole
from cdrzoo.errors import MAX_VERSION, InputError, shown


def add(commands: Any) -> None:
    """Adds the commands of this file."""
    _add_serve(commands)
    _add_label(commands)


def _add_serve(commands: Any) -> None:
    serve = command(
        commands,
        "serve",
        _serve,
        "Serve the models of a folder on this machine, for development. Production is TensorFlow Serving.\n\n"
        "  cdrzoo serve saved_models\n"
        "  curl http://127.0.0.1:8501/v1/models/films\n"
        "  curl http://127.0.0.1:8501/v1/models/films/metadata\n"
        '  curl -d \'{"inputs": {"examples": [{"b64": ""}]}, "signature_name": "serve_examples"}\' \\\n'
        "      http://127.0.0.1:8501/v1/models/films:predict\n\n"
        "It speaks TensorFlow Serving's gRPC (PredictionService: Predict, GetModelMetadata; ModelService:\n"
        "GetModelStatus) and REST paths, so a client need not know which of the two answers; see docs/serving.md.\n"
        "It listens on 127.0.0.1 alone. A version that appears in a model's folder is loaded and warmed up, then\n"
        "takes over; no request is dropped. models.config in the folder (see `cdrzoo label`) chooses versions and\n"
        "gives them labels. Ctrl-C ends it once the requests that it has taken are answered.",
    )
    serve.add_argument("folder", type=path, help="The folder of models, each a folder of versions.")
    serve.add_argument(
        "--port", type=whole(0, 65535), default=8500, help="The port of gRPC. 0 takes any free one."
    )
    serve.add_argument(
        "--rest-port", type=whole(0, 65535), default=8501, help="The port of REST. 0 takes any free one."
    )
    serve.add_argument(
        "--seconds",
        type=number(above=0, most=86400),
        default=1.0,
        help="Seconds between two looks for new versions.",
    )


def _serve(arguments: argparse.Namespace) -> None:
    import gc
    import logging
    import signal
    import sys

    from cdrzoo.serving import ports

    if not arguments.folder.is_dir():
        raise InputError(
            f"{arguments.folder} is no folder. Give the folder of models, for example saved_models."
        )
    ports.check(arguments.port, arguments.rest_port)
    start_tensorflow()
    from cdrzoo.serving import Server

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, which a script's `&` has it ignore
    with Server(
        arguments.folder, port=arguments.port, rest_port=arguments.rest_port, seconds=arguments.seconds
    ) as server:
        gc.freeze()  # models stand to the end: going through them again and again would hold up requests
        sys.setswitchinterval(0.001)  # a small request waits no longer for Python that answers a large one
        print(f"gRPC {server.address}, REST {server.rest_address}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    print("stopped")


def _add_label(commands: Any) -> None:
    label = command(
        commands,
        "label",
        _label,
        "Write the configuration of TensorFlow Serving for a folder of models, and label versions.\n\n"
        "  cdrzoo label saved_models films stable=3 canary=4\n\n"
        "models.config lists every model. A model with labels serves the labelled versions and no others; the labels\n"
        "given replace those it had. batching.config and compose.yaml are written where they are not there yet.",
    )
    label.add_argument("folder", type=path, help="The folder of models, each a folder of versions.")
    label.add_argument(
        "model", nargs="?", help="The model to label. Default: none, and all keep the labels they have."
    )
    label.add_argument(
        "labels", nargs="*", metavar="LABEL=VERSION", help="Its labels; without any it loses its own."
    )


def _label(arguments: argparse.Namespace) -> None:
    given = pairs(arguments.labels, "A label")
    for name, version in given.items():
        if not re.fullmatch(r"[^\s/:?#%]+", name):
            raise InputError(
                f"A label is part of paths such as /labels/{name.split()[0] if name.split() else 'stable'}: it "
                f"must have no blanks and none of / : ? # %. Received: {shown(name)}."
            )
        if not re.fullmatch(r"[0-9]{1,19}", version) or int(version) > MAX_VERSION:
            raise InputError(
                f"A label names the number of a version. Received: {shown(f'{name}={version}')}."
            )
    with quiet():
        from cdrzoo.serving import write_config
    labels = {name: int(version) for name, version in given.items()}
    print(f"Wrote {write_config(arguments.folder, {arguments.model: labels} if arguments.model else None)}")
