"""YAML in and out: the words of YAML 1.2, and whatever is written is read back."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import yaml

from cdrzoo.documents import dump_yaml, load_mapping, load_yaml
from cdrzoo.errors import SchemaError
from cdrzoo.schema import Domain, Feature, Schema, Table


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # text of 1.2 that 1.1 takes for booleans, numbers, times and dates
        *(
            (word, word)
            for word in ("on", "off", "yes", "no", "On", "OFF", "Yes", "NO", "y", "n", "nULL", "tRUE")
        ),
        *(
            (word, word)
            for word in ("1:30", "190:20:30.15", "1_000", "1_000.5", "0b11", "-0x1f", "+0o7", "=", "e3")
        ),
        *(
            (word, word)
            for word in ("2023-11-15", "2023-11-15T00:03:57Z", "2023-13-45", "+.nan", "1e", "0o8", ".")
        ),
        # booleans and nothing
        *((word, word.lower() == "true") for word in ("true", "True", "TRUE", "false", "False", "FALSE")),
        *((word, None) for word in ("null", "Null", "NULL", "~")),
        # whole numbers
        ("3", 3),
        ("-12", -12),
        ("+12", 12),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        # other numbers, as everybody writes them
        ("1e-3", 1e-3),
        ("-2E+4", -2e4),
        (".5e1", 5.0),
        ("1.0e-3", 1e-3),
        ("1.", 1.0),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        # text in quotes stays text
        ("'1e3'", "1e3"),
        ('"true"', "true"),
    ],
)
def test_words_mean_what_they_mean_in_yaml_1_2(text, value):
    found = load_yaml(f"[{text}]", "here")[0]
    assert found == value and type(found) is type(value)
    assert load_yaml(f"{text}: 1", "here") == {value: 1}
    assert load_yaml(dump_yaml([value]), "here") == [value]


def test_not_a_number_and_nothing_at_all():
    assert math.isnan(load_yaml(".nan", "here"))
    assert load_yaml("a:\nb: {c: , d: 1}\n", "here") == {"a": None, "b": {"c": None, "d": 1}}
    assert load_yaml("", "here") is None


def test_any_text_is_read_back_by_this_reader_and_by_one_of_yaml_1_1():
    words = ["".join(letters) for n in range(1, 4) for letters in itertools.product("01.-+e:_oxn", repeat=n)]
    words += [
        "on",
        "off",
        "yes",
        "no",
        "y",
        "null",
        "~",
        "",
        "true",
        "0o7",
        "1:30",
        "1_000",
        "<<",
        "=",
        "2023-11-15",
    ]
    words += [
        " a ",
        "a: b",
        "- a",
        "#a",
        "a #b",
        "'",
        '"',
        "\t",
        "\n",
        "é",
        "\u2028",
        "😀",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
    ]
    mapping = {word: word for word in words}
    assert load_yaml(dump_yaml(mapping), "here") == mapping
    assert yaml.safe_load(dump_yaml(mapping)) == mapping


def test_numbers_are_read_back():
    numbers = [0, -1, 10**20, 0.1, 1e-07, 1e22, -2.5, 1e300, math.inf, True, False, None]
    found = load_yaml(dump_yaml(numbers), "here")
    assert found == numbers and list(map(type, found)) == list(map(type, numbers))


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_schema_of_words_that_were_booleans(tmp_path, ending):
    text = """
    target: no
    tables: {on: {}, off: {width: 0x10}, 1_000: {}}
    domains:
      no:
        label: yes
        features:
          - {name: user, kind: id, role: user, table: on}
          - {name: item, kind: id, role: item, table: off, column: 1:30}
          - {name: "null", kind: id, role: item, table: 1_000, column: 😀}
    """
    schema = Schema.from_dict(load_yaml(text, "here"))
    assert schema == Schema(
        (
            Domain(
                "no",
                (
                    Feature("user", "id", "user", table="on"),
                    Feature("item", "id", "item", table="off", column="1:30"),
                    Feature("null", "id", "item", table="1_000", column="😀"),
                ),
                label="yes",
            ),
        ),
        "no",
        (Table("on"), Table("off", 16), Table("1_000")),
    )
    schema.save(tmp_path / f"schema.{ending}")
    assert Schema.load(tmp_path / f"schema.{ending}") == schema
    assert Schema.from_dict(json.loads(schema.to_json())) == schema


def test_a_switch_wants_true_or_false():
    """`yes` is text now, and text is true: it must not pass for `True`, nor `no` for it."""
    for word in ("yes", "no", "on"):
        with pytest.raises(SchemaError, match="must be true or false. Received: '"):
            Table("user", **load_yaml(f"per_domain: {word}", "here"))
    assert Table("user", **load_yaml("per_domain: true", "here")).per_domain is True


def test_a_mapping_takes_over_another_and_what_it_says_itself_wins():
    text = "base: &base {width: 8, dropout: 0.5}\nwide: {width: 16, <<: *base}\n"
    assert load_yaml(text, "x")["wide"] == {"width": 16, "dropout": 0.5}
    with pytest.raises(SchemaError, match="'width' stands twice"):
        load_yaml(text.replace("{width: 16", "{width: 1, width: 16"), "x")


def _bomb(form, levels, key=""):
    """Aliases of aliases: some hundred characters that stand for 8 ** levels values."""
    lines, before = ["x0: &x0 {a: [1, 2, 3, 4, 5, 6, 7, 8]}"], "x0"
    for level in range(1, levels + 1):
        lines.append(
            f"x{level}: &x{level} " + form.format(", ".join(key.format(i) + f"*{before}" for i in range(8)))
        )
        before = f"x{level}"
    return "\n".join(lines)


def test_aliases_within_bounds_are_read():
    assert load_yaml("a: &a [1, 2]\nb: [*a, *a]\n", "x") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", ["line 2", "'a' stands twice"]),
        ("no: 1\n'no': 2\n", ["line 2", "'no' stands twice"]),
        ("a: [b\n", ["not valid YAML"]),
        ("a: !!int x\n", ["not valid YAML"]),
        ("a: !!bool x\n", ["not valid YAML"]),
        ("a: " + "9" * 5000 + "\n", ["not valid YAML"]),
        ("[" * 5000, ["too deep"]),
        ("a: " + "[" * 51 + "]" * 51, ["line 1", "too deep"]),
        ("{a: " * 100_000, ["too deep"]),
        ("- " * 3000, ["too deep"]),
        ("a: " + "1" * 200_000 + "\n", ["line 1", "200,000 digits"]),
        ("a: " + "1" * 200_000 + ":z: y\n", ["not valid YAML"]),
        ("a: &a [*a]\n", ["line 1", "holds itself"]),
        ("a: &a {<<: *a, b: 1}\n", ["line 1", "holds itself"]),
        (_bomb("[{}]", 8), ["aliases", "1,000,000"]),
        (_bomb("{{{}}}", 8, "k{}: "), ["aliases", "1,000,000"]),
        (_bomb("{{<<: [{}]}}", 20), ["aliases", "1,000,000"]),
        ("- a\n", ["must hold a mapping", "list"]),
        ("a: !!python/object/apply:os.getcwd []\n", ["not valid YAML", "python"]),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, words):
    path = tmp_path / "here.yaml"
    path.write_text(text)
    with pytest.raises(SchemaError) as caught:
        load_mapping(path)
    assert all(word in str(caught.value) for word in [*words, "here.yaml"]), str(caught.value)
    assert len(str(caught.value)) < 1000
