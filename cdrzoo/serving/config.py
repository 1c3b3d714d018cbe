"""The files that TensorFlow Serving is started with: which versions it serves, under which labels, and how.

saved_models/
  films/3/ films/4/     exports
  models.config         the models; of a labelled one the labelled versions, of any other the newest
  batching.config       how a server puts requests together, where it is told to
  compose.yaml          the official image with these files
"""

from __future__ import annotations

import importlib.metadata
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from cdrzoo import files
from cdrzoo.errors import MAX_VERSION, InputError, shown

FILE = "models.config"
MOUNT = "/models"
"""Where the folder stands in the container."""

BATCHING = """\
# How TensorFlow Serving puts the requests of several clients together. Requests that are put together must be alike in
# all but the number of rows: use `serve_examples`, whose rows are strings, or sequences of one length. Padding by the
# server stays off: it pads with the first value it finds, not with what the model knows as missing.
max_batch_size { value: 256 }
batch_timeout_micros { value: 2000 }
num_batch_threads { value: 4 }
max_enqueued_batches { value: 100 }
pad_variable_length_inputs: false
"""

COMPOSE = """\
# TensorFlow Serving with the models of this folder: docker compose up
# A second server that puts requests together (batching.config): docker compose --profile batching up
x-serving: &serving
  image: tensorflow/serving:${{TF_SERVING_TAG:-{tag}}}
  volumes: [".:{mount}:ro"]
  restart: unless-stopped
services:
  serving:
    <<: *serving
    ports: ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"] # gRPC, REST
    command:
      - --model_config_file={mount}/{file}
      - --model_config_file_poll_wait_seconds=10
      - --allow_version_labels_for_unavailable_models=true
  serving-batching:
    <<: *serving
    profiles: [batching]
    ports: ["127.0.0.1:8502:8500", "127.0.0.1:8503:8501"]
    command:
      - --model_config_file={mount}/{file}
      - --model_config_file_poll_wait_seconds=10
      - --allow_version_labels_for_unavailable_models=true
      - --enable_batching=true
      - --batching_parameters_file={mount}/batching.config
"""


@dataclass(frozen=True)
class Served:
    """A model of a folder, and which of its versions are served.

    Args:
        path: its folder, which holds one folder a version.
        versions: these ones; `None`: the newest `latest`.
        latest: how many of the newest; `None`: all.
        labels: names of versions.
    """

    path: pathlib.Path
    versions: frozenset[int] | None = None
    latest: int | None = 1
    labels: Mapping[str, int] = field(default_factory=dict)

    def chosen(self, present: Iterable[int]) -> set[int]:
        """Which of the versions that are there are to be served."""
        if self.versions is not None:
            return set(present) & self.versions
        return set(sorted(present, reverse=True)[: self.latest])


def versions_of(folder: pathlib.Path) -> list[int]:
    """The versions of a model that are complete enough to be loaded, in order."""
    present = (number for number in numbers_of(folder) if number <= MAX_VERSION)
    return [number for number in present if (folder / str(number) / "saved_model.pb").exists()]


def numbers_of(folder: pathlib.Path) -> list[int]:
    """The numbers that folders bear, in order: versions, whole or not."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)


def read_config(folder: str | pathlib.Path) -> dict[str, Served]:
    """The models of a folder: those that `models.config` lists, and every other folder with a version in it.

    TensorFlow Serving serves what `models.config` lists and nothing else. A base path in it is a path in the
    container; its last part is the folder here.

    Raises:
        InputError: `models.config` cannot be read; the message names the line.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Give the one that holds the models' folders.")
    found = {path.name: Served(path) for path in sorted(folder.iterdir()) if versions_of(path)}
    if (folder / FILE).exists():
        for listed in _parsed(folder / FILE).model_config_list.config:
            found.pop(pathlib.PurePosixPath(listed.base_path).name, None)
            policy = listed.model_version_policy
            kind = policy.WhichOneof("policy_choice")
            found[listed.name] = Served(
                folder / pathlib.PurePosixPath(listed.base_path).name,
                frozenset(policy.specific.versions) if kind == "specific" else None,
                None if kind == "all" else max(policy.latest.num_versions, 1),
                dict(listed.version_labels),
            )
    return found


def write_config(
    folder: str | pathlib.Path, labels: Mapping[str, Mapping[str, int]] | None = None
) -> pathlib.Path:
    """Writes `models.config` for the models in a folder and, where they are not there yet, the other two files.

    A model with labels serves the labelled versions, so that a pushed version takes no traffic before it has a label;
    a model without serves its newest version.

    Args:
        folder: the folder that holds the models' folders.
        labels: `{model: {label: version}}`, for example `{"films": {"stable": 3, "canary": 4}}`. They replace the
            labels of the models named here; every other model keeps what `models.config` says.

    Returns:
        The path of `models.config`.

    Raises:
        InputError: a model or a version does not exist.
    """
    folder = pathlib.Path(folder)
    models = read_config(folder)
    if not models:
        raise InputError(
            f"{folder} holds no model: no folder in it has a version such as 1 with a SavedModel."
        )
    for name, given in (labels or {}).items():
        if name not in models:
            raise InputError(f"There is no model {name!r} in {folder}. There are: {', '.join(models)}.")
        present = versions_of(models[name].path)
        for label, version in given.items():
            if version not in present:
                raise InputError(
                    f"Label {label!r} of {name!r} must name a version that is there: "
                    f"{', '.join(map(str, present)) or 'none is'}. Received: {shown(version)}."
                )
        models[name] = Served(models[name].path, frozenset(given.values()) if given else None, 1, dict(given))
    config = model_server_config_pb2.ModelServerConfig()
    for name, served in sorted(models.items()):
        listed = config.model_config_list.config.add(
            name=name, base_path=f"{MOUNT}/{served.path.name}", model_platform="tensorflow"
        )
        if served.versions is not None:
            listed.model_version_policy.specific.versions.extend(sorted(served.versions))
        elif served.latest is None:
            listed.model_version_policy.all.SetInParent()
        elif served.latest > 1:
            listed.model_version_policy.latest.num_versions = served.latest
        for label, version in sorted(served.labels.items()):
            listed.version_labels[label] = version
    path = folder / FILE
    files.write(path, text_format.MessageToString(config))  # a server may read it at any time
    tag = importlib.metadata.version("tensorflow-serving-api")
    others = {"batching.config": BATCHING, "compose.yaml": COMPOSE.format(tag=tag, mount=MOUNT, file=FILE)}
    for name, text in others.items():
        if not (folder / name).exists():
            (folder / name).write_text(text, encoding="utf-8")
    return path


def _parsed(path: pathlib.Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():  # an editor that is writing it has emptied it first
            raise InputError(f"{path} is empty. Let `cdrzoo label` write it, or remove it.")
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a configuration of TensorFlow Serving: {error}.") from None
