"""Columns of text."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], numbers: bool = True) -> list[str]:
    """The first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        aligned = [f"{cell:>{width}}" if numbers else cell for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *aligned]).rstrip())
    return lines
