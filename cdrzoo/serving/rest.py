"""The REST interface of the development server: TensorFlow Serving's paths, over `http.server`."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import io
import json
import re
import threading
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import grpc

from cdrzoo.serving.connections import Arriving, Closing
from cdrzoo.serving.limits import (
    CONNECTIONS,
    IDLE_SECONDS,
    LARGE_BYTES,
    MAX_MESSAGE,
    REQUEST_SECONDS,
    Arrivals,
    Lane,
    Refused,
    invalid,
    quoted,
    short,
)
from cdrzoo.serving.rest_json import metadata, predict, status
from cdrzoo.serving.versions import Models, log

PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<action>/metadata|:predict|:classify|:regress)?",
    re.IGNORECASE,
)
# curl says it sends a form where it is not told otherwise, and TensorFlow Serving's own examples do not tell it.
TYPES = ("application/json", "application/x-www-form-urlencoded", "text/plain", "")
MAX_HEAD = 2**16
"""Bytes of all headers together."""

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


class HTTPError(Exception):
    """A request that HTTP itself turns away."""

    def __init__(self, status: int, message: str, **headers: str):
        super().__init__(short(message, MAX_MESSAGE))
        self.status = status
        self.headers = headers


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "cdrzoo"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: RestServer
    rfile: Any
    raw_requestline: bytes
    late = False

    # A request's way ----------------------------------------------------------------------------------------------

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(Arriving(self.connection, lambda: self.late))

    def handle_one_request(self) -> None:
        """Waits for a request, which must then be here in time, and answers it."""
        arrivals = self.server.arrivals
        arrivals.begin(self, IDLE_SECONDS, self._cut)
        try:
            first = self.rfile.peek(1)
            arrivals.begin(self, REQUEST_SECONDS, self._cut)
            if first.startswith(b"\r\n"):  # of the request before, as some clients send it
                self.rfile.readline()
            super().handle_one_request()
        except TimeoutError:
            self.close_connection = True
        finally:
            arrivals.end(self)

    def _cut(self) -> None:
        self.late = True

    def parse_request(self) -> bool:
        """The request line and the headers, which have a limit together."""
        if not self.raw_requestline.strip():
            self.requestline = ""
            self.send_error(400, "The request line is empty.")
            return False
        file, self.rfile = self.rfile, _Head(self.rfile)
        try:
            return super().parse_request()
        finally:
            self.rfile = file

    def answer(self) -> None:
        """Any method: finds what the path asks for and replies with JSON, whatever happens."""
        self.unread = True
        headers: Mapping[str, str] = {}
        if self.request_version == "HTTP/0.9":  # which knows neither a status nor headers
            self.request_version = "HTTP/1.0"
        with self.server.working(), contextlib.ExitStack() as place:
            try:
                code, reply = 200, self._result(place)
            except HTTPError as error:
                code, reply, headers = error.status, {"error": str(error)}, error.headers
            except Refused as refused:
                code, reply = STATUS.get(refused.code, 500), {"error": refused.message}
            except (ConnectionError, TimeoutError):
                raise
            except Exception as error:
                log.exception("%s %s failed", self.command, short(self.path))
                code, reply = 500, {"error": f"The server failed: {type(error).__name__}."}
            self._reply(code, reply, headers)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = answer

    def _result(self, place: contextlib.ExitStack) -> dict[str, Any]:
        self._check_arrived()
        self._check_host()
        found = PATH.fullmatch(unquote(self.path.partition("?")[0]))
        if not found:
            raise HTTPError(404, f"There is nothing at {short(self.path)}. Models are under /v1/models/NAME.")
        action = (found["action"] or "").lower()
        method = "POST" if action.startswith(":") else "GET"
        if self.command != method:
            raise HTTPError(
                400 if self.command in ("GET", "POST") else 405,
                f"Malformed request: {self.command} {short(found[0])}. It takes {method}.",
                Allow=method,
            )
        models: Models = self.server.models
        number = found["version"]
        if number is not None and not (number.isascii() and number.isdigit()):
            raise invalid(f"A version must be a whole number. Received: {quoted(number)}.")
        version = None if number is None else _whole(number)
        if action == ":predict":
            models.find(found["name"], version, found["label"])  # before the body is read
            body = self._body(place)
            self.server.arrivals.end(self)
            large = len(body) > LARGE_BYTES
            with self.server.lane.turn() if large else contextlib.nullcontext():
                return predict(body, models.find(found["name"], version, found["label"]))
        if action in (":classify", ":regress"):
            raise HTTPError(
                501, f"{action[1:]} is not served; exports have signatures of predict. Ask :predict."
            )
        if action == "/metadata":
            return metadata(models.find(found["name"], version, found["label"]))
        if found["label"] is not None:
            version = models.find(found["name"], label=found["label"]).number
        return status(models.statuses(found["name"], version))

    def _check_arrived(self) -> None:
        if self.late:
            raise HTTPError(408, f"A request must be sent within {REQUEST_SECONDS:.0f} seconds.")

    def _check_host(self) -> None:
        """A page of the web whose name was made to mean this machine gets nothing of it."""
        given = self.headers.get_all("Host", [])
        if len(given) > 1:
            raise HTTPError(400, "The request has more than one Host.")
        port = self.server.server_address[1]
        for host in given:
            if host.strip().lower().removesuffix(f":{port}") not in ("127.0.0.1", "localhost", "[::1]"):
                raise HTTPError(
                    403,
                    f"Host must be 127.0.0.1, localhost or [::1], with port {port} or none. Received: {quoted(host)}.",
                )

    # Bodies -------------------------------------------------------------------------------------------------------

    def _body(self, place: contextlib.ExitStack) -> bytes:
        """The body, unpacked. One that is large, or may be, needs a place before it is read."""
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if self.headers.get_content_type() not in TYPES and "Content-Type" in self.headers:
            raise HTTPError(
                415, f"Send application/json. Received: {short(self.headers.get_content_type())}."
            )
        if encoding not in ("identity", "gzip"):
            raise HTTPError(415, f"Send the body as it is or as gzip. Received: {quoted(encoding)}.")
        chunked = "Transfer-Encoding" in self.headers
        if chunked and self.headers["Transfer-Encoding"].strip().lower() != "chunked":
            raise HTTPError(501, "Of Transfer-Encoding `chunked` is known, and nothing else.")
        if chunked and "Content-Length" in self.headers:
            raise HTTPError(400, "Say Content-Length or Transfer-Encoding, not both.")
        length = -1 if chunked else self._length()
        self._check_size(length)
        if chunked or encoding == "gzip" or length > LARGE_BYTES:
            place.enter_context(self.server.lane.place())
        body = self._chunks() if chunked else self.rfile.read(length)
        self._check_arrived()
        if len(body) < length:
            raise HTTPError(400, f"The body ended after {len(body):,} of {length:,} bytes.")
        self.unread = False
        return self._unzipped(body) if encoding == "gzip" else body

    def _length(self) -> int:
        given = {each.strip() for each in self.headers.get_all("Content-Length", [])}
        if not given:
            raise HTTPError(411, "Say the length of the body in Content-Length, or send it in chunks.")
        text = given.pop()
        if given or not (text.isascii() and text.isdigit()):
            raise HTTPError(400, f"Content-Length is not a number: {quoted(text)}.")
        return _whole(text)

    def _check_size(self, length: int) -> None:
        most = self.server.max_bytes
        if length > most:
            size = f"{length:,}" if length < 10**18 else "too many"
            raise HTTPError(413, f"The body has {size} bytes, and {most:,} are the most. Split the request.")

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := self._chunk_size():
            self._check_size(len(body) + size)
            body += self.rfile.read(size)
            if self.rfile.read(2) != b"\r\n":
                self._check_arrived()
                raise HTTPError(400, "A chunk of the body does not end where it says.")
        head = _Head(self.rfile)
        try:
            while head.readline().strip():  # trailers, of which nothing is read
                pass
        except http.client.LineTooLong:
            raise HTTPError(431, "What stands behind the last chunk is too long.") from None
        return bytes(body)

    def _chunk_size(self) -> int:
        line = self.rfile.readline(1024)
        size = line.partition(b";")[0].strip()
        if not line.endswith(b"\n") or not re.fullmatch(rb"[0-9a-fA-F]{1,15}", size):
            self._check_arrived()
            raise HTTPError(400, f"A chunk of the body must begin with its size. Received: {line[:40]!r}.")
        return int(size, 16)

    def _unzipped(self, body: bytes) -> bytes:
        unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            plain = unzip.decompress(body, self.server.max_bytes + 1)
        except zlib.error as error:
            raise HTTPError(400, f"The body is not gzip: {error}.") from None
        if len(plain) > self.server.max_bytes:
            most = self.server.max_bytes
            raise HTTPError(
                413, f"The body unpacks to more than {most:,} bytes, the most. Split the request."
            )
        if not unzip.eof or unzip.unused_data:
            raise HTTPError(400, "The body is not gzip: it ends too early, or something stands behind it.")
        return plain

    # Replies ------------------------------------------------------------------------------------------------------

    def _reply(self, code: int, reply: Any, headers: Mapping[str, str]) -> None:
        content = _json(reply)
        if self.unread and self.command != "GET":  # what is left of the body would read as the next request
            self.close_connection = True
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

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What `http.server` itself turns away: broken request lines, headers and methods."""
        self.close_connection = True
        self.request_version = self.protocol_version  # else it answers without a status line
        content = _json({"error": short(message or self.responses[code][0], MAX_MESSAGE)})
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class _Head:
    """The lines of a head, which ends within its limit."""

    def __init__(self, file: Any):
        self._file, self._left = file, MAX_HEAD

    def readline(self, most: int = MAX_HEAD) -> bytes:
        line = self._file.readline(min(most, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise http.client.LineTooLong("header line")
        return line


def _json(reply: Any) -> bytes:
    return (json.dumps(reply) + "\n").encode()


def _whole(digits: str) -> int:
    """A whole number of any length; one of more than 20 digits as some number that is as good."""
    return int(digits.lstrip("0")[:20] or "0")


BUSY = _json({"error": f"The server has {CONNECTIONS} connections, the most. Try again."})
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BUSY), BUSY)
)


class RestServer(http.server.ThreadingHTTPServer):
    """The HTTP server; a thread a connection, of which there are so many and no more."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], models: Models, max_bytes: int, lane: Lane, arrivals: Arrivals
    ):
        self._closing = Closing()
        super().__init__(address, Handler)
        self.models = models
        self.max_bytes = max_bytes
        self.lane = lane
        self.arrivals = arrivals
        self._busy = threading.Condition()
        self._working = 0
        self._connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        """Gives a connection its thread. Where all are taken, one that only waits makes room, or this one is told."""
        if self._connections >= CONNECTIONS and not self.arrivals.evict():
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(BUSY)
            return self.shutdown_request(request)
        with self._busy:
            self._connections += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """A connection, to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._busy:
                self._connections -= 1

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection, whose client may still be sending."""
        self._closing.add(request)

    def server_close(self) -> None:
        """Ends all."""
        super().server_close()
        self._closing.close()

    def service_actions(self) -> None:
        """Between requests: closes what has ended, and cuts off what takes too long."""
        self._closing.sweep()
        self.arrivals.sweep()

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
