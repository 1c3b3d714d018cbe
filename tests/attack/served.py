"""Requests to the development server, rows given to the client, and files of runs and exports that are damaged."""

from __future__ import annotations

import copy
import http.client
import json
import math
import pathlib
import random
import shutil
from collections.abc import Iterator
from typing import Any

import pandas as pd

from cdrzoo.errors import InputError
from tests.attack import cells
from tests.attack.cells import new
from tests.attack.commands import PROJECT
from tests.attack.judge import NO_VALUE, Case, command
from tests.training import test_damaged as runs

EXPORT = PROJECT / "saved_models" / "dadin" / "1"
LITERALS = [
    *("null", "true", "false", "0", "7", "-1", "7.5", "1e3", "1e400", "-0", "9223372036854775808", "1" + "0" * 400),
    *("NaN", "Infinity", '""', '" "', '"a"', '"größe"', '"\\ud83d"', '"\\u0000"', '"7"', "[]", "[1]", '["a"]', "[[1]]"),
    *("{}", '{"a": 1}', '{"b64": "YQ=="}', '{"b64": "?"}', '{"b64": 5}', '{"b64": "YQ==", "a": 1}', f'"{"x" * 100_000}"'),
]  # fmt: skip
"""JSON of one value."""
TEXTS = {
    '""',
    '" "',
    '"a"',
    '"größe"',
    '"\\ud83d"',
    '"\\u0000"',
    '"7"',
    '{"b64": "YQ=="}',
    f'"{"x" * 100_000}"',
}
RIGHT = {
    "string": TEXTS,
    "int64": {"0", "7", "-1", "-0"},
    "float32": {"0", "7", "-1", "7.5", "1e3", "-0", "NaN", "Infinity", "9223372036854775808"},
}
MAYBE = {
    "string": {'"\\ud83d"', f'"{"x" * 100_000}"'},
    "int64": {"7.0", "1e3"},
    "float32": {"1e400", "1" + "0" * 400, "Infinity", "9223372036854775808"},
}
"""Right, if they are not refused."""


def score(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


def infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


class Requests:
    """A server in this process, and how it is asked."""

    def __init__(self) -> None:
        from cdrzoo.serving import Client, Server

        card = json.loads((EXPORT / "assets.extra/model_card.json").read_text("utf-8"))
        self.inputs = card["inputs"]
        many = [name for name, each in self.inputs.items() if "any" in each["shape"]]
        lines = (EXPORT / "assets.extra/replay.jsonl").read_text("utf-8").splitlines()
        rows = (json.loads(line)["features"] for line in lines)
        self.row = next(row for row in rows if all(len(row[name]) > 1 for name in many))
        self.row |= {name: self.row[name][:2] for name in many}
        folder = pathlib.Path("served")
        shutil.copytree(EXPORT, folder / "dadin" / "1")
        self.server = Server(folder, port=0, rest_port=0)
        self.server.__enter__()
        self.client = Client(self.server.address, "dadin")

    def close(self) -> None:
        self.client.close()
        self.server.__exit__(None, None, None)

    def post(self, body: str | bytes, path: str = ":predict", method: str = "POST", **headers: str) -> Any:
        """The first score; an `InputError` where the client's fault is named."""
        content = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.rest_port, timeout=60)
        try:
            connection.request(method, f"/v1/models/dadin{path}", content, headers)
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
        finally:
            connection.close()
        if response.status == 200:
            return (answer.get("predictions") or answer.get("outputs") or [answer])[0]
        if 400 <= response.status < 500 or response.status == 501:  # of a method that is not served
            raise InputError(answer["error"])
        raise RuntimeError(f"{response.status}: {answer}")

    def of_rows(self) -> Iterator[Case]:
        """A row with every value in every input, over REST."""
        text = {name: json.dumps(value) for name, value in self.row.items()}
        for name, each in self.inputs.items():
            many = "any" in each["shape"]
            for literal in LITERALS:
                given = f"[{literal}, {json.dumps(self.row[name][1])}]" if many else literal
                row = ", ".join(f'"{key}": {given if key == name else value}' for key, value in text.items())
                right, maybe = literal in RIGHT[each["dtype"]], literal in MAYBE[each["dtype"]]
                yield Case(
                    f"{name}: {literal:.40}",
                    lambda row=row: self.post(f'{{"instances": [{{{row}}}]}}'),
                    score if right or maybe else NO_VALUE,
                    None if right and not maybe else (name,) if literal not in ("NaN", "Infinity") else (),
                )

    def of_bodies(self) -> Iterator[Case]:
        """Bodies, paths and headers."""
        row = self.row
        columns = {name: [value] for name, value in row.items()}

        def request(**changes: Any) -> str:
            made = {"instances": [row], **changes}
            return json.dumps({key: value for key, value in made.items() if value is not ...})

        def rows(**changes: Any) -> str:
            made = {**row, **changes}
            return json.dumps(
                {"instances": [{key: value for key, value in made.items() if value is not ...}]}
            )

        def inputs(**changes: Any) -> str:
            made = {**columns, **changes}
            return json.dumps({"inputs": {key: value for key, value in made.items() if value is not ...}})

        good = request()
        right = {
            "a row": good,
            "columns": inputs(),
            "blanks around": f"  \n{good}\n ",
            "the signature's name": request(signature_name="serving_default"),
        }
        for name, body in right.items():
            yield Case(name, lambda body=body: self.post(body), score, None)
        wrong: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "nothing": ("", ("JSON",)),
            "a word": ("predict", ("JSON",)),
            "null": ("null", ("object",)),
            "a list": ("[]", ("object",)),
            "an empty object": ("{}", ("instances",)),
            "cut off": (good[:-5], ("JSON",)),
            "a word behind": (good + "x", ("JSON",)),
            "single quotes": (good.replace('"', "'"), ("JSON",)),
            "Latin-1": (rows(user="größe").encode().decode("unicode_escape").encode("latin-1"), ("UTF-8",)),
            "UTF-16": (good.encode("utf-16"), (("UTF-8", "JSON"),)),
            "deep": ("[" * 100_000, (("JSON", "deep"),)),
            "rows and columns": (request(inputs=columns), ("instances", "inputs")),
            "rows that are none": (request(instances=[]), ("instances",)),
            "a row that is a list": (request(instances=[[1]]), ("row",)),
            "a row that is null": (request(instances=[None]), ("row",)),
            "rows as an object": (request(instances=row), ("instances",)),
            "rows as text": (request(instances="x"), ("instances",)),
            "columns as a list": ('{"inputs": [1]}', ("inputs",)),
            "an input missing": (rows(user=...), ("user",)),
            "an input too many": (rows(color="x"), ("color",)),
            "an input in capitals": (rows(user=..., User="x"), ("User",)),
            "columns, one missing": (inputs(user=...), ("user",)),
            "columns, one too many": (inputs(color=["x"]), ("color",)),
            "columns of two lengths": (inputs(user=["a", "b"]), ("user", "rows")),
            "a column that is none": (inputs(user="a"), ("user",)),
            "a column deeper": (inputs(user=[["a"]]), ("user",)),
            "histories of two lengths": (rows(films_shown=["a", "b", "c"]), ("films_shown", "steps")),
            "rows of other keys": (json.dumps({"instances": [row, {"user": "x"}]}), ("1",)),
            "a signature that there is not": (request(signature_name="x"), ("'x'",)),
            "a signature that is a number": (request(signature_name=5), ("signature_name",)),
            "bytes that are no Example": (json.dumps({"signature_name": "serve_examples", "instances": [{"b64": "eHh4"}]}), ("Example",)),
            "rank without k": (json.dumps({"signature_name": "rank", "inputs": columns}), ("k",)),
            "rank, k of 0": (json.dumps({"signature_name": "rank", "inputs": {**columns, "k": 0}}), ("k", "1")),
            "a key twice": (good[:-1] + ', "signature_name": "rank", "signature_name": "serving_default"}', ("once",)),
            "a number of 5,000 digits": (rows(price=...)[:-3] + f', "price": {"9" * 5000}}}]}}', ("digits",)),
        }  # fmt: skip
        for name, (body, words) in wrong.items():
            yield Case(name, lambda body=body: self.post(body), NO_VALUE, words)
        for path, method, words in (
            ("/versions/9:predict", "POST", ("9",)), ("/versions/x:predict", "POST", ("x",)),
            ("/versions/-1:predict", "POST", ()), (f"/versions/{'9' * 400}:predict", "POST", ()),
            ("/labels/no:predict", "POST", ("no",)), (":regress", "POST", ("regress",)), (":x", "POST", ()),
            ("", "PUT", ("PUT",)), (":predict", "DELETE", ("DELETE",)), ("/x", "GET", ()), ("x:predict", "POST", ("dadinx",)),
        ):  # fmt: skip
            yield Case(
                f"{method} {path:.40}",
                lambda path=path, method=method: self.post(good, path, method),
                NO_VALUE,
                words,
            )
        for name, headers, words in (
            ("a body that is not packed", {"Content-Encoding": "gzip"}, ("gzip",)),
            ("a packing that there is not", {"Content-Encoding": "zip"}, ("zip",)),
            ("another host", {"Host": "example.org"}, ("host",)),
        ):
            yield Case(name, lambda headers=headers: self.post(good, **headers), NO_VALUE, words)

    def of_frames(self) -> Iterator[Case]:
        """Rows given to the client, over gRPC: the values of cells."""
        for name, kind in (
            ("user", "id"),
            ("price", "number"),
            ("films_genres", "ids"),
            ("films_clicks", "whole ids"),
        ):
            for value in cells.OBJECTS + cells.OF_FRAMES:
                right, refusable = cells.of(kind, value)
                if right is not NO_VALUE and KINDS_MANY[kind]:
                    continue  # histories run in step: another number of steps is refused

                def run(name: str = name, value: Any = value) -> Any:
                    row = {key: [copy.copy(one)] for key, one in self.row.items()}
                    row[name] = pd.Series([value], dtype=object)
                    return float(self.client.predict(pd.DataFrame(row))[0])

                # A client is given rows that programs make: objects that a reader of files also takes may be refused.
                common = isinstance(value, (str, int, float, bool, type(None), list)) and not infinite(value)
                words = None if common and not refusable else (name,)
                yield Case(f"{name}: {value!r:.40}", run, NO_VALUE if right is NO_VALUE else score, words)
        good = pd.DataFrame({key: [one] for key, one in self.row.items()})
        for name, frame, words in (
            ("a column missing", good.drop(columns="user"), ("user",)),
            ("a column twice", pd.concat([good, good[["user"]]], axis=1), ("user",)),
            ("columns in capitals", good.rename(columns=str.upper), ("user",)),
            ("a Series", good["user"], ()),
            ("a list", [1], ()),
            ("None", None, ()),
            ("columns of two lengths", {**self.row, "user": ["a", "b"]}, ()),
        ):
            yield Case(name, lambda frame=frame: self.client.predict(frame), NO_VALUE, words)


KINDS_MANY = {kind: want.many for kind, want in cells.KINDS.items()}


def of_damage(seed: int) -> Iterator[tuple[str, Case]]:
    """Files of a finished run and of an export that are cut off, changed, emptied, replaced or gone."""
    drawn = random.Random(seed)
    pairs = [(file, damage) for file in runs.FILES for damage in runs.DAMAGES]
    for file, damage in drawn.sample(pairs, 24):

        def read(file: str = file, damage: str = damage) -> bool:
            folder = new("")
            shutil.copytree(runs.FINISHED, folder)
            runs.spoil(folder / file, damage)
            runs.read(folder)
            return True

        right = (file, damage) in runs.HARMLESS
        named = (
            ("metrics.json", "finished", "resume")
            if file == "metrics.json"
            else (pathlib.Path(file).name, "encoder")
        )
        yield "damaged runs", Case(f"{file}, {damage}", read, right or NO_VALUE, None if right else (named,))
    files = [str(file.relative_to(EXPORT)) for file in sorted(EXPORT.rglob("*")) if file.is_file()]
    pairs = [(file, damage) for file in files for damage in runs.DAMAGES]
    for file, damage in drawn.sample(pairs, 24):

        def verify(file: str = file, damage: str = damage) -> bool:
            folder = new("") / "1"
            shutil.copytree(EXPORT, folder)
            runs.spoil(folder / file, damage)
            command("verify", str(folder))
            return True

        # Scores are what is proven: the page for people and the requests that warm up are in no score.
        free = file.endswith(("model_card.md", "tf_serving_warmup_requests", "fingerprint.pb"))
        right, words = (True, None) if free else (NO_VALUE, (pathlib.Path(file).name, "/1"))
        yield "damaged exports", Case(f"{file}, {damage}", verify, right, words and (words,))


def of_served(seed: int) -> Iterator[tuple[str, Case]]:
    """All of them."""
    asked = Requests()
    try:
        for kind, found in (
            ("requests over REST, rows", asked.of_rows()),
            ("requests over REST, bodies and paths", asked.of_bodies()),
            ("rows given to the client, over gRPC", asked.of_frames()),
        ):
            for case in found:
                yield kind, case
    finally:
        asked.close()
    yield from of_damage(seed)
