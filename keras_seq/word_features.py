"""Words with features, such as a part of speech: `pound￨NN`, or with several features `pound￨NN￨singular`."""

from collections.abc import Sequence

FEATURE_MARK = "￨"  # U+FFE8, which OpenNMT has for the same


def with_features(word: str, features: Sequence[str]) -> str:
    """A word and its features as one string.

    Raises:
        ValueError: if one of them holds the mark.
    """
    for part in (word, *features):
        if FEATURE_MARK in part:
            raise ValueError(f"{part!r} holds {FEATURE_MARK}, which is between a word and its features")
    return FEATURE_MARK.join((word, *features))


def features_of(word: str) -> list[str]:
    """The features of a word."""
    return word.split(FEATURE_MARK)[1:]


def without_features(word: str) -> str:
    """The word alone."""
    return word.split(FEATURE_MARK, 1)[0]
