"""Words and their features in the graph."""

from typing import Any

import tensorflow as tf

from keras_seq.word_features import FEATURE_MARK


def split_features(words: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Separates words from their features, in the graph.

    Args:
        words: strings `(N,)`.
        count: number of features of a word, F.
    Returns:
        `(words (N,), features (N, F))`, strings. A feature that a word does not have is "".
    """
    parts = tf.strings.split(words, FEATURE_MARK).to_tensor("", shape=(None, 1 + count))
    return parts[:, 0], parts[:, 1:]
