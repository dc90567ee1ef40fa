"""Small changes to a source file, each of one place: what a slip of the pen would be."""

import ast
import dataclasses
import pathlib
import random
from collections.abc import Iterator

OPERATORS = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.Pow: "*",
    ast.MatMult: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
COMPARISONS = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
MASKS = ("mask", "padding_mask", "source_mask", "value_mask", "memory_mask", "sample_weight", "weights")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: the text between two offsets of a file is replaced.

    Attributes:
        path: the file, relative to the repository.
        line: where the change is, from 1.
        kind: "operator", "comparison", "constant", "axis" or "mask".
    """

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str
    kind: str

    def applied(self, source: str) -> str:
        found = source[self.start : self.end]
        if found != self.before:
            raise ValueError(f"{self.path} has changed: {found!r} stands where {self.before!r} was drawn.")
        return source[: self.start] + self.after + source[self.end :]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.kind}: {self.before!r} -> {self.after!r}"


def mutants(path: pathlib.Path, root: pathlib.Path) -> list[Mutant]:
    """All mutants of a file that still parse, in the order of the text."""
    source = path.read_text(encoding="utf-8")
    places = _Places(source)
    found = []
    for node, in_message in _walk(ast.parse(source), False):
        if in_message:
            continue
        for start, end, after, kind in _changes(node, places):
            before = source[start:end]
            mutant = Mutant(str(path.relative_to(root)), node.lineno, start, end, before, after, kind)
            if before != after and _parses(mutant.applied(source)):
                found.append(mutant)
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end))


def drawn(areas: dict[str, list[pathlib.Path]], count: int, seed: int, root: pathlib.Path) -> list[Mutant]:
    """As many mutants of each area; within an area each kind has the same chance, and then each place of that kind."""
    chance, found = random.Random(seed), []
    for number, (_, files) in enumerate(sorted(areas.items())):
        every = [mutant for file in sorted(files) for mutant in mutants(file, root)]
        kinds = sorted({mutant.kind for mutant in every})
        share, taken = count // len(areas) + (number < count % len(areas)), []
        while len(taken) < min(share, len(every)):
            kind = chance.choice(kinds)
            mutant = chance.choice([mutant for mutant in every if mutant.kind == kind])
            if mutant not in taken:
                taken.append(mutant)
        found += sorted(taken, key=lambda mutant: (mutant.path, mutant.start))
    return found


class _Places:
    """Offsets in characters of what the syntax tree gives as line and byte."""

    def __init__(self, source: str):
        self.source, self.lines = source, source.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def start(self, node: ast.AST) -> int:
        return self.offset(node.lineno, node.col_offset)

    def end(self, node: ast.AST) -> int:
        return self.offset(node.end_lineno, node.end_col_offset)

    def between(self, left: ast.AST, right: ast.AST, symbol: str) -> tuple[int, int] | None:
        """Where an operator stands; None where a comment or a bracket makes that unclear."""
        start, end = self.end(left), self.start(right)
        if self.source[start:end].strip(" ()\n") != symbol:
            return None
        at = self.source.index(symbol, start, end)
        return at, at + len(symbol)


def _walk(node: ast.AST, in_message: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes but docstrings, annotations and `__all__`, and whether they stand in the message of an error."""
    if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
        return
    yield node, in_message
    in_message = in_message or isinstance(node, ast.Raise | ast.JoinedStr)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, in_message)


_SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**"}
_SYMBOLS |= {ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|"}
_SYMBOLS |= {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is"}
_SYMBOLS |= {ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in"}


def _changes(node: ast.AST, places: _Places) -> Iterator[tuple[int, int, str, str]]:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        if not any(
            isinstance(side, ast.Constant | ast.JoinedStr) and not _number(side) for side in (node.left, node.right)
        ):
            at = places.between(node.left, node.right, _SYMBOLS[type(node.op)])
            if at:
                yield *at, OPERATORS[type(node.op)], "operator"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        at = places.between(node.left, node.comparators[0], _SYMBOLS[type(node.ops[0])])
        if at:
            yield *at, COMPARISONS[type(node.ops[0])], "comparison"
    elif isinstance(node, ast.BoolOp) and len(node.values) == 2:
        symbol, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        at = places.between(*node.values, symbol)
        if at:
            yield *at, other, "operator"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.Not):
        kind = "mask" if isinstance(node.op, ast.Invert) else "operator"
        yield places.start(node), places.start(node.operand), "", kind
    elif isinstance(node, ast.keyword) and node.arg == "axis" and _whole(node.value) is not None:
        axis = _whole(node.value)
        yield places.start(node.value), places.end(node.value), str(_other_axis(axis)), "axis"
    elif isinstance(node, ast.keyword) and node.arg in MASKS and not isinstance(node.value, ast.Constant):
        yield places.start(node.value), places.end(node.value), "None", "mask"
    elif isinstance(node, ast.Constant) and (isinstance(node.value, bool) or _number(node)):
        yield places.start(node), places.end(node), repr(_other_constant(node.value)), "constant"


def _other_axis(axis: int) -> int:
    """One that the tensor has, too."""
    return {0: 1, -1: 0}.get(axis, axis - 1 if axis > 0 else axis + 1)


def _other_constant(value: bool | int | float) -> bool | int | float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 2 * value or 1.0


def _number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)


def _whole(node: ast.AST) -> int | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True
