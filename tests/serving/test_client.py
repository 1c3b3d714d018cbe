"""The client: rows in, scores out, over gRPC and REST; what it says of what is wrong; when it tries again."""

from __future__ import annotations

import http.server
import json
import threading
import time
from concurrent import futures

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from cdrzoo import cli
from cdrzoo.errors import InputError
from cdrzoo.serving import Client

USER = {"user": "u3", "age": 31.0, "visits": None, "day": 2, "device": "d1", "seen": ["f1", "f2"]}


@pytest.fixture(params=["grpc", "rest"])
def address(request, server):
    return server.address if request.param == "grpc" else server.rest_address


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


def counted(client):
    """Rows of every request for scores that a client sends from now on."""
    sent, predict = [], client._transport.request

    def request(signature, inputs):
        if signature != "reading":  # which asks how text is read
            sent.append(len(next(iter(inputs.values()))))
        return predict(signature, inputs)

    client._transport.request = request
    return sent


@pytest.mark.parametrize("examples", [False, True])
def test_scores_are_those_of_the_export_in_however_many_requests(address, exports, examples):
    with Client(address, "films", examples=examples) as client:
        got = client.predict(exports.rows)
        assert got.dtype == np.float32
        close(got, exports.scores[1])
        close(client.predict(exports.rows.to_dict("list")), exports.scores[1])
        sent = counted(client)
        assert client.predict(exports.rows.head(0)).shape == (0,) and sent == []
    with Client(address, "films", examples=examples, rows=10) as client:
        sent = counted(client)
        close(client.predict(exports.rows), exports.scores[1])
        assert sent == [10, 10, 4]


def test_the_command_predicts_the_same_as_from_the_folder(address, exports, tmp_path, capsys):
    """A server calls `visits` an id; negative ones are scored all the same."""
    path = tmp_path / "rows.parquet"
    exports.rows.assign(visits=-5, **{"film id": exports.rows["film"]}).to_parquet(path)
    scores = {}
    for name, where in (
        ("here", [str(exports.folder / "films/1")]),
        ("served", ["films", "--server", address]),
    ):
        to = tmp_path / f"{name}.csv"
        assert cli.main(["predict", *where, "--input", str(path), "--output", str(to)]) == 0
        scores[name] = pd.read_csv(to)["click"]
    assert scores["here"].nunique() > 10
    close(scores["served"], scores["here"])
    assert cli.main(["predict", "books", "--server", address, "--input", str(path)]) == 2
    assert "no model 'books'" in capsys.readouterr().err
    pd.read_parquet(path).drop(columns="film").to_parquet(path)  # the column of the logs, `film id`, stays
    assert cli.main(["predict", "films", "--server", address, "--input", str(path)]) == 2
    assert "lacks the column 'film'. A server knows a feature by its name" in capsys.readouterr().err


def test_rank_gives_the_best_candidates(address):
    candidates = pd.DataFrame({"film": ["f3", "f1", "f9", "f3", "nobody knows"], "price": [1, 2, 3, 4, 5]})
    with Client(address, "films") as client:
        scores = client.predict({**{name: [v] * 5 for name, v in USER.items()}, "film": candidates.film})
        best = client.rank(USER, candidates, k=3)
        order = np.argsort(-scores, kind="stable")[:3]
        assert best.index.tolist() == order.tolist() and best.price.tolist() == (order + 1).tolist()
        close(best.click, scores[order])
        assert len(client.rank(USER, candidates, k=100)) == 5
        for k in (0, -1, 2.5, True, 2**40):
            with pytest.raises(InputError, match="`k`"):
                client.rank(USER, candidates, k)
        with pytest.raises(InputError, match="'day'"):
            client.rank({name: value for name, value in USER.items() if name != "day"}, candidates, 3)
        with pytest.raises(InputError, match="'film'"):
            client.rank(USER, candidates[["price"]], 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="day"), "'day'"),
        (lambda rows: rows.assign(day="x"), "'day' takes int64"),
        (lambda rows: rows.assign(day=1.5), "'day' takes int64"),
        (lambda rows: rows.assign(visits=2.0**70), "'visits' takes int64"),
        (lambda rows: rows.assign(age="old"), "'age' takes float32"),
        (lambda rows: rows.assign(seen=5), "'seen' takes lists of string"),
        (lambda rows: rows.assign(user=[["u"]] * len(rows)), "'user' takes string"),
        (lambda rows: {**rows.to_dict("list"), "day": [1]}, "day 1"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_before_it_is_sent(server, exports, change, message):
    with Client(server.address, "films") as client:
        client.features()
        sent = counted(client)
        with pytest.raises(InputError, match=message):
            client.predict(change(exports.rows))
        assert sent == []


def test_what_does_not_exist_is_said(address, exports):
    for arguments, message in (
        ({"model": "books"}, "no model 'books'"),
        ({"model": "films", "version": 7}, "does not serve version 7"),
        ({"model": "films", "label": "beta"}, "label 'beta'"),
    ):
        with Client(address, **arguments) as client:
            with pytest.raises(InputError, match=message):
                client.predict(exports.rows)
    with pytest.raises(InputError, match="no signature 'train'"):
        Client(address, "films").features("train")
    for arguments in ({"version": 1, "label": "x"}, {"timeout": 0}, {"rows": 0}):
        with pytest.raises(InputError):
            Client(address, "films", **arguments)


def test_a_request_that_is_too_large_for_the_server_is_not_tried_again(address, exports):
    many = pd.concat([exports.rows] * 600)
    with Client(address, "films", rows=10_000) as client:
        client.features()
        calls, predict = [], client._transport.predict
        client._transport.predict = lambda *given: calls.append(1) or predict(*given)
        with pytest.raises(InputError):
            client.predict(many)
        assert calls == [1]
    with Client(address, "films", rows=1000) as client:
        assert len(client.predict(many)) == len(many)


@pytest.mark.slow
def test_a_server_that_is_not_there(exports):
    for address in ("127.0.0.1:1", "http://127.0.0.1:1"):
        with Client(address, "films") as client:
            with pytest.raises(ConnectionError):
                client.predict(exports.rows)
        assert cli.main(["predict", "films", "--server", address, "--input", "rows.csv"]) == 2


# Servers that fail as told: `answers` are the codes of the first requests, then they answer -------------------------


def one_input(map_class):
    signatures = map_class()
    definition = signatures.signature_def["serving_default"]
    definition.inputs["user"].dtype = tf.string.as_datatype_enum
    definition.inputs["user"].tensor_shape.dim.add(size=-1)
    definition.outputs["click"].dtype = tf.float32.as_datatype_enum
    return signatures


def grpc_server(answers, asked, delay):
    def predict(request, context):
        asked.append(request.model_spec.name)
        time.sleep(delay)
        if answers:
            context.abort(answers.pop(0), "told to")
        response = predict_pb2.PredictResponse()
        response.outputs["click"].CopyFrom(tf.make_tensor_proto([0.5]))
        return response

    def metadata(request, context):
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(one_input(get_model_metadata_pb2.SignatureDefMap))
        return response

    def method(call, kind):
        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=kind.FromString, response_serializer=lambda m: m.SerializeToString()
        )

    server = grpc.server(futures.ThreadPoolExecutor(4))
    handlers = {
        "Predict": method(predict, predict_pb2.PredictRequest),
        "GetModelMetadata": method(metadata, get_model_metadata_pb2.GetModelMetadataRequest),
    }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return f"127.0.0.1:{port}", lambda: server.stop(0)


def rest_server(answers, asked, delay):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(delay)
            code = answers.pop(0) if answers else 200
            self.reply(code, {"outputs": [0.5]} if code == 200 else {"error": "told to"})

        def do_GET(self):
            from google.protobuf import json_format

            signatures = json_format.MessageToDict(
                one_input(get_model_metadata_pb2.SignatureDefMap), preserving_proto_field_name=True
            )
            self.reply(200, {"metadata": {"signature_def": signatures}})

        def reply(self, code, answer):
            if code is None:  # hangs up
                return
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop():
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_address[1]}", stop


BUSY, WRONG, BROKEN = "busy", "wrong", "broken"
CODES = {
    grpc_server: {
        BUSY: grpc.StatusCode.UNAVAILABLE,
        WRONG: grpc.StatusCode.INVALID_ARGUMENT,
        BROKEN: grpc.StatusCode.INTERNAL,
    },
    rest_server: {BUSY: 503, WRONG: 400, BROKEN: 500},
}


@pytest.fixture(params=[grpc_server, rest_server], ids=["grpc", "rest"])
def failing(request):
    """`failing(answers)` starts a server and returns its address and the list of requests it gets."""
    stops = []

    def start(answers=(), delay=0.0):
        asked = []
        codes = [CODES[request.param].get(answer, answer) for answer in answers]
        address, stop = request.param(codes, asked, delay)
        stops.append(stop)
        return address, asked

    yield start
    for stop in stops:
        stop()


def test_a_busy_server_is_asked_again(failing):
    address, asked = failing([BUSY, BUSY])
    with Client(address, "m") as client:
        assert client.predict({"user": ["u"]}).tolist() == [0.5]
    assert len(asked) == 3


def test_it_gives_up_after_some_attempts(failing):
    address, asked = failing([BUSY] * 20)
    with Client(address, "m") as client:
        with pytest.raises(ConnectionError, match="told to"):
            client.predict({"user": ["u"]})
    assert len(asked) == 5


@pytest.mark.parametrize(("answer", "error"), [(WRONG, InputError), (BROKEN, RuntimeError)])
def test_what_will_not_mend_itself_is_not_tried_again(failing, answer, error):
    address, asked = failing([answer])
    with Client(address, "m") as client:
        with pytest.raises(error, match="told to"):
            client.predict({"user": ["u"]})
    assert len(asked) == 1


def test_no_answer_in_time(failing):
    address, asked = failing(delay=1.5)
    with Client(address, "m") as client:
        client.features()
        client.timeout = 0.3
        with pytest.raises(TimeoutError):
            client.predict({"user": ["u"]})
    assert len(asked) <= 1  # a slow machine may not have sent it


def test_pauses_end_with_the_time_that_is_given(failing):
    address, asked = failing([BUSY] * 20)
    with Client(address, "m") as client:
        client.features()
        client.timeout = 0.7  # the shortest pauses take 0.75
        with pytest.raises((ConnectionError, TimeoutError)):
            client.predict({"user": ["u"]})
    assert len(asked) < 5


def test_a_connection_that_breaks_is_tried_again():
    asked = []
    address, stop = rest_server([None, None], asked, 0.0)
    try:
        with Client(address, "m") as client:
            assert client.predict({"user": ["u"]}).tolist() == [0.5]
        assert len(asked) == 3
    finally:
        stop()
