"""Links from names in the text, such as `data.bucketed`, to their entries in the reference."""

import functools
import re
from collections.abc import Collection

from docs.site import reference

CODE = re.compile(r"(?<![`\[\\])`(?P<name>[A-Za-z_][\w.]*)(?P<call>\([^`]*\))?`(?![`\]])")
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})")
FENCE = re.compile(r" *(```|~~~)")


@functools.cache
def targets() -> dict[str, str]:
    """`keras_seq.layers.LSTM`, `layers.LSTM` and, for inspection, `plots.buckets`, each with its identifier."""
    found = {"keras_seq.load": "keras_seq.tasks.load"}
    for part in reference.parts():
        for name in reference.homes(part):
            whole = f"{part}.{name}"
            found[whole] = found[whole.removeprefix("keras_seq.")] = whole
            found.setdefault(f"{part.rpartition('.')[2]}.{name}", whole)
    return found


def linked(markdown: str) -> str:
    """A page with its inline code linked, outside of headings and blocks of code."""
    lines, in_block = [], False
    for line in markdown.split("\n"):
        fence = FENCE.match(line) is not None
        in_block ^= fence
        lines.append(line if in_block or fence or line.startswith(("#", "    ")) else CODE.sub(_link, line))
    return "\n".join(lines)


def linked_in_docstring(markdown: str, path: str, arguments: Collection[str] = ()) -> str:
    """The docstring of `path` with its inline code linked, and arXiv numbers too.

    A name of the same part needs no prefix if it is that of a class or has an underscore, and is no argument.
    """
    part = max((part for part in reference.parts() if path.startswith(f"{part}.")), key=len, default=None)

    def link(match: re.Match) -> str:
        name, target = match["name"], f"{part}.{match['name']}"
        is_plain = "." in name or name in arguments or not ("_" in name or name[0].isupper())
        is_other = target in targets() and not path.endswith(f".{name}")
        return f"[{match[0]}][{target}]" if is_other and not is_plain else _link(match)

    lines = []
    for line in markdown.split("\n"):
        name, colon, text = line.partition(": ") if line.startswith("- `") else ("", "", line)
        lines.append(line if line.startswith(("    ", ">>>")) else name + colon + CODE.sub(link, text))
    return ARXIV.sub(r"[\g<0>](https://arxiv.org/abs/\1)", "\n".join(lines))


def _link(match: re.Match) -> str:
    target = targets().get(match["name"])
    return f"[{match[0]}][{target}]" if target else match[0]
