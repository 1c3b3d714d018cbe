"""The development server under load, while versions are pushed, and under malformed requests, in one run.

    python -m benchmarks.serving                   # the reference export of DADIN, about a minute
    python -m benchmarks.serving --export runs/mine/saved_models/films/1 --seconds 10
    python -m benchmarks.serving --export demo/saved_models/films/1 \\
        --during "python -m tfx_pipeline run demo/again.yaml"

The server is a process of its own (`cdrzoo serve` on a copy of the export), the clients are threads of this one, so on
two cores they take turns with it. A request is one call of `cdrzoo.serving.Client`: checking and encoding the rows is
in the time. These are figures of a development server in Python; TensorFlow Serving's are its own.

With `--during` the export's folder is served where it lies while the command runs, which is to push a version into it,
and nothing else is measured. Which version answered is told by the score that each has recorded for the row asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import grpc
import numpy as np
import pandas as pd
import urllib3

from benchmarks.speed import machine
from cdrzoo.serving import Client

ROOT = pathlib.Path(__file__).parents[1]
MODEL = "model"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--export", type=pathlib.Path, default=ROOT / "saved_models/dadin/1")
    parser.add_argument("--seconds", type=float, default=5.0, help="of every measurement")
    parser.add_argument("--clients", type=int, default=4, help="threads that ask")
    parser.add_argument("--during", metavar="COMMAND", help="ask while this pushes a version; see above")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / MODEL
        if arguments.during:
            model.symlink_to(arguments.export.parent.resolve())
        else:
            shutil.copytree(arguments.export, model / "1")
        server, addresses = start(folder)
        try:
            rows = recorded(arguments.export)
            if arguments.during:
                pushed_by(arguments.during, addresses, rows.head(1), arguments.clients, model)
            else:
                load(addresses, rows, arguments.clients, arguments.seconds)
                pushes(addresses, rows, arguments.clients, arguments.seconds, model)
                malformed(addresses, rows)
        finally:
            server.terminate()
            server.wait(30)
    print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f}")


def start(folder: str) -> tuple[subprocess.Popen, dict[str, str]]:
    """The server's process and where it listens."""
    command = [sys.executable, "-m", "cdrzoo.cli", "serve", folder, "--port", "0", "--rest-port", "0"]
    server = subprocess.Popen(
        [*command, "--seconds", "0.2"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    words = server.stdout.readline().replace(",", "").replace(";", "").split()
    if "gRPC" not in words:
        raise SystemExit("the server did not start; `cdrzoo serve` on the export says why")
    return server, {"gRPC": words[words.index("gRPC") + 1], "REST": words[words.index("REST") + 1]}


def replay(export: pathlib.Path) -> list[dict]:
    """The rows that the export recorded: `features` and `score`."""
    lines = (export / "assets.extra" / "replay.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def recorded(export: pathlib.Path) -> pd.DataFrame:
    """The rows that the export recorded, as many as a request of 100 needs."""
    rows = pd.DataFrame([line["features"] for line in replay(export)], dtype=object)
    return pd.concat([rows] * (100 // len(rows) + 1), ignore_index=True)


def load(addresses: dict[str, str], rows: pd.DataFrame, clients: int, seconds: float) -> None:
    """Requests a second and their times."""
    print(f"\n{clients} clients, {seconds:g} s each\n")
    print("| rows a request | over | requests a second | rows a second | p50, ms | p99, ms |")
    print("|---|---|---|---|---|---|")
    for count in (1, 100):
        for name, address in addresses.items():
            some = rows.head(count)
            times = asked(address, lambda client, some=some: client.predict(some), clients, seconds)[0]
            p50, p99 = np.percentile(times, [50, 99]) * 1000
            rate = len(times) / seconds
            print(
                f"| {count} | {name} | {rate:.0f} | {rate * count:.0f} | {p50:.1f} | {p99:.1f} |", flush=True
            )


def asked(
    address: str, call: Callable, clients: int, seconds: float, during: Callable | None = None
) -> tuple[list[float], list[Exception]]:
    """The times of the requests that several clients made at once, and the errors they got."""
    times: list[float] = []
    errors: list[Exception] = []
    done = threading.Event()

    def ask():
        with Client(address, MODEL) as client:
            call(client)  # connects, and asks what the model takes
            while not done.is_set():
                started = time.perf_counter()
                try:
                    call(client)
                    times.append(time.perf_counter() - started)
                except Exception as error:
                    errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(seconds)
        if during is not None:
            during()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return times, errors


def versions(model: pathlib.Path) -> list[int]:
    """The versions in a model's folder."""
    return sorted(int(path.name) for path in model.iterdir() if path.name.isdigit())


def wait_for(address: str, version: int) -> None:
    """Returns when the server answers with a version."""
    with Client(address, MODEL) as client:
        while client.status().get(version) != "AVAILABLE":
            time.sleep(0.05)


def pushes(
    addresses: dict[str, str], rows: pd.DataFrame, clients: int, seconds: float, model: pathlib.Path
) -> None:
    """Versions that are pushed while requests flow."""
    print("\n| over | versions pushed | requests | failed | serves then |")
    print("|---|---|---|---|---|")
    for name, address in addresses.items():

        def push(address: str = address) -> None:
            for _ in range(3):
                number = versions(model)[-1] + 1
                shutil.copytree(model / "1", model / f".push-{number}")
                (model / f".push-{number}").rename(model / str(number))
                wait_for(address, number)
            time.sleep(seconds / 2)

        times, errors = asked(
            address, lambda client: client.predict(rows.head(1)), clients, seconds / 2, push
        )
        with Client(address, MODEL) as client:
            serving = [number for number, state in client.status().items() if state == "AVAILABLE"]
        print(f"| {name} | 3 | {len(times) + len(errors)} | {len(errors)} | {serving} |", flush=True)
        for error in errors[:3]:
            print(f"  {type(error).__name__}: {error}")


def pushed_by(
    command: str, addresses: dict[str, str], row: pd.DataFrame, clients: int, model: pathlib.Path
) -> None:
    """Requests over gRPC and REST at once while a command pushes; a client pauses, so that the command gets on."""
    scores: dict[str, list[float]] = {over: [] for over in addresses}
    failed: dict[str, list[Exception]] = {}

    def ask(over: str, during: Callable) -> None:
        def call(client: Client) -> None:
            scores[over].append(client.predict(row)[0])
            time.sleep(0.05)

        failed[over] = asked(addresses[over], call, clients, 1.0, during)[1]

    def push() -> None:
        subprocess.run(command, shell=True, check=True)
        wait_for(addresses["gRPC"], versions(model)[-1])
        time.sleep(2)

    before = versions(model)
    ask("gRPC", lambda: ask("REST", push))
    print(f"\nVersions before: {before}; now: {versions(model)}\n")
    print("| over | requests | failed | answered by version |")
    print("|---|---|---|---|")
    for over, given in scores.items():
        told = {}
        for version in versions(model):
            (score,) = {
                x["score"] for x in replay(model / str(version)) if x["features"] == dict(row.iloc[0])
            }
            told[version] = int(np.isclose(given, score, rtol=0, atol=1e-6).sum())
        print(f"| {over} | {len(given) + len(failed[over])} | {len(failed[over])} | {told} |")
        for error in failed[over][:3]:
            print(f"  {type(error).__name__}: {error}")
        assert sum(told.values()) == len(given), "a score is of no version, or of two"


def malformed(addresses: dict[str, str], rows: pd.DataFrame) -> None:
    """What malformed requests get; the server answers a good one after each."""
    pool = urllib3.PoolManager(retries=False)
    base = f"{addresses['REST']}/v1/models/{MODEL}"
    good = next(row for row in json.loads(rows.to_json(orient="records")) if None not in row.values())
    one = next(name for name, value in good.items() if not isinstance(value, list))
    sequence = next((name for name, value in good.items() if isinstance(value, list)), one)
    foreign = ("a number for text", 5) if isinstance(good[one], str) else ("text for a number", "five")

    def body(**changed):
        return json.dumps({"instances": [{**good, **changed}]}).encode()

    random = np.random.default_rng(0)
    requests = [
        ("random bytes", "POST", ":predict", random.bytes(200), {}),
        ("half a request", "POST", ":predict", body()[:50], {}),
        ("no rows", "POST", ":predict", b'{"instances": []}', {}),
        ("100,000 brackets", "POST", ":predict", b"[" * 100_000, {}),
        (foreign[0], "POST", ":predict", body(**{one: foreign[1]}), {}),
        ("a value for a list", "POST", ":predict", body(**{sequence: 5}), {}),
        ("an unknown feature", "POST", ":predict", body(no_such=1), {}),
        ("20 MB", "POST", ":predict", b" " * 20_000_000, {}),
        ("XML", "POST", ":predict", b"<x/>", {"Content-Type": "application/xml"}),
        ("in chunks, an empty object", "POST", ":predict", iter([b"{}"]), {}),
        ("GET for POST", "GET", ":predict", None, {}),
        ("an unknown path", "GET", "/none", None, {}),
        ("an unknown version", "POST", "/versions/99999:predict", body(), {}),
        ("an unknown label", "POST", "/labels/none:predict", body(), {}),
    ]
    print("\n| request | got |")
    print("|---|---|")
    for what, method, path, content, headers in requests:
        response = pool.request(method, base + path, body=content, headers=headers)
        message = json.loads(response.data)["error"]
        print(f"| REST, {what} | {response.status}: {message[:90]} |")
        assert pool.request("POST", base + ":predict", body=body()).status == 200
    with grpc.insecure_channel(addresses["gRPC"], [("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for what, content in (
            ("random bytes", random.bytes(200)),
            ("nothing", b""),
            ("20 MB", b" " * 20_000_000),
        ):
            try:
                call(content)
            except grpc.RpcError as error:
                print(f"| gRPC, {what} | {error.code().name}: {error.details()[:90]} |")
    with Client(addresses["gRPC"], MODEL) as client:
        assert len(client.predict(rows)) == len(rows)
    print("\nAfter each of them a good request was answered.")


if __name__ == "__main__":
    main()
