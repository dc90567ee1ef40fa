"""Decodes tags into spans, names and chunks, in any of the usual schemes."""

import re
from collections.abc import Iterable, Sequence

_TAG = re.compile(r"([BIMELSUW])(?:[-_](.*))?")
_PLAIN = {"M": "I", "L": "E", "U": "S", "W": "S"}  # the letters of BILOU, BMES and BMEWO
_ALMOST = re.compile(r"[BIbi][-_].+|.+[-_][BIbi]")


def spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The spans that a sentence's tags mark, as (start, end, type). `end` is the place after the last word.

    Tags are "O", or a letter and a type: `B-PER`, `I-PER`, or `B_PER`. The rules are those of conlleval, which scores
    the CoNLL tasks. A span begins at B, and at an I that follows O or another type, so that IOB1, IOB2 and any output
    of a tagger are valid. It ends before O, B or another type. E or L also ends a span, S, U or W is a span by itself,
    and M is an I (BIOES, BILOU, BMES, BMEWO).

    Raises:
        ValueError: if a tag has another form.

    Example:
        >>> data.spans(["B-PER", "I-PER", "O", "B-LOC"])
        [(0, 2, 'PER'), (3, 4, 'LOC')]
    Source: conlleval.pl of CoNLL-2000, https://www.clips.uantwerpen.be/conll2000/chunking/conlleval.txt
    """
    found = []
    start, open_type = 0, None  # `open_type` is None outside spans
    for place, tag in enumerate([*tags, "O"]):
        match = _TAG.fullmatch(tag)
        if match is None and tag != "O":
            raise ValueError(
                'A tag that marks spans is "O", or one of B-, I-, M-, E-, L-, S-, U-, W- and a type. '
                f"Received: {tag!r} at {place}"
            )
        letter, kind = (_PLAIN.get(match[1], match[1]), match[2] or "") if match else ("O", "")
        if open_type is not None and (letter in "OBS" or kind != open_type):
            found.append((start, place, open_type))
            open_type = None
        if letter != "O" and open_type is None:
            start, open_type = place, kind
        if letter in "ES":
            found.append((start, place + 1, open_type))
            open_type = None
    return found


def mark_spans(tags: Iterable[str]) -> bool:
    """Whether these tags mark spans: "O", and others that `spans` can read.

    Raises:
        ValueError: if some tags mark spans and others do not.
    """
    tags = sorted(set(tags))
    others = [tag for tag in tags if tag != "O" and not _TAG.fullmatch(tag)]
    if not others:
        return tags != ["O"] and bool(tags)
    almost = [tag for tag in tags if _ALMOST.fullmatch(tag)]
    if {"O", "o"}.isdisjoint(tags) or not almost:
        return False
    raise ValueError(
        f"Tags such as {almost[0]!r} mark spans, but {', '.join(map(repr, others[:5]))} cannot be read as such. "
        'Write all tags as "O", or B-, I-, ... and a type, or treat each tag as that of one word (--spans no).'
    )
