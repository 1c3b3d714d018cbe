"""The development server: what TensorFlow Serving answers, errors for what is wrong, and versions that change."""

from __future__ import annotations

import http.client
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures

import numpy as np
import pytest

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

import grpc
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from cdrzoo import cli
from cdrzoo.errors import InputError
from cdrzoo.export import raw_rows, serialize_rows
from cdrzoo.serving import Client, Server, write_config
from cdrzoo.serving.versions import Version
from tests.serving_case import make_schema

FEATURES = make_schema().only("films").target_domain.features
PREDICT = "/v1/models/films:predict"


@pytest.fixture(scope="module")
def raw(exports):
    return raw_rows(exports.rows.rename(columns={"film": "film id"}), FEATURES)


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def ask(server, method, path, body=None, headers=None):
    """Status, headers and JSON of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        return response.status, dict(response.headers), json.loads(content) if content else None
    finally:
        connection.close()


def post(server, request, path=PREDICT):
    status, _, answer = ask(server, "POST", path, json.dumps(request))
    assert status == 200, answer
    return answer


def request_of(inputs, signature="", name="films"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(value if isinstance(value, TensorProto) else proto(value))
    return request


def proto(value):
    dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
    return tf.make_tensor_proto(value.tolist(), dtype, value.shape)


def close(got, wanted):
    np.testing.assert_allclose(np.float32(got), wanted, rtol=0, atol=1e-6)


# What TensorFlow Serving answers


def test_rest_rows_and_columns(server, exports, raw):
    columns = {name: value.tolist() for name, value in raw.items()}
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    close(post(server, {"instances": rows})["predictions"], exports.scores[1])
    close(post(server, {"inputs": columns})["outputs"], exports.scores[1])
    for where in ("/v1/models/films/versions/1:predict", PREDICT + "?x=1"):
        close(
            post(server, {"signature_name": "serving_default", "instances": rows[:3]}, where)["predictions"],
            exports.scores[1][:3],
        )
    import base64

    examples = [{"b64": base64.b64encode(each).decode()} for each in serialize_rows(raw, FEATURES)]
    request = {"signature_name": "serve_examples", "inputs": {"examples": examples}}
    close(post(server, request)["outputs"], exports.scores[1])
    # A signature with one input takes its values alone.
    request = {"signature_name": "serve_examples", "instances": examples[:2]}
    close(post(server, request)["predictions"], exports.scores[1][:2])


def test_rest_rank(server, raw):
    once = {name: value[:1].tolist() if name != "film" else value[:9].tolist() for name, value in raw.items()}
    outputs = post(server, {"signature_name": "rank", "inputs": {**once, "k": 4}})["outputs"]
    assert [once["film"][i] for i in outputs["index"]] == outputs["item"] and len(outputs["item"]) == 4
    assert outputs["click"] == sorted(outputs["click"], reverse=True)


def test_rest_status_and_metadata(server):
    _, headers, answer = ask(server, "GET", "/v1/models/films")
    fine = {"error_code": "OK", "error_message": ""}
    assert answer == {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": fine}]}
    assert headers["Content-Type"] == "application/json"
    assert ask(server, "GET", "/v1/models/films/versions/1")[2] == answer
    _, _, answer = ask(server, "GET", "/v1/models/films/metadata")
    assert answer["model_spec"] == {"name": "films", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "serve_examples", "rank"} <= signatures.keys()
    seen = signatures["serving_default"]["inputs"]["seen"]
    assert seen["dtype"] == "DT_STRING" and [d["size"] for d in seen["tensor_shape"]["dim"]] == ["-1", "-1"]


def test_grpc_predict_metadata_and_status(server, stub, exports, raw):
    response = stub.Predict(request_of(raw))
    close(tf.make_ndarray(response.outputs["click"]), exports.scores[1])
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("films", 1, "serving_default")
    once = {name: value if name == "film" else value[:1] for name, value in raw.items()}
    request = request_of({**once, "k": np.array(2, np.int32)}, "rank")
    request.output_filter.extend(["item"])
    assert list(stub.Predict(request).outputs) == ["item"]
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "films"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(metadata).metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["serving_default"].inputs) == set(raw)
    with grpc.insecure_channel(server.address) as channel:
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "films"
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status)
    assert [(each.version, each.state) for each in answer.model_version_status] == [(1, 30)]


# What is wrong with a request

ROW = '{"user": "u1", "film": "f1", "age": 3.5, "visits": 1, "day": 1, "device": "d", "seen": ["f"]}'


def row(**changed):
    values = {**json.loads(ROW), **changed}
    return json.dumps({"instances": [{name: v for name, v in values.items() if v is not ...}]})


BODIES = {
    "empty": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"instances": ["\xff"]}',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "neither rows nor columns": b"{}",
    "both": b'{"instances": [1], "inputs": [1]}',
    "no rows": b'{"instances": []}',
    "rows that are no list": b'{"instances": {"user": "u"}}',
    "a row that is no object": b'{"instances": [1]}',
    "columns that are no object": b'{"inputs": 3}',
    "an unknown signature": row().replace("{", '{"signature_name": "x", ', 1),
    "a signature that is no string": row().replace("{", '{"signature_name": 5, ', 1),
    "the initialisation": row().replace("{", '{"signature_name": "__saved_model_init_op", ', 1),
    "a missing feature": row(day=...),
    "an unknown feature": row(price=3),
    "text for a number": row(age="old"),
    "text for an int": row(day="1"),
    "a fraction for an int": row(day=1.5),
    "true for an int": row(day=True),
    "a number for text": row(user=5),
    "null for text": row(user=None),
    "an object for text": row(user={"b": 1}),
    "broken base64": row(user={"b64": "?"}),
    "a list for a value": row(user=["u1"]),
    "a value for a list": row(seen="f1"),
    "a list too deep": row(seen=[["f1"]]),
    "an int beyond 64 bits": row(day=2**63),
    "a number beyond float32": row(age=1e300),
    "a number beyond float64": row(age=10**400),
    "rows of different length": json.dumps(
        {"instances": [json.loads(ROW), {**json.loads(ROW), "seen": ["a", "b"]}]}
    ),
    "rows with different features": json.dumps({"instances": [json.loads(ROW), {"user": "u"}]}),
    "columns of different length": json.dumps(
        {"inputs": {name: [v] * (3 if name == "film" else 2) for name, v in json.loads(ROW).items()}}
    ),
    "rank by rows": row(k=3).replace("{", '{"signature_name": "rank", ', 1),
    "nested without end": b"[" * 100_000,
    "nested within a feature": b'{"inputs": {"user": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
}


@pytest.mark.parametrize("what", BODIES)
def test_malformed_bodies_are_bad_requests(server, what):
    body = BODIES[what]
    status, _, answer = ask(server, "POST", PREDICT, body if isinstance(body, bytes) else body.encode())
    assert status == 400 and answer.keys() == {"error"} and answer["error"], answer


def test_an_error_names_the_feature(server):
    for body, name in ((row(age="old"), "age"), (row(seen="f1"), "seen"), (row(price=3), "price")):
        assert f"'{name}'" in ask(server, "POST", PREDICT, body)[2]["error"]
    assert "day" in ask(server, "POST", PREDICT, row(day=...))[2]["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/v1/models", {}, 404),
        ("GET", "/v2/models/films", {}, 404),
        ("GET", "/v1/models/no_such", {}, 404),
        ("GET", "/v1/models/films/versions/7", {}, 404),
        ("GET", "/v1/models/films/versions/" + "9" * 40, {}, 404),
        ("GET", "/v1/models/films/versions/x", {}, 400),
        ("GET", "/v1/models/films/labels/x", {}, 400),
        ("GET", "/v1/models/no_such/metadata", {}, 404),
        ("POST", "/v1/models/no_such:predict", {}, 404),
        ("POST", "/v1/models/films/versions/7:predict", {}, 404),
        ("POST", "/v1/models/films/labels/x:predict", {}, 400),
        ("POST", "/v1/models/films:train", {}, 404),
        ("POST", "/v1/models/films:classify", {}, 501),
        ("GET", PREDICT, {}, 400),  # as TensorFlow Serving
        ("PUT", PREDICT, {}, 405),
        ("DELETE", "/v1/models/films", {}, 405),
        ("POST", "/v1/models/films", {}, 400),
        ("OPTIONS", "/v1/models/films/metadata", {}, 405),
        ("BREW", "/v1/models/films", {}, 501),
        ("POST", PREDICT, {"Content-Type": "application/xml"}, 415),
        ("POST", PREDICT, {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ("POST", PREDICT, {"Content-Encoding": "br"}, 415),
        ("POST", PREDICT, {"Content-Encoding": "gzip"}, 400),
        ("POST", PREDICT, {"Content-Length": "x"}, 400),
        ("POST", PREDICT, {"Content-Length": "-5"}, 400),
        ("POST", PREDICT, {"Transfer-Encoding": "chunked"}, 400),
        ("POST", PREDICT, {"Transfer-Encoding": "gzip, chunked"}, 501),
        ("GET", "/v1/models/films", {"Host": "evil.example"}, 403),
        ("GET", "/v1/models/films", {"Host": "127.0.0.1:1"}, 403),
        ("POST", PREDICT, {"X": "y" * 70_000}, 431),
        ("POST", "/" + "y" * 70_000, {}, 414),
    ],
)
def test_http_errors(server, method, path, headers, status):
    body = row().encode() if method in ("POST", "PUT") else None
    if "Transfer-Encoding" in headers:
        body = b"3\r\n{}}\r\n0\r\n\r\n"
    found, answered, answer = ask(server, method, path, body, headers)
    assert found == status and answer.keys() == {"error"}
    if status == 405 or (method, path) == ("GET", PREDICT):
        assert answered["Allow"] == ("POST" if ":" in path else "GET")


def test_what_curl_sends_by_default_is_taken(server):
    for kind in ("application/x-www-form-urlencoded", "application/json; charset=utf-8", "text/plain"):
        assert ask(server, "POST", PREDICT, row(), {"Content-Type": kind})[0] == 200


def test_oversized_requests_are_turned_away(server, stub, raw):
    status, _, answer = ask(server, "POST", PREDICT, b'"' + b"x" * 300_000 + b'"')
    assert status == 413 and "200,000" in answer["error"]
    many = {name: np.repeat(value, 200, 0) for name, value in raw.items()}
    assert code_of(lambda: stub.Predict(request_of(many))) == "RESOURCE_EXHAUSTED"
    one = tf.make_tensor_proto(["u"], tf.string, [1])
    one.tensor_shape.dim[0].size = 10**9  # a gigabyte out of a few bytes
    assert code_of(lambda: stub.Predict(request_of({**raw, "user": one}))) == "RESOURCE_EXHAUSTED"


def raw_bytes(server, content, wait=2.0):
    """What comes back for bytes that need not be HTTP."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=wait) as connection:
        received = b""
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except OSError:
            pass
        return received


def test_broken_connections_do_not_stop_it(server):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode()
    assert b" 400 " in raw_bytes(server, head + b"Content-Length: 50\r\n\r\n{}").split(b"\r\n")[0]
    assert b" 413 " in raw_bytes(server, head + b"Content-Length: 99999999999\r\n\r\n{}").split(b"\r\n")[0]
    assert b" 411 " in raw_bytes(server, head + b"\r\n").split(b"\r\n")[0]
    for content in (
        b"",
        b"\x00" * 100,
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        head,
        b"\x16\x03\x01\x02\x00\x01\xfc",
    ):
        raw_bytes(server, content)
    assert ask(server, "GET", "/v1/models/films")[0] == 200


def test_a_connection_lives_on_after_an_error(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    for body, status in (
        (b"{", 400),
        (row().encode(), 200),
        (row(user=5).encode(), 400),
        (row().encode(), 200),
    ):
        connection.request("POST", PREDICT, body)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_random_bytes_get_errors_and_do_not_stop_it(server, stub):
    chosen = random.Random(5)
    good = row().encode()
    request = request_of({"examples": np.array([b"", b"x"], object)}, "serve_examples").SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for _ in range(60):
            noise = chosen.randbytes(chosen.randrange(1, 200))
            assert ask(server, "POST", PREDICT, noise)[0] == 400
            broken = bytearray(good)
            broken[chosen.randrange(len(broken))] = chosen.randrange(256)
            assert ask(server, "POST", PREDICT, bytes(broken))[0] in (200, 400)
            raw_bytes(server, chosen.randbytes(50), wait=0.5)
            assert code_of(lambda n=noise: predict(n)) in ("INVALID_ARGUMENT", "NOT_FOUND")
            broken = bytearray(request)
            broken[chosen.randrange(len(broken))] = chosen.randrange(256)
            allowed = ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
            assert code_of(lambda b=bytes(broken): predict(b)) in allowed
    assert ask(server, "POST", PREDICT, good)[0] == 200


def code_of(call) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_grpc_errors(stub, raw):
    request = request_of(raw)

    def changed(change, base=request):
        copy = predict_pb2.PredictRequest()
        copy.CopyFrom(base)
        change(copy)
        return lambda: stub.Predict(copy)

    def version(r):
        r.model_spec.version.value = 9

    def label(r):
        r.model_spec.version_label = "none"

    cases = [
        (lambda r: r.model_spec.ClearField("name"), "NOT_FOUND"),
        (lambda r: setattr(r.model_spec, "name", "x"), "NOT_FOUND"),
        (version, "NOT_FOUND"),
        (label, "INVALID_ARGUMENT"),
        (lambda r: setattr(r.model_spec, "signature_name", "x"), "INVALID_ARGUMENT"),
        (lambda r: r.inputs.pop("day"), "INVALID_ARGUMENT"),
        (lambda r: r.inputs["more"].CopyFrom(proto(raw["user"])), "INVALID_ARGUMENT"),
        (lambda r: r.inputs["user"].CopyFrom(proto(raw["day"])), "INVALID_ARGUMENT"),
        (lambda r: r.inputs["day"].CopyFrom(proto(raw["day"].astype(np.int32))), "INVALID_ARGUMENT"),
        (lambda r: r.inputs["day"].CopyFrom(proto(raw["day"][:, None])), "INVALID_ARGUMENT"),
        (lambda r: r.inputs["day"].CopyFrom(proto(raw["day"][:5])), "INVALID_ARGUMENT"),
        (lambda r: r.inputs["day"].CopyFrom(TensorProto()), "INVALID_ARGUMENT"),
        (lambda r: setattr(r.inputs["day"].tensor_shape, "unknown_rank", True), "INVALID_ARGUMENT"),
        (lambda r: setattr(r.inputs["day"].tensor_shape.dim[0], "size", -1), "INVALID_ARGUMENT"),
        (lambda r: setattr(r.inputs["day"], "tensor_content", b"123"), "INVALID_ARGUMENT"),
        (lambda r: r.output_filter.append("x"), "INVALID_ARGUMENT"),
    ]
    for i, (change, code) in enumerate(cases):
        assert code_of(changed(change)) == code, i
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["x"])
    metadata.model_spec.name = "films"
    assert code_of(lambda: stub.GetModelMetadata(metadata)) == "INVALID_ARGUMENT"
    from tensorflow_serving.apis import classification_pb2

    assert code_of(lambda: stub.Classify(classification_pb2.ClassificationRequest())) == "UNIMPLEMENTED"
    assert code_of(changed(lambda r: None)) == "OK"


def test_rows_are_answered_side_by_side(server, stub, exports, raw):
    """Many threads, both ways, good requests among bad ones: every good one gets its own rows' scores."""

    def one(i):
        row = slice(i % 24, i % 24 + 1)
        some = {name: value[row] for name, value in raw.items()}
        if i % 3 == 0:
            assert ask(server, "POST", PREDICT, b"{")[0] == 400
        if i % 2:
            close(tf.make_ndarray(stub.Predict(request_of(some)).outputs["click"]), exports.scores[1][row])
        else:
            columns = {name: value.tolist() for name, value in some.items()}
            close(post(server, {"inputs": columns})["outputs"], exports.scores[1][row])

    with futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(120)))


def test_a_failure_of_the_server_is_its_own(server, stub, raw, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Version, "run", broken)
    assert code_of(lambda: stub.Predict(request_of(raw))) == "INTERNAL"
    assert ask(server, "POST", PREDICT, row())[0] == 500
    monkeypatch.undo()
    assert code_of(lambda: stub.Predict(request_of(raw))) == "OK"


# Versions that change


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_new_version_takes_over_without_a_failed_request(exports, folder):
    with Server(folder, port=0, rest_port=0, seconds=0.05) as server:
        done, seen, wrong = threading.Event(), set(), []

        def keep_asking(address):
            with Client(address, "films", timeout=60) as client:
                while not done.is_set():
                    try:
                        got = client.predict(exports.rows.head(2))
                        near = [v for v, s in exports.scores.items() if np.abs(got - s[:2]).max() < 1e-6]
                        seen.update(near)
                        if not near:
                            wrong.append(got)
                    except Exception as error:
                        wrong.append(error)

        askers = [
            threading.Thread(target=keep_asking, args=(address,))
            for address in (server.address, server.rest_address) * 2
        ]
        for asker in askers:
            asker.start()
        wait_until(lambda: 1 in seen)
        # Copied in place, so that the server meets it unfinished.
        (folder / "films" / "2").mkdir()
        shutil.copy(exports.later / "saved_model.pb", folder / "films" / "2")
        time.sleep(0.2)
        shutil.copytree(exports.later, folder / "films" / "2", dirs_exist_ok=True)
        wait_until(lambda: 2 in seen)
        with Client(server.address, "films") as client:
            wait_until(lambda: client.status() == {2: "AVAILABLE", 1: "END"})
            (folder / "films" / "3").mkdir()
            (folder / "films" / "3" / "saved_model.pb").write_bytes(b"no model")
            wait_until(lambda: client.status().get(3) == "END")
            assert client.status() == {3: "END", 2: "AVAILABLE", 1: "END"}
            answer = ask(server, "GET", "/v1/models/films/versions/3")[2]["model_version_status"][0]
            assert "cannot be loaded" in answer["status"]["error_message"]
        done.set()
        for asker in askers:
            asker.join()
        assert not wrong and seen == {1, 2}


@pytest.mark.slow
def test_labels_and_versions_of_a_configuration(exports, folder):
    shutil.copytree(exports.later, folder / "films" / "2")
    write_config(folder, {"films": {"stable": 1, "canary": 2}})
    first, second = exports.scores[1][:3], exports.scores[2][:3]
    rows = exports.rows.head(3)
    with Server(folder, port=0, rest_port=0, seconds=0.05) as server:
        for address in (server.address, server.rest_address):
            with Client(address, "films", label="stable") as client:
                close(client.predict(rows), first)
                assert client.status() == {1: "AVAILABLE"}
            close(Client(address, "films", label="canary").predict(rows), second)
            close(Client(address, "films").predict(rows), second)
            close(Client(address, "films", version=1).predict(rows), first)
            with pytest.raises(InputError, match="no version label 'beta'"):
                Client(address, "films", label="beta").predict(rows)
        stable = Client(server.address, "films", label="stable")
        config = (folder / "models.config").read_text()
        for broken in (
            "model_config_list {",
            "",
        ):  # what is loaded goes on, also while a file is being written
            (folder / "models.config").write_text(broken)
            time.sleep(0.2)
            close(stable.predict(rows), first)
        (folder / "models.config").write_text(config)
        write_config(folder, {"films": {"stable": 2}})
        wait_until(lambda: np.abs(stable.predict(rows) - second).max() < 1e-6)
        with pytest.raises(InputError, match="does not serve version 1"):
            Client(server.address, "films", version=1).predict(rows)


def test_stopping_waits_for_the_requests_it_has(exports, monkeypatch):
    run, running = Version.run, threading.Barrier(3)

    def slow(self, *arguments):
        running.wait(30)
        time.sleep(0.3)
        return run(self, *arguments)

    server = Server(exports.folder, port=0, rest_port=0).start()
    clients = [Client(address, "films") for address in (server.address, server.rest_address)]
    for client in clients:
        client.features()
    monkeypatch.setattr(Version, "run", slow)
    with futures.ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.predict, exports.rows.head(2)) for client in clients]
        running.wait(30)
        server.stop()
        for answer in answers:
            close(answer.result(), exports.scores[1][:2])
    with pytest.raises(ConnectionError):
        Client(server.address, "films", timeout=0.5).predict(exports.rows.head(2))


@pytest.mark.once
@pytest.mark.slow
def test_the_command(exports):
    command = [sys.executable, "-m", "cdrzoo.cli", "serve", str(exports.folder)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--rest-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.search(r"gRPC (\S+), REST", process.stdout.readline())[1]
        close(Client(address, "films", timeout=60).predict(exports.rows), exports.scores[1])
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=60)
        assert process.returncode == 0 and out == "stopped\n" and "version 1 is loaded" in log
    finally:
        process.kill()


def test_the_command_ends_while_it_starts(monkeypatch):
    """Even where SIGINT is ignored, as it is in what a script starts with `&`."""

    def start(*_, **__):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("it went on")

    monkeypatch.setattr("cdrzoo.serving.Server", start)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli.main(["serve", "saved_models"]) == 130
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_what_it_cannot_start_with(exports, tmp_path, server):
    with pytest.raises(InputError, match="holds no model"):
        Server(tmp_path, port=0, rest_port=0)
    with pytest.raises(InputError, match="not a folder"):
        Server(tmp_path / "none", port=0, rest_port=0)
    for taken in ({"port": server.port, "rest_port": 0}, {"port": 0, "rest_port": server.rest_port}):
        with pytest.raises(InputError, match="cannot be used"):
            Server(exports.folder, **taken)
