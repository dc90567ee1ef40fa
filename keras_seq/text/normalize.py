r"""Text made uniform, in the graph: functions from strings to strings that compose.

    clean = composed(nfkc, without_control_characters, plain_punctuation, collapsed_white_space)
    dataset.apply(normalized(clean))   # a dataset step
    clean(tf.constant(["a\u00a0 b"]))  # the same inside an export or a vocabulary

Each takes and gives a string tensor of any shape, in UTF-8, and holds no state.
Invalid UTF-8 is best dropped by the reader: some functions replace it by U+FFFD and some leave it alone.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_text

Function = Callable[[Any], tf.Tensor]


def nfc(strings) -> tf.Tensor:
    """Unicode's canonical composition (NFC): one spelling for each accented letter, nothing lost."""
    return tensorflow_text.normalize_utf8(strings, "NFC")


def nfkc(strings) -> tf.Tensor:
    """Unicode's compatibility composition (NFKC): also ligatures, full-width letters and the like become plain ones."""
    return tensorflow_text.normalize_utf8(strings, "NFKC")


def lowercase(strings) -> tf.Tensor:
    """Lower case of any script. NULs are taken out, since the lowering stops at them."""
    return tf.strings.lower(tf.strings.regex_replace(strings, r"\x00", ""), encoding="utf-8")


def case_folded(strings) -> tf.Tensor:
    """Unicode's case folding for comparisons (NFKC_Casefold): "Straße" and "STRASSE" become "strasse".

    It includes NFKC, and takes out characters that show nothing: soft hyphens, joiners, variation selectors.
    """
    return tensorflow_text.case_fold_utf8(strings)


def without_control_characters(strings) -> tf.Tensor:
    """Takes out control characters (category Cc), NUL among them, but for those that are white space."""
    return tf.strings.regex_replace(strings, r"[\x00-\x08\x0e-\x1f\x7f-\x{84}\x{86}-\x{9f}]", "")


def collapsed_white_space(strings) -> tf.Tensor:
    """Each run of white space (as Unicode has it, line feeds and no-break spaces too) becomes one space; none at the
    ends."""
    strings = tf.strings.regex_replace(strings, r"[\t-\r\x{85}\p{Z}]+", " ")
    return tf.strings.regex_replace(strings, r"^ | $", "")


def plain_punctuation(strings) -> tf.Tensor:
    """Quotation marks become " or ', hyphens and dashes and the minus sign become -."""
    strings = tf.strings.regex_replace(strings, r"[\x{201c}-\x{201f}\x{2033}\x{ab}\x{bb}]", '"')
    strings = tf.strings.regex_replace(strings, r"[\x{2018}-\x{201b}\x{2032}\x{2039}\x{203a}]", "'")
    return tf.strings.regex_replace(strings, r"[\x{2010}-\x{2015}\x{2212}]", "-")


def without_accents(strings) -> tf.Tensor:
    """Takes off accents and other marks (category Mn); letters with a stroke, as in "ø", stay what they are."""
    strings = tensorflow_text.normalize_utf8(strings, "NFD")
    return nfc(tf.strings.regex_replace(strings, r"\p{Mn}+", ""))


def composed(*functions: Function) -> Function:
    """One function that applies these, the first one first."""
    if not functions:
        raise ValueError("`composed` needs one function or more. Received: none")

    def apply(strings) -> tf.Tensor:
        for function in functions:
            strings = function(strings)
        return strings

    return apply


def normalized(*functions: Function) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step: applies the functions, the first one first, to every string component of an element or batch."""
    function = composed(*functions)

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        def apply(*element):
            parts = [function(part) if part.dtype == tf.string else part for part in tf.nest.flatten(element)]
            return tf.nest.pack_sequence_as(dataset.element_spec, parts)

        return dataset.map(apply, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return step
