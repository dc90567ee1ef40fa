"""The flags that put source words in the place of unknown ones."""

import dataclasses
import pathlib

from keras_seq.cli import option
from keras_seq.commands.streams import STDIN, check_files, lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnknownOptions:
    replace_unknown: bool = option(False, "for an unknown word, write the source word that the model looked at")
    dictionary: pathlib.Path | None = option(
        None, "of --replace-unknown: what stands for a source word, each line a word, a tab and that; plain or .gz"
    )


def replacement(options: UnknownOptions) -> bool | dict[str, str]:
    """The `replace_unknown` of `decoding.generate`.

    Raises:
        ValueError: for a dictionary that is not asked for, or has a line that is none; names the line.
    """
    if options.dictionary is None:
        return options.replace_unknown
    if not options.replace_unknown:
        raise ValueError("--dictionary is of --replace-unknown: add that, or leave it out.")
    if options.dictionary == STDIN:
        raise ValueError("--dictionary must be a file: stdin is for the lines.")
    check_files([options.dictionary])
    return read_dictionary(options.dictionary)


def read_dictionary(file: pathlib.Path) -> dict[str, str]:
    """Of several lines with the same word the first one counts; blank lines do not."""
    entries: dict[str, str] = {}
    for line in lines([file]):
        if line.text is None:
            raise ValueError(f"{line.place}: {line.why}. Mend the dictionary.")
        if line.text.strip():
            word, tab, other = line.text.partition("\t")
            if not (word.strip() and tab and other.strip()):
                raise ValueError(
                    f"{line.place}: a line of a dictionary has a word, a tab and what stands for it. "
                    f"Received: {line.text[:80]!r}"
                )
            entries.setdefault(word.strip(), other.strip())
    return entries
