"""A helper for the reports of all readers."""

from collections.abc import Iterable


def format_counts(text: str, counts: Iterable[tuple[int, str]], title: str = "") -> str:
    """The text, followed by the title and all counts other than 0, as in "...; dropped: 12 empty"."""
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return f"{text}; {title}{told}" if told else text
