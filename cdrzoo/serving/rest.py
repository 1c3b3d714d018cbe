"""The REST interface of the development server: TensorFlow Serving's paths and its JSON, over `http.server`."""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.server
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from cdrzoo.errors import shown
from cdrzoo.serving.versions import MAX_VALUES, Models, Refused, Version, invalid, log

PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<action>/metadata|:predict|:classify|:regress)?"
)
# curl says it sends a form where it is not told otherwise, and TensorFlow Serving's own examples do not tell it.
TYPES = ("application/json", "application/x-www-form-urlencoded", "text/plain", "")

STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 413,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""HTTP status of each status of gRPC; of any other 500."""


# JSON and arrays -----------------------------------------------------------------------------------------------------


def predict(body: bytes, version: Version) -> dict[str, Any]:
    """The answer to the body of a `:predict` request: `{"predictions": ...}` to rows, `{"outputs": ...}` to columns."""
    try:
        request = json.loads(body)
    except ValueError as error:  # bytes that are not UTF-8 too
        raise invalid(f"The body is not JSON: {error}.") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise invalid('The body must be an object with either "instances" (rows) or "inputs" (columns).')
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid('"signature_name" must be a string.')
    infos = version.signature(name).inputs
    rows = "instances" in request
    columns = _columns(request["instances"], infos) if rows else request["inputs"]
    if not (isinstance(columns, Mapping) and _bytes(columns) is None):
        if len(infos) != 1:
            raise invalid(f'"inputs" must be an object with {", ".join(sorted(infos))}.')
        columns = {next(iter(infos)): columns}
    inputs = {}
    for key, value in columns.items():
        if key not in infos:
            raise invalid(f"There is no input {key!r}. Inputs: {', '.join(sorted(infos))}.")
        inputs[key] = dense(value, tf.as_dtype(infos[key].dtype), key)
    outputs = {key: _values(value) for key, value in version.run(name, inputs).items()}
    answer: Any = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    if not rows:
        return {"outputs": answer}
    if len(outputs) > 1:
        answer = [dict(zip(outputs, row)) for row in zip(*outputs.values(), strict=True)]
    return {"predictions": answer}


def _columns(instances: Any, infos: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Rows, `[{input: value}]` or, of a signature with one input, `[value]`, as columns."""
    if not isinstance(instances, list) or not instances:
        raise invalid('"instances" must be a list of at least one row.')
    if not (isinstance(instances[0], dict) and _bytes(instances[0]) is None):
        if len(infos) != 1:
            raise invalid(f"A row must be an object with {', '.join(sorted(infos))}.")
        return {next(iter(infos)): instances}
    for i, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != instances[0].keys():
            raise invalid(f"Row {i} must have the inputs of row 0: {', '.join(map(str, instances[0]))}.")
    return {key: [row[key] for row in instances] for key in instances[0]}


def dense(value: Any, dtype: tf.DType, name: str) -> np.ndarray:
    """Nested lists as an array; every list of one depth has one length, every value is of the type."""
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    if len(shape) > 8:
        raise invalid(f"Input {name!r} is nested too deeply.")
    flat = list(_flat(value, shape, name))
    if len(flat) > MAX_VALUES:
        raise Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"Input {name!r} has {len(flat):,} values, and {MAX_VALUES:,} are the most. Split the request.",
        )
    typed = [_typed(each, dtype, name) for each in flat]
    if dtype == tf.string:
        values = np.empty(len(typed), object)
        values[:] = typed
    else:
        try:
            with np.errstate(over="raise"):
                values = np.array(typed, float if dtype.is_floating else np.int64).astype(
                    dtype.as_numpy_dtype
                )
            fits = dtype.is_floating or values.tolist() == typed
        except (OverflowError, FloatingPointError):
            fits = False
        if not fits:
            raise invalid(f"Input {name!r} has a number that is too large for {dtype.name}.")
    return values.reshape(shape)


def _flat(value: Any, shape: list[int], name: str) -> Iterator[Any]:
    if not shape:
        if isinstance(value, list):
            raise invalid(f"Input {name!r} has a list where other rows have a value.")
        yield value
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise invalid(
            f"Input {name!r} must be dense: lists of one depth have one length. Pad sequences with what stands for "
            'missing ("" or -1).'
        )
    for each in value:
        yield from _flat(each, shape[1:], name)


def _typed(value: Any, dtype: tf.DType, name: str) -> Any:
    if dtype == tf.string:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        if (decoded := _bytes(value)) is not None:
            return decoded
    elif dtype == tf.bool:
        if isinstance(value, bool):
            return value
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    elif isinstance(value, float) and dtype.is_floating:
        return value
    raise invalid(f"Input {name!r} must be {dtype.name}. Received: {json.dumps(value)[:80]}.")


def _bytes(value: Any) -> bytes | None:
    """What `{"b64": "..."}` holds; `None` of anything else."""
    if not isinstance(value, Mapping) or value.keys() != {"b64"} or not isinstance(value["b64"], str):
        return None
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid('The value of "b64" is not base64.') from None


def _values(value: np.ndarray) -> Any:
    if value.dtype == object:
        value = np.vectorize(lambda each: each.decode("utf-8", "replace"), otypes=[object])(value)
    return value.tolist()


def status(statuses: Mapping[int, Any]) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME`."""
    name_of = get_model_status_pb2.ModelVersionStatus.State.Name
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": name_of(each.state),
                "status": {
                    "error_code": "UNKNOWN" if each.message else "OK",
                    "error_message": each.message,
                },
            }
            for number, each in statuses.items()
        ]
    }


def metadata(version: Version) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME/metadata`."""
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=version.signatures)
    return {
        "model_spec": {"name": version.name, "signature_name": "", "version": str(version.number)},
        "metadata": {
            "signature_def": json_format.MessageToDict(signatures, preserving_proto_field_name=True)
        },
    }


# HTTP ----------------------------------------------------------------------------------------------------------------


class HTTPError(Exception):
    """A request that HTTP itself turns away."""

    def __init__(self, status: int, message: str, **headers: str):
        super().__init__(message)
        self.status = status
        self.headers = headers


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "cdrzoo"
    sys_version = ""
    timeout = 60
    disable_nagle_algorithm = True
    server: RestServer

    def answer(self) -> None:
        """Any method: finds what the path asks for and replies with JSON, whatever happens."""
        self.unread = True
        headers: Mapping[str, str] = {}
        with self.server.working():
            try:
                code, reply = 200, self._result()
            except HTTPError as error:
                code, reply, headers = error.status, {"error": str(error)}, error.headers
            except Refused as refused:
                code, reply = STATUS.get(refused.code, 500), {"error": refused.message}
            except RecursionError:
                code, reply = 400, {"error": "The body is nested too deeply."}
            except (ConnectionError, TimeoutError):
                raise
            except Exception as error:
                log.exception("%s %s failed", self.command, self.path)
                code, reply = 500, {"error": f"The server failed: {type(error).__name__}."}
            self._reply(code, reply, headers)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = answer

    def _result(self) -> dict[str, Any]:
        found = PATH.fullmatch(unquote(self.path.partition("?")[0]))
        if not found:
            raise HTTPError(404, f"There is nothing at {self.path[:200]}. Models are under /v1/models/NAME.")
        action = found["action"] or ""
        method = "POST" if action.startswith(":") else "GET"
        if self.command != method:
            raise HTTPError(405, f"{found[0]} takes {method}, not {self.command}.", Allow=method)
        models: Models = self.server.models
        number = found["version"]
        if number is not None and not (number.isascii() and number.isdigit()):
            raise invalid(f"A version is a whole number. Received: {shown(number)}.")
        version = None if number is None else int(number[:20])
        if action == ":predict":
            body = self._body()
            return predict(body, models.find(found["name"], version, found["label"]))
        if action in (":classify", ":regress"):
            raise HTTPError(501, f"{action[1:]} is not served; exports have signatures of predict.")
        if action == "/metadata":
            return metadata(models.find(found["name"], version, found["label"]))
        if found["label"] is not None:
            version = models.find(found["name"], label=found["label"]).number
        return status(models.statuses(found["name"], version))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") or "Content-Length" not in self.headers:
            raise HTTPError(411, "Say the length of the body in Content-Length.")
        given = self.headers["Content-Length"].strip()
        if not (given.isascii() and given.isdigit()):
            raise HTTPError(400, f"Content-Length is not a number: {given[:40]!r}.")
        length, most = int(given[:20]), self.server.max_bytes
        if length > most:
            raise HTTPError(
                413, f"The body has {length:,} bytes, and {most:,} are the most. Split the request."
            )
        if self.headers.get_content_type() not in TYPES and "Content-Type" in self.headers:
            raise HTTPError(415, f"Send application/json. Received: {self.headers.get_content_type()}.")
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HTTPError(415, f"Send the body as it is, not {self.headers['Content-Encoding']}.")
        body = self.rfile.read(length)
        if len(body) < length:
            raise HTTPError(400, f"The body ended after {len(body):,} of {length:,} bytes.")
        self.unread = False
        return body

    def _reply(self, code: int, reply: Any, headers: Mapping[str, str]) -> None:
        content = (json.dumps(reply) + "\n").encode()
        if self.unread and self.command != "GET":  # what is left of the body would read as the next request
            self.close_connection = True
            self._discard()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _discard(self) -> None:
        """Reads what a client is still sending, within reason: it looks for the answer only when it has sent all."""
        given = self.headers.get("Content-Length", "0").strip()
        left = min(int(given), 16 * self.server.max_bytes) if given.isascii() and given.isdigit() else 0
        self.connection.settimeout(2)
        try:
            while left > 0 and (read := self.rfile.read1(min(left, 1 << 16))):
                left -= len(read)
        except (TimeoutError, ConnectionError):
            pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What `http.server` itself turns away: broken request lines, headers and methods."""
        self.close_connection = True
        content = (json.dumps({"error": message or self.responses[code][0]}) + "\n").encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class RestServer(http.server.ThreadingHTTPServer):
    """The HTTP server; a thread a connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], models: Models, max_bytes: int):
        super().__init__(address, Handler)
        self.models = models
        self.max_bytes = max_bytes
        self._busy = threading.Condition()
        self._working = 0

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While a request is being answered."""
        with self._busy:
            self._working += 1
        try:
            yield
        finally:
            with self._busy:
                self._working -= 1
                self._busy.notify_all()

    def finish(self, seconds: float) -> None:
        """Waits until the requests that are being answered have their answers."""
        with self._busy:
            self._busy.wait_for(lambda: not self._working, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("A connection broke", exc_info=True)
