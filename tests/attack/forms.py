"""Files whose form is odd: quotes, delimiters, encodings, headers, ends, folders and names."""

from __future__ import annotations

import gzip
import json
import pathlib
import random
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from cdrzoo.data.readers import Wanted, read
from tests.attack.cells import as_csv, as_jsonl, as_parquet, as_tfrecord, new
from tests.attack.judge import NO_VALUE, Case

ID, NUMBER = Wanted("x", "string"), Wanted("x", "float", is_id=False)


def case(
    name: str,
    source: Any,
    value: Any = NO_VALUE,
    words: tuple[str, ...] | None = None,
    column: str = "x",
    **options: Any,
) -> Case:
    """A column of text ids; refusing is right where there is no value."""
    words = words if words is not None or value is not NO_VALUE else ()

    def run() -> list[Any]:
        made = source() if callable(source) else source
        return read(made, {"x": Wanted(column, "string")}, **options)["x"].tolist()

    return Case(name, run, value, words)


def written(
    content: str | bytes, ending: str = ".csv", encoding: str = "utf-8"
) -> Callable[[], pathlib.Path]:
    def write() -> pathlib.Path:
        path = new(ending)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


TWO = ["a", "b"]
BODY = "x,y\na,1\nb,2\n"


def of_csv() -> Iterator[Case]:
    """The form of CSV."""
    good = {
        "lines of Windows": BODY.replace("\n", "\r\n"),
        "lines of the old Macintosh": BODY.replace("\n", "\r"),
        "no line break at the end": BODY.strip(),
        "blank lines": "\nx,y\n\na,1\n\n\nb,2\n\n",
        "a mark of byte order": "\ufeff" + BODY,
        "a mark of byte order, all in quotes": '\ufeff"x","y"\r\n"a","1"\r\n"b","2"\r\n',
        "columns in another order": "y,x\n1,a\n2,b\n",
        "empty columns of a spreadsheet": "x,y,,\na,1,,\nb,2,,\n",
        "an index column of pandas": ",x,y\n0,a,1\n1,b,2\n",
        "twice a column that nobody reads": "x,y,y\na,1,2\nb,2,3\n",
        "text of several lines": 'x,y\na,"two\nlines"\nb,2\n',
        "quotes within quotes": 'x,y\na,"say ""no"""\nb,2\n',
        "a quote within a word": 'x,y\na,5" disc\nb,2\n',
        "a delimiter in quotes": 'x,y\na,"1,5"\nb,2\n',
        "an emoji in the header": "x,💥\na,1\nb,2\n",
        "a NUL beside": "x,y\na,\0\nb,2\n",
        "a long cell": f"x,y\na,{'z' * 3_000_000}\nb,2\n",
    }
    for name, text in good.items():
        yield case(name, written(text), TWO)
    for mark in (";", "\t", "|"):
        other = BODY.replace(",", mark)
        yield case(f"the delimiter {mark!r}", written(other), words=("lacks the column 'x'", "delimiter"))
        yield case(f"the delimiter {mark!r}, named", written(other), TWO, delimiter=mark)
        yield case(
            f"the delimiter {mark!r} in quotes", written(f'"x"{mark}"y"\n"a"{mark}1\n'), words=("delimiter",)
        )
    yield case("the delimiter of .tsv", written(BODY.replace(",", "\t"), ".tsv"), TWO)
    yield case("commas in .tsv", written(BODY, ".tsv"), words=(".tsv", "delimiter"))
    yield case("a delimiter that is not there", written(BODY), words=("'x'",), delimiter=";")
    wrong: dict[str, tuple[str, tuple[str, ...]]] = {
        "a blank in the header": ("x ,y\na,1\n", ("'x '", "column:")),
        "the header in quotes of its own": ("'x','y'\na,1\n", ("'x'",)),
        "another letter case": ("X,y\na,1\n", ("'X'",)),
        "no header": ("a,1\nb,2\n", ("'x'", "It has")),
        "a comment before the header": ("# made by us\nx,y\na,1\n", ("'x'",)),
        "Excel's line of the separator": ("sep=;\nx;y\na;1\n", ("'x'",)),
        "twice the column": ("x,y,x\na,1,b\n", ("two columns 'x'",)),
        "a row too long": ("x,y\na,1\nb,2,3\n", ("row 2", "line 3")),
        "a row too short": ("x,y\na,1\nb\n", ("row 2", "line 3")),
        "commas behind the rows": ("x,y\na,1,\nb,2,\n", ("row 1", "header")),
        "a quote that is not closed": ('x,y\na,"1\nb,2\nc,3\n', ("row 1", "quote")),
        "a quote that swallows rows": ('x,y\na,"1\nb,2"\nc,3\n', ("row 1", "quote")),
        "a quote that swallows rows, first column": ('x,y\n"a,1\nb",2\nc,3\n', ("row 1", "quote")),
        "a header alone": ("x,y\n", ("no rows",)),
        "a header without an end": ("x,y", ("no rows",)),
        "nothing": ("", ("empty",)),
        "one line break": ("\n", ("empty",)),
        "blanks alone": ("   \n  \n", ("'x'",)),
        "a page of an error": ("<!DOCTYPE html><html><body>404: no file</body></html>\n", ("'x'",)),
        "a pointer of git LFS": (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            ("'x'",),
        ),
        "JSON": ('[{"x": "a", "y": 1}]\n', ("'x'",)),
        "the words of YAML": ("x: a\ny: 1\n", ("'x'",)),
    }  # fmt: skip
    for name, (text, words) in wrong.items():
        yield case(name, written(text), words=(".csv", *words))


def of_encodings() -> Iterator[Case]:
    """Letters in other bytes than UTF-8."""
    text = "x,größe\nmüller,1\nб,2\n"
    for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp1251", "koi8-r", "gb18030"):
        right = ["müller", "б"] if name == "utf-8-sig" else NO_VALUE
        fitting = text if name not in ("cp1251", "koi8-r") else "x,y\nб,1\n"
        yield case(
            name, written(fitting, encoding=name), right, words=None if name == "utf-8-sig" else (".csv",)
        )
    for name in ("latin-1", "cp1252", "shift-jis", "euc-kr", "big5"):
        word = {"shift-jis": "日本", "euc-kr": "한국", "big5": "中文"}.get(name, "müller")
        yield case(name, written(f"x,y\n{word},1\n", encoding=name), words=(".csv", "UTF-8"))
        yield case(
            f"{name} in a column that nobody reads",
            written(f"x,y\na,{word}\n", encoding=name),
            ["a"],
            (".csv",),
        )
        yield case(
            f"{name} in the header", written(f"x,{word}\na,1\n", encoding=name), ["a"], (".csv", "UTF-8")
        )
        line = json.dumps({"x": word}, ensure_ascii=False) + "\n"
        yield case(f"{name}, JSON", written(line, ".jsonl", name), words=(".jsonl", "UTF-8"))
    yield case("a mark of byte order, JSON", written('\ufeff{"x": "a"}\n', ".jsonl"), ["a"])
    yield case("half a letter at the end", written("x,y\na,1\nmü".encode()[:-1]), words=(".csv",))
    yield case("too long a form of a letter", written(b"x,y\n\xc0\xaf,1\n"), words=(".csv", "UTF-8"))
    yield case("half of a pair", written(b"x,y\n\xed\xa0\xbd,1\n"), words=(".csv", "UTF-8"))


def of_json() -> Iterator[Case]:
    """The form of JSON lines."""
    good = {
        "lines of Windows": '{"x": "a"}\r\n{"x": "b"}\r\n',
        "blank lines": '\n{"x": "a"}\n\n  \n{"x": "b"}',
        "other keys, deep": '{"x": "a", "y": {"z": [[1]]}}\n{"z": 1, "x": "b"}\n',
        "escaped letters": '{"x": "\\u0061"}\n{"\\u0078": "b"}\n',
        "an exponent beside": '{"x": "a", "y": 1e999}\n{"x": "b", "y": NaN}\n',
    }
    for name, text in good.items():
        yield case(name, written(text, ".jsonl"), TWO)
    wrong = {
        "one list": '[{"x": "a"}, {"x": "b"}]\n',
        "one object over several lines": '{\n  "x": "a"\n}\n',
        "two objects on a line": '{"x": "a"}{"x": "b"}\n',
        "a comma at the end": '{"x": "a",}\n',
        "commas between the lines": '{"x": "a"},\n{"x": "b"}\n',
        "single quotes": "{'x': 'a'}\n",
        "a comment": '// rows\n{"x": "a"}\n',
        "a word": "a\n",
        "a number": "1\n",
        "null": "null\n",
        "cut off": '{"x": "a"}\n{"x": "b',
        "a tab in text": '{"x": "a\tb"}\n',
        "True of Python": '{"x": True}\n',
        "nested 100,000 deep": '{"x": ' + "[" * 100_000 + "\n",
        "nested 100,000 deep, closed": '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}\n",
        "CSV": BODY,
        "5,000 digits": '{"x": ' + "9" * 5000 + "}\n",
    }
    for name, text in wrong.items():
        yield case(name, written(text, ".jsonl"), words=(".jsonl",))
    yield case("no lines", written("\n\n", ".jsonl"), words=("no rows",))
    yield case("a key twice", written('{"x": "a", "x": "b"}\n', ".jsonl"), words=(".jsonl", "'x'"))
    yield case("another letter case", written('{"X": "a"}\n', ".jsonl"), words=("'X'",))
    yield case("a key with a blank", written('{"x ": "a"}\n', ".jsonl"), words=("'x '",))
    yield case(
        "a key that only some have",
        written('{"y": 1}\n' * 200 + '{"x": "a"}\n', ".jsonl"),
        [""] * 200 + ["a"],
    )
    yield case("no key at all", written("{}\n{}\n", ".jsonl"), words=(".jsonl",))


def of_paths(seed: int) -> Iterator[Case]:
    """What a path may stand for."""
    drawn = random.Random(seed)

    def folder(files: dict[str, Any]) -> Callable[[], pathlib.Path]:
        def make() -> pathlib.Path:
            top = new("")
            for name, content in files.items():
                (top / name).parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, bytes):
                    (top / name).write_bytes(content)
                elif isinstance(content, str):
                    (top / name).write_text(content)
                else:
                    parquet.write_table(content, top / name)
            top.mkdir(exist_ok=True)
            return top

        return make

    def link(to: str) -> Callable[[], pathlib.Path]:
        def make() -> pathlib.Path:
            path = new(".csv")
            path.symlink_to(path if to == "itself" else to)
            return path

        return make

    a, b = "x,y\na,1\n", "x,y\nb,2\n"
    days = [f"2024-05-{day:02}" for day in sorted(drawn.sample(range(1, 29), 2))]
    hive = {f"dt={days[0]}/p.csv": a, f"dt={days[1]}/p.csv": b}
    yield case("Hive's folders", folder(hive), TWO)
    yield case("a column of Hive's folders", folder(hive), days, column="dt")
    yield case(
        "Spark's marks", folder({**hive, "_SUCCESS": "", "_metadata.csv": "no", ".p.csv.crc": "?"}), TWO
    )
    yield case(
        "an empty part", folder({**hive, f"dt={days[0]}/q.csv": "", f"dt={days[0]}/r.csv": "x,y\n"}), TWO
    )
    yield case(
        "folders of two levels", folder({"m=1/d=1/p.csv": a, "m=1/d=2/p.csv": b}), ["1", "2"], column="d"
    )
    yield case("a folder and a pattern", lambda: f"{folder(hive)()}/*", TWO)
    yield case("parts in order", folder({"p-0.csv": a, "p-1.csv": b}), TWO)
    yield case("parts of several formats", folder({"p-0.csv": a, "p-1.jsonl": '{"x": "b"}\n'}), TWO)
    yield case(
        "a part that lacks the column", folder({"p-0.csv": a, "p-1.csv": "y\n1\n"}), words=("p-1.csv", "'x'")
    )
    yield case(
        "a part whose column is a number",
        folder({"p-0.csv": a, "p.parquet": pa.table({"x": [1.5]})}),
        words=("p.parquet",),
    )
    yield case(
        "a part of whole numbers", folder({"p-0.csv": a, "p.parquet": pa.table({"x": [1]})}), ["a", "1"]
    )
    yield case("parts without rows", folder({"p-0.csv": "x,y\n", "p-1.csv": "x,y\n"}), words=("no rows",))
    yield case("a folder of nothing", folder({}), words=("folder",))
    yield case("a folder of other files", folder({"README.md": "x"}), words=("folder", ".csv"))
    yield case("a folder called .csv", folder({"a.csv/p.txt": "x"}), words=("folder",))
    yield case("a pattern of nothing", "no-*.csv", words=("no-*.csv",))
    yield case("a file that is not there", "nowhere.csv", words=("nowhere.csv", "does not exist"))
    yield case(
        "a name that is nearly there",
        lambda: str(written(BODY)()).replace(".csv", ".cvs"),
        words=("Did you mean",),
    )
    yield case("a file in no folder", "nowhere/a.csv", words=("nowhere/a.csv",))
    yield case("a file in a file", lambda: written(BODY)() / "a.csv", words=("a.csv",))
    yield case("no path", "", words=())
    yield case("a name too long", "a" * 5000 + ".csv", words=("name",))
    yield case("a NUL in the name", "a\0.csv", words=("name",))
    yield case("a name that is no UTF-8", "caf\udce9.csv", words=("UTF-8",))
    yield case(
        "a name with a line break", lambda: pathlib.Path(shutil_copy(written(BODY)(), "a\nb.csv")), TWO
    )
    yield case("a name with a bracket", lambda: pathlib.Path(shutil_copy(written(BODY)(), "a[1].csv")), TWO)
    yield case("a home that is not there", "~nobody-of-that-name/a.csv", words=("~nobody",))
    yield case("an ending that is not known", written(BODY, ".xlsx"), words=(".xlsx", ".csv"))
    yield case("no ending", written(BODY, ""), words=("ending",))
    yield case("an ending in capitals", written(BODY, ".CSV"), TWO, words=(".CSV", "ending"))
    yield case("a link", lambda: linked(written(BODY)()), TWO)
    yield case("a link to nowhere", link("nowhere.csv"), words=(".csv",))
    yield case("a link to itself", link("itself"), words=(".csv",))
    yield case("a list of files", lambda: [written(a)(), written(b)()], TWO)
    yield case("a list of nothing", list, words=())
    for thing in (None, 5, True, {}, b"a.csv", 1.5, object()):
        yield case(f"{type(thing).__name__} as a path", lambda thing=thing: thing, words=("path",))
    yield case("a device", "/dev/null", words=("/dev/null",))
    yield case("a folder that is the root of all", "/proc/1/task", words=("/proc/1/task",))


def shutil_copy(path: pathlib.Path, name: str) -> str:
    target = new("") / name
    target.parent.mkdir()
    target.write_bytes(path.read_bytes())
    return str(target)


def linked(path: pathlib.Path) -> pathlib.Path:
    link = new(".csv")
    link.symlink_to(path)
    return link


def of_disguises() -> Iterator[Case]:
    """Contents that are not what the ending says."""
    table = pa.table({"x": TWO, "y": [1, 2]})

    def zipped() -> pathlib.Path:
        path = new(".csv")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", BODY)
        return path

    def packed(path: pathlib.Path, ending: str) -> pathlib.Path:
        other = new(ending)
        other.write_bytes(gzip.compress(path.read_bytes()))
        return other

    def renamed(path: pathlib.Path, ending: str) -> pathlib.Path:
        return path.rename(new(ending))

    makers: dict[str, Callable[[], pathlib.Path]] = {
        "csv": written(BODY),
        "parquet": lambda: as_parquet(table["x"]),
        "jsonl": lambda: as_jsonl(TWO),
        "tfrecord": lambda: as_tfrecord(TWO),
        "zip": zipped,
        "gzip": lambda: packed(written(BODY)(), ".gz"),
        "noise": written(random.Random(0).randbytes(2000)),
        "zeros": written(bytes(5000)),
    }
    for what, make in makers.items():
        for ending in (
            ".csv",
            ".csv.gz",
            ".tsv",
            ".jsonl",
            ".jsonl.gz",
            ".parquet",
            ".tfrecord",
            ".tfrecord.gz",
        ):
            if ending.split(".")[1] != what or (ending.endswith(".gz") and what != "gzip"):
                right = TWO if what == "gzip" and ending == ".csv.gz" else NO_VALUE
                words = None if right is TWO else (ending,)
                yield case(
                    f"{what} called {ending}", lambda make=make, e=ending: renamed(make(), e), right, words
                )
    yield case("packed twice", lambda: packed(packed(written(BODY)(), ".gz"), ".csv.gz"), words=(".csv.gz",))
    yield case(
        "two packed files in one",
        lambda: written(gzip.compress(b"x,y\na,1\n") + gzip.compress(b"b,2\n"), ".csv.gz")(),
        TWO,
    )
    yield case(
        "noise behind a packed file",
        written(gzip.compress(BODY.encode()) + b"noise", ".csv.gz"),
        words=(".csv.gz",),
    )


def of_damage(seed: int) -> Iterator[Case]:
    """Files some bytes of which are others, or are gone: no value is known, but the error names the file."""
    drawn = random.Random(seed)
    rows = [f"u{number}" for number in range(200)]
    for ending, make in (
        (".csv", as_csv), (".csv.gz", lambda values: as_csv(values, ending=".csv.gz")), (".jsonl", as_jsonl),
        (".parquet", as_parquet), (".tfrecord", as_tfrecord),
    ):  # fmt: skip
        for number in range(24):

            def damaged(
                make: Any = make,
                ending: str = ending,
                where: float = drawn.random(),
                how: int = number % 4,
                noise: bytes = drawn.randbytes(9),
            ) -> pathlib.Path:
                path = make(rows)
                content = bytearray(path.read_bytes())
                at = int(where * len(content))
                if how == 0:
                    content = content[:at]
                elif how == 1:
                    content[at : at + 9] = noise
                elif how == 2:
                    del content[at : at + 9]
                else:
                    content[at:at] = noise
                path.write_bytes(bytes(content))
                return path

            what = ("cut off", "bytes changed", "bytes gone", "bytes put in")[number % 4]
            yield case(f"{ending}, {what}", damaged, lambda found: True, (ending,))


def of_frames() -> Iterator[Case]:
    """DataFrames whose columns or index are odd."""
    frame = pd.DataFrame({"x": TWO, "y": [1, 2]})
    two = pd.concat([frame, frame], axis=1)
    yield case("an index of text", lambda: frame.set_axis(["p", "q"]), TWO)
    yield case("an index with gaps", lambda: frame.set_axis([7, 7]), TWO)
    yield case("columns twice", lambda: two, words=("two columns 'x'",))
    yield case("columns of two levels", lambda: pd.concat({"k": frame}, axis=1), words=("'x'",))
    yield case("columns that are numbers", lambda: pd.DataFrame([["a"]]), words=("'x'",))
    yield case("a column of none", lambda: frame.assign(x=None), ["", ""])
    yield case("no rows", lambda: frame[:0], words=("no rows",))
    yield case("no columns", lambda: frame[[]], words=("'x'",))
    yield case("text of Arrow", lambda: frame.astype({"x": "string"}), TWO)
    yield case("a category", lambda: frame.astype({"x": "category"}), TWO)
    yield case("a category of numbers", lambda: frame.assign(x=pd.Categorical([7, 8])), ["7", "8"])
    yield case("a view", lambda: pd.concat([frame, frame])[::2], ["a", "a"])
    yield case("a Series", lambda: frame["x"], words=("DataFrame",))
    yield case("a mapping", lambda: {"x": TWO}, words=("DataFrame",))
    yield case("a table of Arrow", lambda: pa.table({"x": TWO}), words=("DataFrame",))


def of_forms(seed: int) -> Iterator[tuple[str, Case]]:
    """All of them."""
    for kind, cases in (
        ("csv, its form", of_csv()),
        ("encodings", of_encodings()),
        ("jsonl, its form", of_json()),
        ("paths and folders", of_paths(seed)),
        ("contents that are not what the name says", of_disguises()),
        ("damaged data files", of_damage(seed)),
        ("frame, its form", of_frames()),
    ):
        for one in cases:
            yield kind, one
