"""Random requests to a development server over both protocols: what comes back, how long a good one takes, the memory.

python -m tests.serving.fuzz [REQUESTS]      the reference exports, in a server of this process
"""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import random
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

FINE = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "CANCELLED", "DEADLINE_EXCEEDED"}
CLIENTS = {501, 505}  # a method, or a version, of HTTP that there is not


@dataclass
class Outcome:
    """What became of the requests: answers by code, what should not have been, seconds of good requests."""

    codes: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)
    good: list = field(default_factory=list)

    def __str__(self):
        times = np.sort(self.good) * 1000
        p99 = times[int(len(times) * 0.99)]
        return f"{dict(self.codes)}\ngood requests: p50 {np.median(times):.1f} ms, p99 {p99:.1f}; {self.failures[:5]}"


def attack(server, exports, requests: int, seconds: float, seed: int) -> Outcome:
    """So many random requests, within so many seconds; every tenth is a good one, which must be answered."""
    chosen, outcome, end = random.Random(seed), Outcome(), time.monotonic() + seconds
    name, good = exports.name, exports.row
    with grpc.insecure_channel(server.address) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for i in range(requests):
            if time.monotonic() > end:
                break
            if i % 10 == 0:
                start = time.monotonic()
                code = _rest(server, _http(name, json.dumps({"instances": [good]}).encode()))
                outcome.good.append(time.monotonic() - start)
                wanted = {200}
            elif i % 2:
                code, wanted = _rest(server, _random_http(chosen, name, good)), None
            else:
                code, wanted = _grpc(predict, _random_message(chosen, name, good), chosen), FINE
            outcome.codes[code] += 1
            server_fault = isinstance(code, int) and code >= 500 and code not in CLIENTS
            if server_fault or (wanted is not None and code not in wanted):
                outcome.failures.append((i, code))
    return outcome


def _grpc(predict, message, chosen):
    try:
        call = predict.future(message, timeout=chosen.choice([30, 30, 30, 0.001]))
        if chosen.random() < 0.05:
            call.cancel()
        call.result()
    except grpc.RpcError as error:
        return error.code().name
    except grpc.FutureCancelledError:
        return "CANCELLED"
    return "OK"


def _http(name, body, method="POST", path=":predict", headers=b""):
    head = f"{method} /v1/models/{name}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    return head + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _rest(server, content):
    """The status; `closed` where nothing came back."""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=60) as connection:
        received = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
    line = received.split(b"\r\n")[0].split()
    return int(line[1]) if len(line) > 1 and line[0].startswith(b"HTTP/1.") else "closed"


def _value(chosen, depth=0):
    makers = [
        lambda: chosen.choice(
            [0, -1, 2**31, 2**63, -(2**70), 10**400, 1.5, 1e300, float("nan"), float("inf")]
        ),
        lambda: chosen.choice(["", "f1", "\ud83d", "é" * 50, "x" * 5000, "\x00"]),
        lambda: chosen.choice([None, True, False, {}, [], {"b64": "?"}, {"b64": "dTE"}, {"b": 1}]),
        lambda: [_value(chosen, depth + 1) for _ in range(chosen.randrange(4))],
    ]
    return chosen.choice(makers[: 4 if depth < 4 else 3])()


def _mutated(chosen, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chosen.randrange(1, 4)):
        at = chosen.randrange(len(changed))
        what = chosen.randrange(3)
        if what == 0:
            changed[at] = chosen.randrange(256)
        elif what == 1:
            del changed[at : at + chosen.randrange(1, 9)]
        else:
            changed[at:at] = chosen.randbytes(chosen.randrange(1, 9))
        changed = changed or bytearray(b"x")
    return bytes(changed)


def _random_http(chosen, name, good) -> bytes:
    columns = {key: [value] * chosen.randrange(1, 4) for key, value in good.items()}
    row = {**good, chosen.choice([*good, "x"]): _value(chosen)}
    request = chosen.choice(
        [
            {"instances": [row] * chosen.randrange(1, 3)},
            {"inputs": {**columns, chosen.choice(list(good)): _value(chosen)}},
            {"inputs": columns},
            {"signature_name": "rank", "inputs": {**columns, "k": _value(chosen)}},
            {
                "signature_name": "serve_examples",
                "instances": [{"b64": base64.b64encode(chosen.randbytes(chosen.randrange(60))).decode()}],
            },
            _value(chosen),
        ]
    )
    body = json.dumps(request).encode()
    what = chosen.randrange(6)
    if what == 0:
        return _mutated(chosen, _http(name, body))
    if what == 1:
        return _http(name, _mutated(chosen, body))
    if what == 2:
        paths = (
            "",
            "/metadata",
            ":regress",
            "/versions/1",
            "/versions/x",
            "/labels/x:predict",
            "/versions/" + "9" * 400,
        )
        methods = ("GET", "POST", "PUT", "HEAD", "DELETE")
        return _http(chosen.choice([name, "no", "%00"]), body, chosen.choice(methods), chosen.choice(paths))
    if what == 3:
        headers = (
            b"Content-Encoding: gzip\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Host: x\r\n",
            b"Expect: 100-continue\r\n",
        )
        return _http(name, body, headers=chosen.choice(headers))
    if what == 4:
        return _http(name, body)[: chosen.randrange(1, 400)]
    return _http(name, body)


def _random_message(chosen, name, good) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = chosen.choice([name] * 8 + ["no", ""])
    request.model_spec.signature_name = chosen.choice(["", "serve_examples", "rank", "x"])
    values = {"serve_examples": {"examples": b"x"}, "rank": {**good, "k": 1}}
    for key, value in values.get(request.model_spec.signature_name, good).items():
        if chosen.random() < 0.01:
            continue
        given = chosen.randbytes(chosen.randrange(60)) if key == "examples" else value
        rows = 1 if chosen.random() < 0.98 else 2
        tensor = request.inputs[key]
        if key == "k":
            tensor.CopyFrom(tf.make_tensor_proto(chosen.choice([-1, 0, 1, 10**6]), tf.int32))
        else:
            kind = tf.float32 if isinstance(value, float) else None
            tensor.CopyFrom(tf.make_tensor_proto([given] * rows, kind if kind else _dtype(given)))
        if chosen.random() < 0.01:
            tensor.tensor_shape.dim.add(size=chosen.choice([-1, 0, 7, 10**6, 2**60]))
        if chosen.random() < 0.01:
            tensor.dtype = chosen.randrange(1, 30)
    content = request.SerializeToString() or b"x"
    what = chosen.randrange(6)
    return _mutated(chosen, content) if what < 2 else chosen.randbytes(80) if what == 2 else content


def _dtype(value):
    first = np.ravel(np.array(value, object))[0]
    return tf.int64 if isinstance(first, int) else tf.float32 if isinstance(first, float) else tf.string


def target(path: pathlib.Path) -> SimpleNamespace:
    """The name of a model, and a row it takes, from its version folder."""
    card = json.loads((path / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))
    ones = {"string": "a", "int64": 1, "float32": 1.5}
    row = {
        name: [ones[each["dtype"]]] * 2 if "any" in each["shape"] else ones[each["dtype"]]
        for name, each in card["inputs"].items()
    }
    return SimpleNamespace(name=path.parent.name, row=row)


def main() -> None:
    """The reference exports under as many requests as the command line says."""
    from cdrzoo.serving import Server

    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    folder = pathlib.Path(__file__).resolve().parents[2] / "saved_models"
    with Server(folder, port=0, rest_port=0) as server:
        for part in range(5):
            outcome = attack(server, target(folder / "dadin" / "1"), requests // 5, 3600, part)
            held = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20
            print(f"{sum(outcome.codes.values())} requests, {held} MB: {outcome}", flush=True)


if __name__ == "__main__":
    main()
