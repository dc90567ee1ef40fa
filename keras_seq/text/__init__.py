"""Strings to ids and back, in the graph: `Subwords` (SentencePiece) and `Words` (white space)."""

from os import PathLike
from pathlib import Path

from keras_seq.text.subwords import Subwords
from keras_seq.text.vocabulary import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Vocabulary
from keras_seq.text.words import Words

__all__ = ["END_ID", "PAD_ID", "START_ID", "UNKNOWN_ID", "Subwords", "Vocabulary", "Words", "load"]


def load(path: str | PathLike) -> Vocabulary:
    """Opens a saved vocabulary of either kind, by the ending of its name: `.spm` or `.words`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the name ends otherwise, or the file is not what its name says.
    """
    kinds = {".spm": Subwords, ".words": Words}
    ending = Path(path).suffix
    if ending not in kinds:
        raise ValueError(f"The name of a vocabulary file must end in one of {tuple(kinds)}. Received: {str(path)!r}")
    return kinds[ending].load(path)
