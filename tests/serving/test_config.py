"""The configuration of TensorFlow Serving: what is written, what is read, what is refused."""

from __future__ import annotations

import pathlib

import pytest
import yaml

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from cdrzoo import cli
from cdrzoo.errors import InputError
from cdrzoo.serving import write_config
from cdrzoo.serving.config import Served, read_config, versions_of


@pytest.fixture
def folder(tmp_path):
    """Two models of empty exports, and what is no version."""
    for path in ("films/1", "films/2", "films/10", "books/3", "films/.export-x", "films/notes", "empty/1"):
        (tmp_path / path).mkdir(parents=True)
        if not path.startswith("empty"):
            (tmp_path / path / "saved_model.pb").touch()
    return tmp_path


def parsed(folder):
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((folder / "models.config").read_text(), config)
    return {model.name: model for model in config.model_config_list.config}


def test_versions_are_numbers_with_a_model(folder):
    assert versions_of(folder / "films") == [1, 2, 10]
    assert versions_of(folder / "empty") == versions_of(folder / "none") == []


def test_labelled_versions_are_served_and_other_models_their_newest(folder):
    write_config(folder, {"films": {"stable": 2, "canary": 10}})
    models = parsed(folder)
    assert list(models) == ["books", "films"]
    films = models["films"]
    assert films.base_path == "/models/films" and films.model_platform == "tensorflow"
    assert list(films.model_version_policy.specific.versions) == [2, 10]
    assert dict(films.version_labels) == {"stable": 2, "canary": 10}
    assert not models["books"].HasField("model_version_policy") and not models["books"].version_labels
    served = read_config(folder)
    assert served["films"].chosen([1, 2, 10]) == {2, 10} and served["films"].labels == dict(
        films.version_labels
    )
    assert served["books"].chosen([3, 4]) == {4}


def test_labels_of_one_model_leave_the_others_alone(folder):
    write_config(folder, {"films": {"stable": 1}, "books": {"stable": 3}})
    (folder / "batching.config").write_text("mine")
    write_config(folder, {"films": {"stable": 2}})
    assert dict(parsed(folder)["films"].version_labels) == {"stable": 2}
    assert dict(parsed(folder)["books"].version_labels) == {"stable": 3}
    write_config(folder, {"films": {}})
    assert not parsed(folder)["films"].version_labels
    assert (folder / "batching.config").read_text() == "mine"  # what is there is a user's


def test_policies_written_by_hand_are_read_and_kept(folder):
    (folder / "models.config").write_text(
        """
        model_config_list {
          config { name: "all" base_path: "/models/films" model_version_policy { all {} } }
          config { name: "two" base_path: "/somewhere/films/"
                   model_version_policy { latest { num_versions: 2 } } }
        }
        """
    )
    for _ in range(2):
        served = read_config(folder)
        assert served["all"].chosen([1, 2, 10]) == {1, 2, 10} and served["two"].chosen([1, 2, 10]) == {2, 10}
        assert served["two"].path == folder / "films" and "films" not in served
        assert served["books"] == Served(folder / "books")  # not listed, and served all the same
        write_config(folder)


def test_the_other_files(folder):
    write_config(folder)
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["image"].startswith("tensorflow/serving:") and service["volumes"] == [".:/models:ro"]
        for flag in service["command"]:
            name, _, value = flag.partition("=")
            if value.startswith("/models/"):
                assert (folder / pathlib.PurePosixPath(value).name).exists(), name
    assert "pad_variable_length_inputs: false" in (folder / "batching.config").read_text()


def test_what_is_wrong_is_said_and_nothing_written(folder, tmp_path_factory):
    with pytest.raises(InputError, match="no model 'film'"):
        write_config(folder, {"film": {"stable": 1}})
    with pytest.raises(InputError, match="1, 2, 10. Received: 3"):
        write_config(folder, {"films": {"stable": 3}})
    assert not (folder / "models.config").exists()
    with pytest.raises(InputError, match="holds no model"):
        write_config(tmp_path_factory.mktemp("nothing"))
    (folder / "models.config").write_text("model_config_list {\n  config { nam: 'x' } }")
    with pytest.raises(InputError, match="models.config is not a configuration.*2:"):
        write_config(folder)


def test_the_command(folder, capsys):
    assert cli.main(["label", str(folder), "films", "stable=2", "canary=10"]) == 0
    assert dict(parsed(folder)["films"].version_labels) == {"stable": 2, "canary": 10}
    assert cli.main(["label", str(folder)]) == 0
    assert dict(parsed(folder)["films"].version_labels) == {"stable": 2, "canary": 10}
    for wrong in (["films", "stable"], ["films", "stable=x"], ["films", "stable=5"], ["none", "stable=1"]):
        assert cli.main(["label", str(folder), *wrong]) == 2
        assert capsys.readouterr().err.startswith("error: ")
