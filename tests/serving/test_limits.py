"""What a request may take of the development server, and what it says of one that is wrong: each found in an attack."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import pathlib
import random
import shutil
import socket
import threading
import time

import numpy as np
import pytest

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from cdrzoo import cli
from cdrzoo.errors import InputError
from cdrzoo.export import raw_rows, serialize_rows
from cdrzoo.serving import Client, Server, json_text, limits, rest
from cdrzoo.serving.checks import Contract
from cdrzoo.serving.limits import Refused
from cdrzoo.serving.wire import Survey
from tests.serving.test_server import FEATURES, PREDICT, ask, close, code_of, raw_bytes, request_of, row

SAVED = pathlib.Path(__file__).resolve().parents[2] / "saved_models"


@pytest.fixture(scope="module")
def raw(exports):
    return raw_rows(exports.rows.rename(columns={"film": "film id"}), FEATURES)


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    """A server of a reference export whose histories run in step."""
    folder = tmp_path_factory.mktemp("stepped")
    shutil.copytree(SAVED / "dadin", folder / "dadin")
    with Server(folder, port=0, rest_port=0) as server:
        yield server


def says(server, request, name="films"):
    """Status and error of a request over REST; over gRPC the same request must fare the same."""
    status, _, answer = ask(server, "POST", f"/v1/models/{name}:predict", json.dumps(request))
    return status, answer.get("error", "")


def grpc_says(server, inputs, signature="", name="films"):
    with grpc.insecure_channel(server.address) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        try:
            predict(request_of(inputs, signature, name))
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""


# Words


def test_columns_of_unequal_length_are_named(server, raw):
    columns = {name: value[:2] for name, value in raw.items()}
    for count in (1, 3):
        wrong = {**columns, "film": raw["film"][:count]}
        status, error = says(server, {"inputs": {name: value.tolist() for name, value in wrong.items()}})
        assert status == 400 and f"Input 'film' has {count} rows" in error and "have 2" in error
        assert grpc_says(server, wrong) == ("INVALID_ARGUMENT", error)


def test_a_rank_that_means_nothing_says_why(stepped):
    with Client(stepped.address, "dadin") as client:
        features = [f for f in client.features("rank") if f.name != "k"]
    inputs = {}
    for f in features:
        one = {"string": "a", "int64": 1, "float32": 1.0}[f.dtype]
        inputs[f.name] = [[one]] * 2 if f.kind == "ids" else [one] * 2
        if f.role == "user":
            inputs[f.name] = inputs[f.name][:1]
    inputs["k"] = 1
    for changed, message in (
        ({}, ""),
        ({"k": 0}, "'k'"),
        ({"k": -1}, "at least 1"),
        ({"user": ["a", "b"]}, "'user' must have 1 row"),
        ({"genre": ["a", "b", "c"]}, "'genre' has 3 rows"),
    ):
        status, error = says(stepped, {"signature_name": "rank", "inputs": {**inputs, **changed}}, "dadin")
        assert (status == 400) == bool(message) and message in error, error
    many = {name: value * 9000 if len(value) == 2 else value for name, value in inputs.items() if name != "k"}
    status, error = says(stepped, {"signature_name": "rank", "inputs": {**many, "k": 1}}, "dadin")
    assert status == 413 and "18,000 candidates" in error


def test_histories_of_a_row_have_the_same_steps(stepped):
    card = json.loads((SAVED / "dadin/1/assets.extra/model_card.json").read_text())["inputs"]

    def request(**steps):
        row = {}
        for name, each in card.items():
            one = {"string": "a", "int64": 1, "float32": 1.0}[each["dtype"]]
            row[name] = steps.get(name, [one, one]) if "any" in each["shape"] else one
        return says(stepped, {"instances": [row]}, "dadin")

    assert request()[0] == 200
    assert request(films_genres=[""])[0] == 200  # missing altogether
    assert request(films_genres=["a", ""])[0] == 200  # a value is missing
    assert request(films_shown=["a", "b", ""], films_clicks=[1, 0, -1])[0] == 200  # padded
    status, error = request(films_shown=["a", "b", "c"], films_clicks=[1, 0, 1])
    assert status == 400 and "Row 0 has 2 steps of 'films_genres' and 3 of 'films_shown'" in error

    def example(**steps):
        made = tf.train.Example()
        for name, count in steps.items():
            made.features.feature[name].bytes_list.value.extend([b"a"] * count)
        examples = np.array([b"", made.SerializeToString()], object)
        return grpc_says(stepped, {"examples": examples}, "serve_examples", "dadin")

    assert example(films_shown=2, films_genres=2)[0] == example(films_shown=2)[0] == "OK"
    code, error = example(films_shown=3, films_genres=2)
    assert (
        code == "INVALID_ARGUMENT" and "Row 1 has 2 steps of 'films_genres' and 3 of 'films_shown'" in error
    )


def test_histories_of_the_same_events_run_in_step(tmp_path):
    def history(name, where=None):
        return {"name": name, "role": "history", "of": "books", "where": where}

    features = [history("bought", {"type": "buy"}), history("read"), history("read_genres")]
    card = {
        "inputs": {each["name"]: {"dtype": "string"} for each in features},
        "schema": {"target": "films", "domains": {"films": {"features": features}}},
    }
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/model_card.json").write_text(json.dumps(card))
    contract = Contract.read(tmp_path)
    assert contract.in_step == (("read", "read_genres"),)
    contract.check("reading", {"examples": np.array([b""], object)})  # it takes no features


def test_a_step_without_a_value_keeps_its_place_in_an_example():
    """The steps behind it would slide forward, beside other events."""
    rows = {"seen": np.array([["a", "", "b"], ["", "", ""]], object)}
    first, second = serialize_rows(rows, [f for f in FEATURES if f.name == "seen"])
    assert tf.train.Example.FromString(first).features.feature["seen"].bytes_list.value == [b"a", b"", b"b"]
    assert second == b""


def test_what_is_no_example_is_the_request_at_fault(server, raw, caplog):
    """It was 500, and a traceback in the log for each."""
    chosen = random.Random(4)
    good = serialize_rows({name: value[:1] for name, value in raw.items()}, FEATURES)[0]
    kind = tf.train.Example()
    kind.features.feature["day"].float_list.value.append(1.5)
    with caplog.at_level(logging.ERROR):
        for wrong, message in (
            (b"garbage", "Row 1 of 'examples' is not"),
            (kind.SerializeToString(), "'day' as float_list. It takes int64_list"),
            *((chosen.randbytes(chosen.randrange(1, 150)), "") for _ in range(100)),
        ):
            code, error = grpc_says(server, {"examples": np.array([good, wrong], object)}, "serve_examples")
            assert code in ("OK", "INVALID_ARGUMENT") and message in error
            values = [{"b64": base64.b64encode(each).decode()} for each in (good, wrong)]
            request = {"signature_name": "serve_examples", "inputs": {"examples": values}}
            assert says(server, request) == (200 if code == "OK" else 400, error)
    assert not caplog.records


def test_examples_of_one_long_row_among_many_are_counted_as_the_graph_pads_them(stepped):
    long = tf.train.Example()
    long.features.feature["films_shown"].bytes_list.value.extend([b"a"] * 50_000)
    examples = np.array([long.SerializeToString()] + [b""] * 1000, object)
    code, error = grpc_says(stepped, {"examples": examples}, "serve_examples", "dadin")
    assert code == "RESOURCE_EXHAUSTED" and "50,000" in error


def test_what_the_graph_says_is_said_without_what_stands_around_it():
    from cdrzoo.serving.checks import words

    boilerplate = """Graph execution error:

Detected at node 'add' defined at (most recent call last):
<stack traces unavailable>
Detected at node 'add' defined at (most recent call last):
<stack traces unavailable>
2 root error(s) found.
  (0) INVALID_ARGUMENT: Incompatible shapes: [2] vs. [3]
\t [[{{node add}}]]
\t [[add/_3]]
"""
    assert (
        words(tf.errors.InvalidArgumentError(None, None, boilerplate)) == "Incompatible shapes: [2] vs. [3]"
    )
    assert words(ValueError()) == "ValueError" and len(words(ValueError("x" * 10**6))) <= 500


def test_a_version_that_cannot_be_loaded_says_why(exports, folder, caplog):
    broken = shutil.copytree(exports.later, folder / "films" / "2")
    (broken / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
    record = tf.io.TFRecordWriter(str(broken.parent / "warm"))
    shutil.copytree(exports.later, folder / "films" / "3")
    from tensorflow_serving.apis import prediction_log_pb2

    warm = prediction_log_pb2.PredictionLog()
    warm.predict_log.request.CopyFrom(request_of({"examples": np.array([b"\xff"], object)}, "serve_examples"))
    record.write(warm.SerializeToString())
    record.close()
    (broken.parent / "warm").rename(folder / "films/3/assets.extra/tf_serving_warmup_requests")
    (folder / "models.config").write_text(
        'model_config_list { config { name: "films" base_path: "/models/films" model_version_policy { all {} } } }'
    )
    with Server(folder, port=0, rest_port=0) as server:
        found = {
            each["version"]: each["status"]["error_message"]
            for each in ask(server, "GET", "/v1/models/films")[2]["model_version_status"]
        }
    assert found["1"] == "" and "Graph execution" not in str(found)
    assert len(found["2"]) > len("cannot be loaded: ") + 10
    assert "its warm-up request 0 fails" in found["3"] and found["3"] in caplog.text


# Sizes and names, before memory is taken


def memory() -> int:
    """Bytes that this process holds."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_names_and_the_sum_of_values_are_looked_at_before_the_tensors(stub, raw):
    request = request_of({})
    for i in range(100):  # 2.9 kB; it took 1.5 GB and 19 seconds
        tensor = request.inputs[f"x{i}"]
        tensor.dtype = tf.float64.as_datatype_enum
        tensor.tensor_shape.dim.add(size=2_000_000)
        tensor.double_val.append(1.0)
    before, start = memory(), time.monotonic()
    with pytest.raises(grpc.RpcError, match="There is no input 'x"):
        stub.Predict(request)
    assert memory() - before < 50 * 2**20 and time.monotonic() - start < 5
    request = request_of(raw)
    for name in ("user", "film"):  # each alone would be taken
        request.inputs[name].CopyFrom(tf.make_tensor_proto(["u"], tf.string, [1]))
        request.inputs[name].tensor_shape.dim[0].size = 600_000
    with pytest.raises(grpc.RpcError, match="1,000,000 are the most"):
        stub.Predict(request)
    assert memory() - before < 50 * 2**20


def counted(**tensor):
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([], tf.int64))
    for name, values in tensor.items():
        getattr(request.inputs["x"], name).extend(values)
    return Survey.of(request.SerializeToString()).count()


def test_values_are_counted_on_the_bytes():
    assert counted() == 0
    assert counted(int64_val=[1, -1, 300]) == counted(string_val=[b"", b"abc", b"\x80" * 200]) == 3
    assert counted(float_val=[1.0] * 7) == counted(double_val=[0.0] * 7) == counted(bool_val=[True] * 7) == 7
    for shape, count in (([], 1), ([3, 4], 12), ([0, 5], 0), ([10, 0, 10**9], 0)):
        request = predict_pb2.PredictRequest()
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros(shape, np.float32)))
        assert Survey.of(request.SerializeToString()).count() == count
    for size in (limits.MAX_VALUES, limits.MAX_VALUES + 1, 2**62):
        request.inputs["x"].tensor_shape.CopyFrom(tf.TensorShape([1, size]).as_proto())
        survey = Survey.of(request.SerializeToString())
        if size == limits.MAX_VALUES:
            assert survey.count() == size
        else:
            with pytest.raises(Refused, match="are the most"):
                survey.count()
    with pytest.raises(Refused, match="more than"):
        Survey.of(b"\x12\x00" * (limits.MAX_INPUTS + 1))


@pytest.mark.slow
def test_json_is_parsed_in_pieces_as_it_is_in_one(monkeypatch):
    chosen = random.Random(7)
    monkeypatch.setattr(json_text, "PIECE", 8)
    monkeypatch.setattr(json_text, "BLOCK", 13)

    def made(depth=0):
        kind = chosen.randrange(7 if depth < 5 else 4)
        if kind < 2:
            return chosen.choice([5, -3.25, True, None, 10**12])
        if kind < 4:
            return "".join(chosen.choice('a,"\\[]{}:\u00e9\u2200') for _ in range(chosen.randrange(9)))
        if kind < 6:
            return [made(depth + 1) for _ in range(chosen.randrange(7))]
        return {f'k{i},":': made(depth + 1) for i in range(chosen.randrange(4))}

    def outcome(parse, text):
        try:
            return parse(text)
        except (ValueError, Refused):
            return "refused"

    refused = 0
    for _ in range(1500):
        value = [made() for _ in range(chosen.randrange(6))]
        text = json.dumps(value, ensure_ascii=chosen.random() < 0.5).encode()
        assert json_text.parse(text) == value
        broken = bytearray(text)
        broken[chosen.randrange(len(broken))] = chosen.choice(b',:[]{}"\\1 \xff')
        wanted = outcome(lambda t: json.loads(t.decode(), object_pairs_hook=json_text._once), bytes(broken))
        assert outcome(json_text.parse, bytes(broken)) == wanted, bytes(broken)
        refused += wanted == "refused"
    assert refused > 300


def test_json_is_counted_before_it_is_parsed():
    most = limits.MAX_VALUES
    for text, message in (
        (b"[" + b"[]," * most + b"[]]", "are the most"),
        (b"[" * 10_000, "nested too deeply"),
        (b'{"a": ' * 40, "nested too deeply"),
        (b'["' + b"x" * 2**22 + b'"]', "A text has"),
        (b'{"a": 1, "a": 2}', "'a' more than once"),
        (b"[" + b"9" * 5000 + b"]", "not JSON"),
    ):
        with pytest.raises(Refused, match=message):
            json_text.parse(text)
    commas = {"title": ["a, b, [c], {d}" * 1000] * 100, "quote": '\\" , , ,' * 3}
    assert json_text.parse(json.dumps(commas).encode()) == commas  # those within text are no values


def test_errors_have_a_length(server, stub, raw):
    long = "\u00e4" * 20_000
    for change in (
        lambda r: setattr(r.model_spec, "name", long),
        lambda r: setattr(r.model_spec, "signature_name", long),
        lambda r: setattr(r.model_spec, "version_label", long),
        lambda r: r.inputs[long].CopyFrom(r.inputs["user"]),
        lambda r: r.output_filter.append(long),
    ):
        request = request_of(raw)
        change(request)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request)
        assert caught.value.code().name in ("NOT_FOUND", "INVALID_ARGUMENT"), caught.value.details()[:200]
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[long])
    metadata.model_spec.name = "films"
    assert code_of(lambda: stub.GetModelMetadata(metadata)) == "INVALID_ARGUMENT"
    for body in (row(user=5).replace("user", long), row(age=long), row(day=10**300), row(user={long: 1})):
        status, _, answer = ask(server, "POST", PREDICT, body.encode())
        assert status == 400 and len(answer["error"]) < 2000


def test_the_client_sends_fewer_of_long_rows(server, exports, monkeypatch):
    monkeypatch.setattr("cdrzoo.serving.client.MAX_VALUES", 100)
    with Client(server.address, "films") as client:
        client.features()
        sent, predict = [], client._transport.predict
        monkeypatch.setattr(client._transport, "predict", lambda *given: sent.append(1) or predict(*given))
        close(client.predict(exports.rows), exports.scores[1])
    assert len(sent) == 3


# As TensorFlow Serving does


def test_bodies_come_whole_in_chunks_or_packed(server, exports):
    body = row().encode()
    whole = ask(server, "POST", PREDICT, body)[2]
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost:{server.rest_port}\r\nConnection: close\r\n".encode()
    parts = b"".join(b"%x;note=1\r\n%b\r\n" % (len(p), p) for p in (body[:7], body[7:60], body[60:]))
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\nTrailer: x\r\n\r\n"
    assert json.loads(raw_bytes(server, chunked).partition(b"\r\n\r\n")[2]) == whole
    packed = {"Content-Encoding": "gzip"}
    assert ask(server, "POST", PREDICT, gzip.compress(body), packed)[2] == whole
    for sent, status in (
        (gzip.compress(b" " * 300_000), 413),
        (gzip.compress(body)[:-9], 400),
        (gzip.compress(body) + b"x", 400),
    ):
        assert ask(server, "POST", PREDICT, sent, packed)[0] == status
    for sent, status in ((b"zz\r\n", 400), (b"fffffff\r\n", 413), (b"3\r\nabcd\r\n", 400), (b"5\r\nab", 400)):
        got = raw_bytes(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + sent)
        assert got.startswith(b"HTTP/1.1 %d " % status), got


def test_paths_and_values_as_tensorflow_serving_takes_them(server):
    assert ask(server, "GET", "/V1/Models/films/METADATA")[0] == 200
    assert ask(server, "GET", "/v1/models/FILMS")[0] == 404
    assert ask(server, "POST", PREDICT.upper().replace("FILMS", "films"), row())[0] == 200
    assert ask(server, "POST", PREDICT, row(user={"b64": "dTE"}))[0] == 200  # without its padding
    assert ask(server, "POST", PREDICT, row(user={"b64": "dTE=="}))[0] in (200, 400)
    assert ask(server, "POST", PREDICT, row(age=2**24 - 1))[0] == 200
    assert ask(server, "POST", PREDICT, row(age=float(2**25)))[0] == 200
    for wrong in (2**24, -(2**24), 10**30):
        status, _, answer = ask(server, "POST", PREDICT, row(age=wrong))
        assert status == 400 and "'age'" in answer["error"] and "16,777,215" in answer["error"]
    status, _, answer = ask(server, "POST", PREDICT, row().replace('"u1"', '"\\ud83d"'))
    assert status == 400 and "'user' holds half a character" in answer["error"]


@pytest.mark.parametrize("protocol", ["address", "rest_address"])
def test_half_a_character_is_said_alike_over_both_protocols(server, protocol):
    values = json.loads(row())["instances"][0]
    with Client(getattr(server, protocol), "films") as client:
        for name, wrong in (("user", "\ud83d"), ("seen", ["f1", "x\udc00"])):
            with pytest.raises(InputError, match=f"'{name}'"):
                client.predict({**{n: [v] for n, v in values.items()}, "read": [[1]], name: [wrong]})


# Connections


def test_every_request_line_gets_a_status_line(server):
    for line in (
        b"GET / HTTP/9.9",
        b"PRI * HTTP/2.0",
        b"GET",
        b"\x00" * 100,
        b"GET /v1/models/films",
        b"a b c d",
        b"",
    ):
        got = raw_bytes(server, line + b"\r\n\r\n")
        assert got.startswith(b"HTTP/1."), (line, got)
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n"
    assert raw_bytes(server, head + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n").startswith(
        b"HTTP/1.1 404 "
    )
    head = head.replace(b"/nothing", PREDICT.encode())
    for length, status in ((b"9" * 5000, 413), (b"0" * 50 + b"2", 400), (b"2\r\nContent-Length: 3", 400)):
        got = raw_bytes(server, head + b"Content-Length: " + length + b"\r\n\r\n{}")
        assert got.startswith(b"HTTP/1.1 %d " % status), got
    many = b"".join(b"X-%d: %b\r\n" % (i, b"y" * 2000) for i in range(60))
    assert raw_bytes(server, head + many + b"\r\n").startswith(b"HTTP/1.1 431 ")


@pytest.mark.slow
def test_a_client_that_is_still_sending_reads_why_it_was_refused(exports, monkeypatch):
    """Closed over unread bytes, the connection was reset, and the answer lost."""
    monkeypatch.setattr(rest, "REQUEST_SECONDS", 0.5)
    much = 12 * 2**20  # above what the sockets of both ends hold
    line = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode()
    sized = b"Content-Length: %d\r\n\r\n" % much

    def status(connection, head):
        connection.sendall(head)
        for _ in range(much // 2**16):
            connection.sendall(b"x" * 2**16)
        return connection.recv(100)[9:12]

    with Server(exports.folder, port=0, rest_port=0, max_bytes=200_000) as server:
        address = ("127.0.0.1", server.rest_port)
        for head, wanted in (
            (line + b"X: ", b"431"),
            (line + sized, b"413"),
            (line.replace(b"films", b"none") + sized, b"404"),
            (line + b"\r\n", b"411"),
            (line + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", b"413"),
            (line + b"Content-Type: image/png\r\n" + sized, b"415"),
            (b"no request\r\n\r\n", b"400"),
            (line.replace(b"localhost", b"rebound.example") + sized, b"403"),
        ):
            with socket.create_connection(address, timeout=10) as connection:
                assert status(connection, head) == wanted
        with socket.create_connection(address, timeout=10) as late:  # goes on when its time is over
            late.sendall(line + b"Content-Length: 100000\r\n\r\n")
            for _ in range(20):
                late.sendall(b" ")
                time.sleep(0.1)
            assert late.recv(100)[9:12] == b"408"
        monkeypatch.setattr(rest, "CONNECTIONS", 0)
        monkeypatch.setattr(server._rest.arrivals, "evict", lambda most=0: False)
        with socket.create_connection(address, timeout=10) as connection:
            assert status(connection, line + sized) == b"503"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:{port}", "[::1]:{port}", None])
def test_hosts_of_this_machine_are_answered(server, host):
    given = b"" if host is None else b"Host: %b\r\n" % host.format(port=server.rest_port).encode()
    got = raw_bytes(server, b"GET /v1/models/films HTTP/1.1\r\nConnection: close\r\n" + given + b"\r\n")
    assert got.startswith(b"HTTP/1.1 200 ")
    got = raw_bytes(server, b"GET /v1/models/films HTTP/1.1\r\nHost: rebound.example\r\n" + given + b"\r\n")
    assert got.startswith(b"HTTP/1.1 403 " if host is None else b"HTTP/1.1 400 ")


@pytest.mark.exhaustive
def test_half_requests_are_cut_off_and_a_full_server_says_so(exports, monkeypatch):
    monkeypatch.setattr(rest, "CONNECTIONS", 6)
    monkeypatch.setattr(rest, "REQUEST_SECONDS", 2.0)
    monkeypatch.setattr("cdrzoo.serving.server.REQUEST_SECONDS", 2.0)
    half = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
    with Server(exports.folder, port=0, rest_port=0) as server:
        held = [socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) for _ in range(12)]
        start = time.monotonic()
        for connection in held:
            connection.sendall(half + b"{")
        dripping = threading.Event()

        def drip():  # a byte now and then holds nothing up
            while not dripping.wait(0.3):
                for connection in held:
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        pass

        threading.Thread(target=drip, daemon=True).start()
        answers = []
        for connection in held:
            try:
                answers.append(connection.recv(100)[9:12])
            except ConnectionError:
                answers.append(b"")
        dripping.set()
        assert answers[:6] == [b"408"] * 6 and answers.count(b"503") >= 3, answers
        assert time.monotonic() - start < 20
        assert ask(server, "GET", "/v1/models/films")[0] == 200
        # One that only waits makes room for one that asks.
        idle = [socket.create_connection(("127.0.0.1", server.rest_port), timeout=30) for _ in range(6)]
        time.sleep(1.5)
        assert ask(server, "GET", "/v1/models/films")[0] == 200
        for connection in [*held, *idle]:
            connection.close()
        # The same over gRPC: a call without its request.
        with grpc.insecure_channel(server.address) as channel:
            call = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
            over = threading.Event()

            def nothing():
                over.wait(30)
                yield b""

            waiting = [call.future(nothing()) for _ in range(4)]
            for each in waiting:
                assert each.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)
            over.set()


def test_few_large_requests_may_wait(monkeypatch):
    lane = limits.Lane()
    monkeypatch.setattr(lane, "_places", threading.BoundedSemaphore(1))
    with lane.place(), pytest.raises(Refused, match="are waiting"), lane.place():
        pass
    with lane.place():
        pass


# Settings


def test_numbers_that_mean_nothing_are_refused_by_name(exports, tmp_path, folder, capsys):
    for setting in ({"port": 99999}, {"port": -1}, {"rest_port": 65536}, {"rest_port": -2}):
        with pytest.raises(
            InputError, match=f"`{next(iter(setting))}` must be a whole number from 0 to 65535"
        ):
            Server(exports.folder, **{"port": 0, "rest_port": 0, **setting})
    for seconds in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InputError, match="`seconds` must be a finite number above 0"):
            Server(exports.folder, port=0, rest_port=0, seconds=seconds)
    for labels, message in (
        (["a=\u00b2"], "number of a version"),
        (["a=" + "9" * 5000], "number of a version"),
        (["a=x"], "number of a version"),
        (["a b=1"], "no blanks"),
        (["a/b=1"], "no blanks"),
        (["a=1", "a=1"], "twice"),
        (["a=" + str(2**63 - 1)], "must name a version that is there"),
    ):
        assert cli.main(["label", str(folder), "films", *labels]) == 2
        assert message in capsys.readouterr().err


def test_versions_beyond_int64_are_passed_over(exports, folder, caplog):
    huge = str(10**20)
    shutil.copytree(exports.later, folder / "films" / huge)
    shutil.copytree(exports.later, folder / "films" / "007")
    with caplog.at_level(logging.WARNING), Server(folder, port=0, rest_port=0, seconds=0.05) as server:
        time.sleep(0.3)
        with Client(server.address, "films") as client:
            assert client.status() == {1: "AVAILABLE"}
            close(client.predict(exports.rows), exports.scores[1])
    assert caplog.text.count(huge) == 1


# Many


@pytest.mark.exhaustive
def test_random_requests_get_errors_and_take_nothing(exports, caplog):
    from tests.serving.fuzz import attack, target

    films = target(exports.folder / "films" / "1")
    with caplog.at_level(logging.ERROR), Server(exports.folder, port=0, rest_port=0) as server:
        attack(server, films, requests=200, seconds=60, seed=1)
        before = memory()
        outcome = attack(server, films, requests=1500, seconds=120, seed=2)
        assert outcome.failures == [] and memory() - before < 150 * 2**20
    assert not caplog.records
