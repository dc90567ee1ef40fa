"""Conversion of strings to padded ids and back, in a graph."""

import tensorflow as tf

from keras_seq.decoding.generate import padded_width
from keras_seq.decoding.search import search_with_vocabulary


def with_end(ids, vocabulary):
    """Ragged ids `(B, None)`, with the end token after each row."""
    return tf.concat([ids, tf.fill([ids.nrows(tf.int32), 1], vocabulary.end_id)], axis=1)


def padded(ids, pad_id):
    """Ragged ids, none of them empty -> `(B, T)`, with the width of batches in `decoding.generate`."""
    longest = tf.reduce_max(tf.concat([ids.row_lengths(), [1]], axis=0))  # no rows at all: 1
    shape = tf.stack([-1, padded_width(longest - 1)])  # -1: the number of rows
    return tf.ensure_shape(ids.to_tensor(pad_id, shape=shape), (None, None))


def searched(model, vocabulary, source, search, *, max_length, constraints=()):
    """The R results for each row of ids: `tokens (B, R, T)`, and `text`, `score`, `log_prob`, `finished`, `(B, R)`."""
    found = search_with_vocabulary(
        model, vocabulary, source, max_length=max_length, search=search, constraints=constraints
    )
    tokens = tf.convert_to_tensor(found.tokens)
    finished = tf.reduce_any(tokens == vocabulary.end_id, axis=2)
    results = {"text": written(vocabulary, tokens), "score": found.scores, "log_prob": found.log_probs}
    return {"tokens": tokens, **results, "finished": finished}


def written(vocabulary, tokens):
    """Ids `(B, R, T)` -> texts `(B, R)`."""
    R, T = tokens.shape[1], tf.shape(tokens)[2]
    return tf.reshape(vocabulary.detokenize(tf.reshape(tokens, (-1, T))), (-1, R))


def following(vocabulary, texts, prompts, tokens):
    """The continuations of texts `(B,)`, to be appended to the unchanged texts: `(B, R)`.

    The texts themselves are not detokenized, since a vocabulary changes them: unknown characters, case, white space.
    The continuation is the rest of the whole after its beginning. A space between two words is therefore part of it,
    unless the text ends in white space that the vocabulary left out.

    Args:
        prompts: ids of the texts, `(B, P)`.
        tokens: ids of the continuations, `(B, R, T)`.
    """
    R = tokens.shape[1]
    before = tf.repeat(written(vocabulary, prompts[:, None]), R, axis=1)  # (B, R)
    whole = written(vocabulary, tf.concat([tf.repeat(prompts[:, None], R, axis=1), tokens], axis=2))
    place = tf.minimum(tf.strings.length(before), tf.strings.length(whole))
    rest = tf.strings.substr(whole, place, tf.fill(tf.shape(place), tf.int32.max))
    rest = tf.where(tf.strings.substr(whole, tf.zeros_like(place), place) == before, rest, written(vocabulary, tokens))
    spaced = tf.strings.regex_full_match(texts, r"(?s).*[\t-\r ]")[:, None] & (before != texts[:, None])
    return tf.where(spaced, tf.strings.regex_replace(rest, "^ ", ""), rest)


def one_or_many(results):
    """`(B, 1)` -> `(B,)`. Several results for each text stay `(B, R)`."""
    return {name: x[:, 0] if x.shape[1] == 1 else x for name, x in results.items()}


def in_place(x, some):
    """The rows of x, `(N, R)`, placed where `some (B,)` is True: `(B, R)`. The other rows are "" and 0."""
    x = tf.concat([x, tf.zeros([1, x.shape[1]], x.dtype)], axis=0)  # one row for all other places
    some = tf.cast(some, tf.int32)
    return tf.gather(x, tf.where(some > 0, tf.cumsum(some) - 1, tf.reduce_sum(some)))


def forced_scores(vocabulary, target, token_log_probs):
    """The outputs of a signature `score`, given ids `(B, T)` and their log-probabilities.

    Returns:
        `log_prob (B,)`, the number of tokens `num_tokens (B,)`, and for each token `tokens (B, T)`, its written form
        ("" for padding), and `token_log_probs (B, T)`.
    """
    real = target != vocabulary.pad_id
    pieces = tf.constant(vocabulary.pieces(range(vocabulary.size)))
    return {
        "log_prob": tf.reduce_sum(token_log_probs, axis=1),
        "num_tokens": tf.reduce_sum(tf.cast(real, tf.int32), axis=1),
        "tokens": tf.where(real, tf.gather(pieces, target), ""),
        "token_log_probs": token_log_probs,
    }
