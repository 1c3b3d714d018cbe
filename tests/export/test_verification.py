"""Verification passes what is right and fails what is wrong, each thing on its own."""

import dataclasses
import json
import shutil

import keras
import pytest
import tensorflow as tf
from keras import ops

from cdrzoo.data import scaling
from cdrzoo.errors import InputError, VerifyError
from cdrzoo.export import graph, save, saving, verify
from cdrzoo.export.report import Check, Report
from cdrzoo.models import CCTL, DNN
from tests.serving_case import make_encoder, make_model


def failed(error):
    return [check.name for check in error.value.report.checks if not check.ok]


def test_a_good_export_passes_with_its_model(cctl, encoder, frame):
    model, path = cctl
    report = verify(path, model, encoder, frame)
    assert report.ok and report.rows == 40 and report.largest <= 1e-6
    names = [check.name for check in report.checks]
    for name in (
        "values are the target path's",
        "serving_default, the Keras model",
        "serve_examples, the Keras model",
        "serving_default, graph session",
        "serve_examples, graph session",
        "rows in another order",
        "rows alone",
        "sequences padded before",
        "sequences longer than the model reads",
        "unknown ids are alike",
        "examples without features",
    ):
        assert name in names
    text = str(report)
    assert "FAIL" not in text and "verified; 40 rows" in text.splitlines()[-1]
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    # The rows that were recorded will do as well.
    assert verify(path, model, encoder).largest <= 1e-6


def test_a_good_export_passes_by_what_it_recorded(cctl, tmp_path):
    _, path = cctl
    copy = shutil.copytree(path, tmp_path / "elsewhere")
    report = verify(copy)
    assert report.ok and "serving_default, the recorded scores" in [check.name for check in report.checks]


@pytest.mark.slow
def test_the_scores_of_another_model_fail(cctl, encoder, frame):
    model, path = cctl
    other = keras.models.clone_model(model)
    other.compile("adam")
    other.set_weights(model.get_weights())
    assert verify(path, other, encoder, frame).ok
    other.pure.head.bias.assign_add([1e-4])
    other.mixed.head.bias.assign_add([1e-4])
    with pytest.raises(VerifyError, match="FAIL values are the target path's") as error:
        verify(path, other, encoder, frame)
    assert "serving_default, the Keras model" in failed(error)


@pytest.mark.slow
def test_a_recorded_score_that_is_not_reached_fails(cctl, tmp_path):
    copy = shutil.copytree(cctl[1], tmp_path / "1")
    record = copy / "assets.extra" / "replay.jsonl"
    first, *rest = record.read_text().splitlines()
    line = json.loads(first)
    line["score"] += 2e-6
    record.write_text("\n".join([json.dumps(line), *rest]))
    with pytest.raises(VerifyError) as error:
        verify(copy)
    assert len(failed(error)) == 5 and "serving_default, the recorded scores" in failed(error)
    assert verify(copy, tolerance=1e-5).ok


@pytest.mark.slow
def test_variables_beyond_the_target_path_fail(encoder, frame, tmp_path, monkeypatch):
    model = make_model(encoder, CCTL)
    write = tf.saved_model.save

    def everything(served, *args):
        served.others = [variable.value for variable in model.variables]
        write(served, *args)

    monkeypatch.setattr(tf.saved_model, "save", everything)
    path = save(model, encoder, tmp_path, examples=frame)
    with pytest.raises(VerifyError) as error:
        verify(path, model, encoder, frame)
    wrong = ["every variable is read", "stored values are those variables", "values are the target path's"]
    assert failed(error) == wrong
    with pytest.raises(VerifyError, match="idle: "):
        verify(path)


@pytest.mark.slow
def test_rows_that_influence_each_other_fail(encoder, frame, tmp_path):
    class BatchMean(DNN):
        def call(self, x, training=False):
            scores = super().call(x, training=training)
            return {name: 0.9 * score + 0.1 * ops.mean(score) for name, score in scores.items()}

    model = make_model(encoder, BatchMean)
    path = save(model, encoder, tmp_path, examples=frame)
    with pytest.raises(VerifyError, match="FAIL rows alone") as error:
        verify(path, model, encoder, frame)
    assert "serving_default, the Keras model" not in failed(error)


@pytest.mark.slow
def test_scores_that_depend_on_the_place_of_a_row_fail(encoder, frame, tmp_path):
    class Place(DNN):
        def call(self, x, training=False):
            scores = super().call(x, training=training)
            place = ops.cast(ops.arange(ops.shape(scores["films"])[0])[:, None], "float32")
            return {"films": scores["films"] / (1 + 0.001 * place)}

    model = make_model(encoder, Place)
    path = save(model, encoder, tmp_path, examples=frame)
    with pytest.raises(VerifyError) as error:
        verify(path)
    assert {"rows in another order", "rows alone"} <= set(failed(error))


@pytest.mark.slow
def test_scores_beyond_probabilities_fail(encoder, frame, tmp_path):
    class Twice(DNN):
        def call(self, x, training=False):
            return {name: 3 * score for name, score in super().call(x, training=training).items()}

    model = make_model(encoder, Twice)
    with pytest.raises(VerifyError) as error:
        verify(save(model, encoder, tmp_path, examples=frame))
    assert failed(error) == ["scores are probabilities"]


@pytest.mark.slow
def test_a_number_that_is_too_large_fails(encoder, frame, tmp_path, monkeypatch):
    class Squared(DNN):
        """Crosses of a polynomial as high: what is within float32 is not, once it is multiplied."""

        def serve(self, features):
            wide = ops.square(features["age"])
            return super().serve(features) + 0.0 * (wide - wide)

    monkeypatch.setattr(scaling, "LARGEST", 1e30)
    model = make_model(encoder, Squared)
    with pytest.raises(VerifyError) as error:
        verify(save(model, encoder, tmp_path, examples=frame))
    assert failed(error) == ["the largest numbers"]


@pytest.mark.slow
def test_served_scores_that_are_not_the_models_fail(encoder, frame, tmp_path):
    class Skewed(DNN):
        def serve(self, features):
            return super().serve(features) + 1e-5

    model = make_model(encoder, Skewed)
    path = save(model, encoder, tmp_path, examples=frame)
    with pytest.raises(VerifyError, match="FAIL serving_default, the Keras model") as error:
        verify(path, model, encoder, frame)
    assert "rows alone" not in failed(error)


@pytest.mark.slow
def test_a_wrong_ranking_fails(encoder, frame, tmp_path, monkeypatch):
    top_k, repeated = tf.math.top_k, graph.repeated

    def worst_first(scores, k):
        best, index = top_k(-scores, k)
        return -best, index

    def other_user(rows, count):
        return repeated({**rows, "user": rows["user"] * 0}, count)

    wrong = {
        "rank, best first": (tf.math, "top_k", worst_first),
        "rank, the scores of serving_default": (saving, "repeated", other_user),
    }
    model = make_model(encoder)
    for check, patch in wrong.items():
        with monkeypatch.context() as patched:
            patched.setattr(*patch)
            path = save(model, encoder, tmp_path, examples=frame)
        with pytest.raises(VerifyError) as error:
            verify(path)
        assert failed(error) == [check]


def test_an_input_of_another_domain_fails(cctl, tmp_path):
    # As if a source feature had been served: the schema of the card lists it for the source alone.
    copy = shutil.copytree(cctl[1], tmp_path / "1")
    path = copy / "assets.extra" / "model_card.json"
    card = json.loads(path.read_text())
    features = card["schema"]["domains"]["films"]["features"]
    card["schema"]["domains"]["films"]["features"] = [f for f in features if f["name"] != "day"]
    del card["inputs"]["day"], card["schema"]["tables"]["day"]
    path.write_text(json.dumps(card))
    with pytest.raises(VerifyError) as error:
        verify(copy)
    wrong = {"signature serving_default", "inputs of the target alone", "vocabularies of the target alone"}
    assert wrong <= set(failed(error))


@pytest.mark.slow
def test_ratings_are_compared_relative_to_their_size(frame, tmp_path):
    encoder = make_encoder("rating")
    model = make_model(encoder)
    model.head.bias.assign([4000.0])
    path = save(model, encoder, tmp_path, examples=frame)
    assert verify(path, model, encoder, frame).largest <= 1e-6


@pytest.mark.slow
def test_models_without_sequences(encoder, frame, tmp_path):
    schema = encoder.schema.only("films")
    films = schema.target_domain
    films = dataclasses.replace(films, features=tuple(f for f in films.features if f.kind != "ids"))
    model = DNN(dataclasses.replace(schema, domains=(films,)), units=(4,))
    model.compile("adam")
    report = verify(save(model, encoder, tmp_path, examples=frame), model, encoder)
    assert report.ok and not [check for check in report.checks if "sequences" in check.name]


@pytest.mark.slow
def test_what_is_missing_is_said(cctl, encoder, frame, tmp_path):
    model, path = cctl
    with pytest.raises(InputError, match="holds no SavedModel"):
        verify(tmp_path)
    with pytest.raises(InputError, match="belong together"):
        verify(path, model)
    with pytest.raises(InputError, match="`examples` need `model`"):
        verify(path, examples=frame)
    bare = save(model, encoder, tmp_path / "bare")
    with pytest.raises(InputError, match="Nothing to replay"):
        verify(bare)
    assert verify(bare, model, encoder, frame).ok
    shutil.rmtree(bare / "assets.extra")
    with pytest.raises(InputError, match="not exported by cdrzoo"):
        verify(bare)


def test_the_report_of_a_failure_reads_well():
    report = Report("models/films/1", rows=2)
    report.checks.append(Check("one", True, "fine"))
    report.checks.append(Check("another", False, "largest difference 1.0e-02"))
    assert str(report).splitlines() == [
        "ok   one      fine",
        "FAIL another  largest difference 1.0e-02",
        "models/films/1: 1 of 2 checks failed; 2 rows, largest difference 0.0e+00",
    ]
    assert not report.ok
