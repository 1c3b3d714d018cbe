"""What the project says of itself is written for people who read English as a second language.

Short sentences, no chains of semicolons, lines that fit a screen. `python tests/test_words.py` prints the statistics.
"""

from __future__ import annotations

import pathlib
import re

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
AVERAGE, LONGEST, WIDEST = 20, 35, 120
"""Words of a page's sentences on average, words of any sentence, characters of a line."""

FENCE = re.compile(r"^ *(```|~~~).*?^ *\1[^\n]*$", re.S | re.M)
SENTENCE = re.compile(r"(?<=[.!?])[)\"*]*\s+(?=[^a-z\s])")
BULLET = re.compile(r"\s*(?:[-*+]|\d+\.|>|\?\?\?\+?|!!!)\s+")
SMALL = re.compile(r"\b(?:et al|e\.g|i\.e|eqs?|vs|approx|no)\.", re.I)


def pages() -> list[pathlib.Path]:
    """What people read. Pages of results are made by a command: their words are the catalogue's."""
    made = PROJECT / "docs" / "results"
    found = [p for p in sorted((PROJECT / "docs").rglob("*.md")) if p.parent == made or made not in p.parents]
    names = (
        "README.md",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "saved_models/README.md",
    )
    return [*(PROJECT / name for name in names), *found]


def plain(text: str) -> str:
    """Without what Markdown adds: of a link its text; a piece of code or a number is one word."""
    text = re.sub(r"<!--.*?-->|^---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"^:::.*\n(?:    .*\n)*", "", text, flags=re.M)  # an entry of the API
    text = re.sub(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"`+[^`]+`+", "Code", text)
    text = re.sub(r"<https?:[^>]*>", "link", text)
    return SMALL.sub(lambda found: found[0][:-1], re.sub(r"<[^>]+>|[*_]{1,2}(?=\S)|(?<=\S)\*{1,2}", "", text))


def pieces(text: str) -> tuple[list[str], list[str]]:
    """The paragraphs and items of a page, and the cells of its tables."""
    prose, cells, new = [], [], True
    for line in plain(FENCE.sub("\n", text)).splitlines():
        if line.lstrip().startswith("|"):
            cells += [cell.strip() for cell in line.strip().strip("|").split("|")]
        elif line.startswith("#") or not line.strip() or re.fullmatch(r"[-=: ]+", line):
            new = True
            continue
        elif (item := BULLET.match(line)) or new:
            prose.append(line[item.end() if item else 0 :].strip())
            new = False
            continue
        else:
            prose[-1] += " " + line.strip()
            continue
        new = True
    return prose, cells


def sentences(texts: list[str]) -> list[str]:
    found = [one.strip() for text in texts for one in SENTENCE.split(text)]
    return [one for one in found if re.search(r"[A-Za-z]{2}", one)]


def words(sentence: str) -> int:
    return len(re.findall(r"[^\s|]*\w[^\s|]*", sentence))


def faults(text: str) -> list[str]:
    """What is wrong with the words of a page."""
    prose, cells = pieces(text)
    said = sentences(prose)
    found = [
        f"{words(one)} words, {LONGEST} are the most: {one}"
        for one in said + sentences(cells)
        if words(one) > LONGEST
    ]
    found += [f"a chain of semicolons: {one}" for one in said + sentences(cells) if one.count(";") > 1]
    if said and (average := sum(map(words, said)) / len(said)) > AVERAGE:
        found.append(f"{average:.1f} words a sentence on average, {AVERAGE} are the most")
    return found + [
        f"line {number} has {len(line)} characters, {WIDEST} are the most"
        for number, line in enumerate(text.splitlines(), 1)
        # Markdown cannot break a row of a table, nor an address.
        if len(line) > WIDEST and not line.lstrip().startswith(("|", "<!--")) and len(line.split()) > 2
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_the_page_is_easy_to_read(page):
    assert not (found := faults(page.read_text(encoding="utf-8"))), "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(["word"] * 36) + ".",
        "| a | " + " ".join(["word"] * 36) + " |",
        "- one;\n  two; three.",
        "Short. " + "This one has some twenty-one words and so it is longer than what a page may have on "
        "average if the other is not. " * 9,
        "short `code` " * 12,
    ],
)
def test_what_is_hard_to_read_is_found(text):
    assert faults(text)


def test_what_is_no_sentence_is_not_counted():
    code = "```python\n" + "x = 1; y = 2; z = 3\n" * 30 + "```\n"
    assert not faults(f"# {'word ' * 20}\n\n{code}\nA sentence (Kong et al. 2023). Another one.\n")
    assert words(plain("See [the long text of a link](../very/long.md) and `a + b + c`.")) == 9


def main() -> None:
    print(f"{'page':<36} {'sentences':>9} {'mean':>6} {'longest':>8} {'over':>5} {'chains':>7} {'line':>5}")
    for page in pages():
        text = page.read_text(encoding="utf-8")
        prose, cells = pieces(text)
        said, every = sentences(prose), sentences(prose) + sentences(cells)
        lengths = [words(one) for one in said] or [0]
        print(
            f"{page.relative_to(PROJECT)!s:<36} {len(said):>9} {sum(lengths) / max(len(said), 1):>6.1f} "
            f"{max(map(words, every), default=0):>8} {sum(words(one) > LONGEST for one in every):>5} "
            f"{sum(one.count(';') > 1 for one in every):>7} {max(map(len, text.splitlines()), default=0):>5}"
        )


if __name__ == "__main__":
    main()
