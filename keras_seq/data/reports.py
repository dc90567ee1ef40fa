"""What the reports of all readers have in common."""

from collections.abc import Iterable


def format_counts(text: str, counts: Iterable[tuple[int, str]], title: str = "") -> str:
    """The text and, after a semicolon and the title, those counts that are not 0: "...; dropped: 12 empty"."""
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return f"{text}; {title}{told}" if told else text
