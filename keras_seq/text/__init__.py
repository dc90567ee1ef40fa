"""Strings to ids and back, in the graph: `Subwords` (SentencePiece), `Words` (white space), `Characters`, `Bytes`."""

from os import PathLike
from pathlib import Path

from keras_seq.text.byte_vocabulary import Bytes
from keras_seq.text.characters import Characters
from keras_seq.text.coverage import Coverage, coverage
from keras_seq.text.labels import load_labels, save_labels
from keras_seq.text.normalize import (
    case_folded,
    collapsed_white_space,
    composed,
    lowercase,
    nfc,
    nfkc,
    normalized,
    plain_punctuation,
    without_accents,
    without_control_characters,
)
from keras_seq.text.subwords import Subwords
from keras_seq.text.vocabulary import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Sampling, Vocabulary
from keras_seq.text.word_features import split_features
from keras_seq.text.words import Words
from keras_seq.word_features import FEATURE_MARK, features_of, with_features, without_features

__all__ = [
    "Bytes",
    "Characters",
    "Coverage",
    "END_ID",
    "FEATURE_MARK",
    "PAD_ID",
    "START_ID",
    "Sampling",
    "Subwords",
    "UNKNOWN_ID",
    "Vocabulary",
    "Words",
    "case_folded",
    "collapsed_white_space",
    "composed",
    "coverage",
    "features_of",
    "load",
    "load_labels",
    "lowercase",
    "nfc",
    "nfkc",
    "normalized",
    "plain_punctuation",
    "save_labels",
    "split_features",
    "with_features",
    "without_accents",
    "without_control_characters",
    "without_features",
]

KINDS = {".spm": Subwords, ".words": Words, ".characters": Characters, ".bytes": Bytes}


def load(path: str | PathLike) -> Vocabulary:
    """Opens a saved vocabulary of any kind, by the ending of its name: `.spm`, `.words`, `.characters` or `.bytes`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the name has another ending, or the file does not match its name.
    """
    ending = Path(path).suffix
    if ending not in KINDS:
        raise ValueError(f"The name of a vocabulary file must end in one of {tuple(KINDS)}. Received: {str(path)!r}")
    return KINDS[ending].load(path)


_INSTEAD = {  # names of other libraries, and names that come to mind
    "BPE": "Subwords",
    "BytePairTokenizer": "Subwords",
    "ByteTokenizer": "Bytes",
    "SentencePiece": "Subwords",
    "SentencePieceTokenizer": "Subwords",
    "SubwordTokenizer": "Subwords",
    "TextVectorization": "Words",
    "Tokenizer": "Subwords, Words, Characters or Bytes",
    "UnicodeCodepointTokenizer": "Characters",
    "Vocab": "Vocabulary, or its kinds Subwords, Words, Characters and Bytes",
    "WordPieceTokenizer": "Subwords",
}


def __getattr__(name):
    advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")
