"""Counts the habits of style that make our prose hard to read, for each file. A guide and not a gate.

    python -m tests.prose                                  # the table: most counts first, then totals beside their bars
    python -m tests.prose --kind docs                      # or docstrings, messages
    python -m tests.prose --list what docs/data.md         # the lines of a file; without FILE, of all files
    python -m tests.prose --checkout ../other              # of another checkout

Docs are the README files, CONTRIBUTING and docs/. Docstrings are those of keras_seq and recipes. Messages are all
other string literals of at least four words there: help texts, errors, warnings, printed lines. Code blocks, inline
code, link targets and URLs are left out.
"""

import argparse
import ast
import dataclasses
import functools
import pathlib
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ("README.md", "CONTRIBUTING.md", "recipes/README.md", "docs/**/*.md")
PACKAGES = ("keras_seq", "recipes")
KINDS = ("docs", "docstrings", "messages")
# Per 1,000 words.
BARS = {"what": 1, "say": 0, "semicolon": 3}
HABITS = {
    # A question is left out: see `is_question`.
    "what": re.compile(r"\bwhat\b", re.I),
    "say": re.compile(r"\b(says?|said|tells?|told|hears?|heard|knows?|known)\b", re.I),
    "semicolon": re.compile(";"),
    "goes-on": re.compile(r"\b(go|goes|gone|going|went)\s+on\b(?!\s+(a|an|the)\b)", re.I),
    "own": re.compile(r"\bown\b", re.I),
    "who": re.compile(r"\b(who|whom|whoever|nobody|anybody|no\s+one)\b", re.I),
    "idiom": re.compile(r"\b(so\s+many|anew|there\s+is\s+but|for\s+want\s+of)\b", re.I),
}
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
CODE = re.compile(
    r"^ *(```|~~~).*?^ *\1 *$"  # fenced
    r"|``.+?``|`[^`]+`"  # inline
    r"|(?<=\])\([^)\s]+\)|\bhttps?://[^\s)>]+"  # targets of links, URLs
    r"|^ *(>>>|\$) .*?$|<!--.*?-->|&\w+;",
    re.MULTILINE | re.DOTALL,
)
STATEMENTS = (ast.Assign, ast.AugAssign, ast.Import, ast.ImportFrom, ast.With, ast.For, ast.FunctionDef, ast.Return)


@dataclasses.dataclass(frozen=True)
class Prose:
    """A text of a file: `line` is the number of its first line, `text` has spaces where `original` has code."""

    file: str
    kind: str
    line: int
    original: str

    @functools.cached_property
    def text(self) -> str:
        return without_code(self.original)

    def matches(self, habit: str) -> Iterator[re.Match]:
        for match in HABITS[habit].finditer(self.text):
            if habit != "what" or not is_question(self.text, match.start()):
                yield match

    def line_of(self, position: int) -> tuple[int, str]:
        """The number and the text of the line of the file."""
        number = self.text.count("\n", 0, position)
        return self.line + number, self.original.split("\n")[number].strip()


def is_question(text: str, position: int) -> bool:
    """Whether the sentence around the position ends in a question mark."""
    end = re.compile(r"[.?!](\s|$)|\n\s*\n").search(text, position)
    return end is not None and end[0].startswith("?")


def without_code(text: str) -> str:
    """The text with spaces for code, so that positions and lines stay."""
    text = CODE.sub(blank, text)
    return "\n".join(" " * len(line) if is_statement(line) else line for line in text.split("\n"))


def blank(match: re.Match) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def is_statement(line: str) -> bool:
    """Whether the line alone is Python: an assignment, a call, an import."""
    try:
        (statement,) = ast.parse(line.strip()).body
    except (SyntaxError, ValueError):
        return False
    is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    return is_call or isinstance(statement, STATEMENTS)


def of_docs(root: pathlib.Path) -> Iterator[Prose]:
    for pattern in DOCS:
        for path in sorted(root.glob(pattern)):
            yield Prose(str(path.relative_to(root)), "docs", 1, path.read_text(encoding="utf-8"))


def of_code(root: pathlib.Path) -> Iterator[Prose]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield from of_source(str(path.relative_to(root)), path.read_text(encoding="utf-8"))


def of_source(file: str, source: str) -> Iterator[Prose]:
    """The docstrings and the messages of a Python file."""
    tree = ast.parse(source)
    docstrings = set(map(id, docstring_nodes(tree)))
    for line, text, node in strings(tree):
        kind = "docstrings" if id(node) in docstrings else "messages"
        prose = Prose(file, kind, line, text)
        if kind == "docstrings" or len(WORD.findall(prose.text)) >= 4:
            yield prose


def docstring_nodes(tree: ast.AST) -> Iterator[ast.Constant]:
    """Strings that stand alone: those of modules, classes and functions, and those below attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def strings(node: ast.AST) -> Iterator[tuple[int, str, ast.AST]]:
    """The line, the text and the node of each string; a replacement field of an f-string is "{}"."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value, node
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield node.lineno, "".join(map(str, parts)), node
    else:
        for child in ast.iter_child_nodes(node):
            yield from strings(child)


def counts(texts: Iterable[Prose]) -> Counter:
    """The words, and the matches of each habit."""
    total: Counter = Counter()
    for prose in texts:
        total["words"] += len(WORD.findall(prose.text))
        total.update({habit: sum(1 for _ in prose.matches(habit)) for habit in HABITS})
    return total


def grouped(texts: list[Prose], by: str) -> dict[str, Counter]:
    names = dict.fromkeys(getattr(prose, by) for prose in texts)
    return {name: counts(prose for prose in texts if getattr(prose, by) == name) for name in names}


def marks(count: Counter) -> int:
    return sum(count[habit] for habit in HABITS)


def table(texts: list[Prose]) -> list[str]:
    """A line for each file, most counts first; then counts per 1,000 words of each kind, and the bars."""
    header = ["", "words", *HABITS]
    by_file = sorted(grouped(texts, "file").items(), key=lambda item: -marks(item[1]))
    rows = [[name, *(str(count[key]) for key in header[1:])] for name, count in by_file if marks(count)]
    totals = {**grouped(texts, "kind"), "all": counts(texts)}
    rates = [
        [name, str(count["words"]), *(f"{1000 * count[habit] / max(count['words'], 1):.1f}" for habit in HABITS)]
        for name, count in totals.items()
    ]
    bars = ["bar", "", *(f"<= {BARS[habit]}" if habit in BARS else "" for habit in HABITS)]
    per = ["per 1,000 words", "words", *HABITS]
    return aligned([header, *rows, per, *rates, bars], break_before=len(rows) + 1)


def aligned(rows: list[list[str]], break_before: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return [*lines[:break_before], "", *lines[break_before:]]


def listed(texts: list[Prose], habit: str) -> list[str]:
    """The lines of a habit, as `file:line: kind: line`."""
    places = [(prose, *prose.line_of(match.start())) for prose in texts for match in prose.matches(habit)]
    return [f"{prose.file}:{number}: {prose.kind}: {line}" for prose, number, line in places]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=KINDS, help="docs, docstrings or messages only")
    parser.add_argument("--list", choices=HABITS, metavar="WORD", help=f"list the lines: {', '.join(HABITS)}")
    parser.add_argument("--checkout", type=pathlib.Path, default=ROOT, help="folder of the checkout")
    parser.add_argument("files", nargs="*", metavar="FILE", help="path below the checkout (default: all files)")
    options = parser.parse_args(argv)
    texts = [prose for prose in [*of_docs(options.checkout), *of_code(options.checkout)] if chosen(prose, options)]
    print("\n".join(listed(texts, options.list) if options.list else table(texts)))


def chosen(prose: Prose, options: argparse.Namespace) -> bool:
    """Whether the flags ask for the text; a folder stands for its files."""
    is_of_kind = options.kind in (None, prose.kind)
    paths = (prose.file, *map(str, pathlib.PurePath(prose.file).parents))
    return is_of_kind and (not options.files or any(file.rstrip("/") in paths for file in options.files))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    main()
