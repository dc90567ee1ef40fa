r"""Functions that normalize strings in the graph, and that compose.

    clean = composed(nfkc, without_control_characters, plain_punctuation, collapsed_white_space)
    dataset.apply(normalized(clean))   # a dataset step
    clean(tf.constant(["a\u00a0 b"]))  # the same inside an export or a vocabulary

Each maps a string tensor of any shape, in UTF-8, to another, and has no state.
Drop invalid UTF-8 when reading: some functions replace it by U+FFFD and some leave it unchanged.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_text

Function = Callable[[Any], tf.Tensor]


def nfc(strings) -> tf.Tensor:
    """Unicode's canonical composition (NFC): one spelling for each accented letter, without loss."""
    return tensorflow_text.normalize_utf8(strings, "NFC")


def nfkc(strings) -> tf.Tensor:
    """Unicode's compatibility composition (NFKC): also replaces ligatures, full-width letters etc. by plain ones."""
    return tensorflow_text.normalize_utf8(strings, "NFKC")


def lowercase(strings) -> tf.Tensor:
    """Converts text of any script to lower case. NULs are removed, since the conversion stops at them."""
    return tf.strings.lower(tf.strings.regex_replace(strings, r"\x00", ""), encoding="utf-8")


def case_folded(strings) -> tf.Tensor:
    """Unicode's case folding for comparisons (NFKC_Casefold): "Straße" and "STRASSE" become "strasse".

    It includes NFKC, and removes invisible characters: soft hyphens, joiners, variation selectors.
    """
    return tensorflow_text.case_fold_utf8(strings)


def without_control_characters(strings) -> tf.Tensor:
    """Removes control characters (category Cc), including NUL, except those that are white space."""
    return tf.strings.regex_replace(strings, r"[\x00-\x08\x0e-\x1f\x7f-\x{84}\x{86}-\x{9f}]", "")


def collapsed_white_space(strings) -> tf.Tensor:
    """Replaces each run of Unicode white space, including line feeds and no-break spaces, by one space, and strips the
    ends."""
    strings = tf.strings.regex_replace(strings, r"[\t-\r\x{85}\p{Z}]+", " ")
    return tf.strings.regex_replace(strings, r"^ | $", "")


def plain_punctuation(strings) -> tf.Tensor:
    """Replaces quotation marks by " or ', and hyphens, dashes and the minus sign by -."""
    strings = tf.strings.regex_replace(strings, r"[\x{201c}-\x{201f}\x{2033}\x{ab}\x{bb}]", '"')
    strings = tf.strings.regex_replace(strings, r"[\x{2018}-\x{201b}\x{2032}\x{2039}\x{203a}]", "'")
    return tf.strings.regex_replace(strings, r"[\x{2010}-\x{2015}\x{2212}]", "-")


def without_accents(strings) -> tf.Tensor:
    """Removes accents and other marks (category Mn). Letters with a stroke, as in "ø", are kept.

    Example:
        >>> text.without_accents(["café"]).numpy()[0].decode()
        'cafe'
    """
    strings = tensorflow_text.normalize_utf8(strings, "NFD")
    return nfc(tf.strings.regex_replace(strings, r"\p{Mn}+", ""))


def composed(*functions: Function) -> Function:
    """One function that applies these in order."""
    if not functions:
        raise ValueError("`composed` needs one function or more. Received: none")

    def apply(strings) -> tf.Tensor:
        for function in functions:
            strings = function(strings)
        return strings

    return apply


def normalized(*functions: Function) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that applies the functions in order to every string component of an element or batch.

    Example:
        >>> clean = text.normalized(text.nfkc, text.lowercase, text.collapsed_white_space)
        >>> dataset = tf.data.Dataset.from_tensor_slices(["Ｆull   width "]).apply(clean)
        >>> next(iter(dataset)).numpy().decode()
        'full width'
    """
    function = composed(*functions)

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        def apply(*element):
            parts = [function(part) if part.dtype == tf.string else part for part in tf.nest.flatten(element)]
            return tf.nest.pack_sequence_as(dataset.element_spec, parts)

        return dataset.map(apply, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return step
