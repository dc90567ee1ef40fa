"""A feed-forward network with a fixed input, measured: wasted positions, longer inputs, and the order of words.

The network has a weight for each position, so shorter texts are padded and longer ones are refused or cut.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np


def fixed_size_classifier(
    vocabulary_size: int, num_classes: int, length: int, *, embedding_dim: int = 32, units: int = 64
) -> keras.Model:
    """A feed-forward network over a fixed number of positions: embeddings, flattened, then two dense layers.

    Args:
        vocabulary_size: number of ids, V. The id 0 is padding, which is a value like any other here.
        num_classes: number of classes, N.
        length: number of positions, S.
        embedding_dim: width of the embeddings.
        units: width of the first dense layer.
    Returns:
        a `keras.Model` from int `(B, S)` to logits `(B, N)`.
    """
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(vocabulary_size, embedding_dim, name="embedding")(tokens)
    x = keras.layers.Flatten(name="positions")(x)
    x = keras.layers.Dense(units, activation="relu", name="first")(x)
    return keras.Model(tokens, keras.layers.Dense(num_classes, name="logits")(x), name="fixed_size_classifier")


class PaddedInput(NamedTuple):
    """The cost of a fixed number of positions.

    `positions` is the number of positions of all texts, `wasted` that of padding, `wasted_share` their quotient.
    `wasted_multiply_adds` is the number of multiplications of the first layer with padding. `cut_tokens` is the number
    of tokens beyond the last position, `cut_texts` that of the texts with such tokens.
    """

    texts: int
    length: int
    positions: int
    wasted: int
    wasted_share: float
    wasted_multiply_adds: int
    cut_tokens: int
    cut_texts: int


def padded_input(
    lengths: Sequence[int] | np.ndarray, length: int | None = None, *, embedding_dim: int = 1, units: int = 1
) -> PaddedInput:
    """Counts the positions of a fixed input that are padding.

    Args:
        lengths: number of tokens of each text, ints `(N,)`.
        length: number of positions, S. None: the longest text.
        embedding_dim: numbers for each position.
        units: width of the first layer, which multiplies each number with as many weights.
    Returns:
        The counts.
    Raises:
        ValueError: if there is no text, a length is negative, or S is not positive.
    """
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or not lengths.size or (lengths < 0).any():
        raise ValueError(f"`lengths` must be at least one number of tokens, from 0 on. Received: {lengths}")
    length = int(lengths.max()) if length is None else length
    if length < 1:
        raise ValueError(f"`length` must be at least 1. Received: {length}")
    positions, beyond = length * lengths.size, np.maximum(lengths - length, 0)
    wasted = int(np.maximum(length - lengths, 0).sum())
    multiply_adds = wasted * embedding_dim * units
    cut = int(beyond.sum()), int(np.count_nonzero(beyond))
    return PaddedInput(int(lengths.size), length, positions, wasted, wasted / positions, multiply_adds, *cut)


def behind_filler(tokens: np.ndarray, length: int, filler_id: int) -> np.ndarray:
    """Texts of `length` tokens: the filler first, then the given tokens, as a long text whose end decides its class.

    Args:
        tokens: ints `(N, S)`.
        length: number of tokens of each result, at least S.
        filler_id: id of the tokens in front, such as that of unknown words.
    Returns:
        ints `(N, length)`.
    Raises:
        ValueError: if `length` is below S.
    """
    missing = length - tokens.shape[1]
    if missing < 0:
        raise ValueError(f"`length` must be at least {tokens.shape[1]}, the length of `tokens`. Received: {length}")
    return np.pad(tokens, ((0, 0), (missing, 0)), constant_values=filler_id)


def longer_input(
    model: keras.Model, tokens: np.ndarray, longer: np.ndarray, labels: np.ndarray, pad_id: int = 0
) -> dict[str, Any]:
    """Gives a network with a fixed input texts that are longer: as they are, then cut to its length.

    Args:
        model: a model from int `(B, S)` to scores `(B, N)`, such as `fixed_size_classifier`.
        tokens: texts of S positions, ints `(R, S)`.
        longer: texts of more positions with the same classes, ints `(R, L)`.
        labels: classes, ints `(R,)`.
        pad_id: id of padding, which is no token.
    Returns:
        The entry "longer" of a comparison's record: `length` L; `refused`, and the `error` in one line; `cut_tokens`
        and `cut_share`, the tokens beyond S; `right_before`, the right answers on `tokens`; `right_after`, those on the
        cut texts; `answers_lost`, the texts that were right before and are not after.
    Raises:
        ValueError: if `longer` is not longer, or the number of rows differs.
    """
    rows = {len(tokens), len(longer), len(labels)}
    if len(rows) > 1 or longer.shape[1] <= tokens.shape[1]:
        raise ValueError(
            "`longer` must have the rows of `tokens` and `labels`, and more positions. Received: shapes "
            f"{tokens.shape}, {longer.shape} and {np.shape(labels)}"
        )
    size = tokens.shape[1]
    error = refusal(model, longer)
    before = predicted(model, tokens) == labels
    after = predicted(model, longer[:, :size]) == labels
    cut, whole = int((longer[:, size:] != pad_id).sum()), int((longer != pad_id).sum())
    entry = {"length": int(longer.shape[1]), "refused": error is not None}
    entry |= {"error": error} if error else {}
    entry |= {"cut_tokens": cut, "cut_share": cut / max(whole, 1)}
    entry |= {"right_before": int(before.sum()), "right_after": int(after.sum())}
    return entry | {"answers_lost": int((before & ~after).sum())}


def refusal(model: keras.Model, tokens: np.ndarray) -> str | None:
    """The message with which a model refuses an input, in one line. None: the model accepts it."""
    try:
        model(tokens[:1])
    except ValueError as error:
        return " ".join(str(error).split())
    return None


def predicted(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    """The class with the highest score for each text, ints `(R,)`."""
    # Called, since `predict` would trace a graph for each model and length.
    batches = (model(tokens[first : first + 256], training=False) for first in range(0, len(tokens), 256))
    return np.concatenate([keras.ops.convert_to_numpy(logits).argmax(axis=-1) for logits in batches])


def told_apart(
    predict: Callable[[list[str]], Sequence[Hashable]],
    pairs: Sequence[tuple[str, str]],
    classes: Sequence[tuple[Hashable, Hashable]] | None = None,
) -> float:
    """The share of pairs of texts that a model puts into different classes, or both into the right ones.

    For pairs that have the same words in another order, a model that ignores the order scores 0.

    Args:
        predict: function from texts to their classes.
        pairs: pairs of texts of different classes.
        classes: the right classes of each pair. None: two different predictions are enough, so that a random guess
            of two classes scores one half.
    Returns:
        the share, from 0 to 1.
    Raises:
        ValueError: if there is no pair.
    """
    if not pairs:
        raise ValueError("`pairs` must have at least one pair of texts. Received none.")
    found = list(predict([text for pair in pairs for text in pair]))
    found = list(zip(found[::2], found[1::2], strict=True))
    if classes is None:
        return sum(one != other for one, other in found) / len(pairs)
    return sum(pair == tuple(wanted) for pair, wanted in zip(found, classes, strict=True)) / len(pairs)


def entry(
    padding: PaddedInput,
    longer: Mapping | None = None,
    pairs: int = 0,
    apart: Mapping[str, float] | None = None,
    labeled: bool = True,
) -> dict[str, Any]:
    """The entry "feedforward" of a comparison's record.

    Args:
        padding: result of `padded_input`.
        longer: result of `longer_input`.
        pairs: number of pairs of texts.
        apart: result of `told_apart` by architecture. "feedforward" is a mean of embeddings, "fixed_size" the network
            with fixed positions.
        labeled: whether the classes of the pairs are known, so that both must be right.
    """
    found = padding._asdict()
    if longer:
        found["longer"] = dict(longer)
    if apart:
        found["order_pairs"] = {"pairs": pairs, "labeled": labeled, "told_apart": dict(apart)}
    return found


class Texts(NamedTuple):
    """Texts and their classes, ints from 0."""

    texts: Sequence[str]
    labels: Sequence[int]


def measure(
    train: Texts,
    valid: Texts,
    encode: Callable[[list[str]], list[list[int]]],
    vocabulary_size: int,
    *,
    length: int | None = None,
    embedding_dim: int = 32,
    units: int = 64,
    epochs: int = 10,
    filler_id: int = 1,
    pairs: Sequence[tuple[str, str]] = (),
    classes: Sequence[tuple[int, int]] | None = None,
    predictors: Mapping[str, Callable[[list[str]], Sequence[int]]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Trains a `fixed_size_classifier`, and measures it beside other models.

    Args:
        train, valid: texts to train on and to measure on.
        encode: function from texts to lists of ids, without padding, which is 0.
        vocabulary_size: number of ids.
        length: number of positions. None: the longest training text.
        embedding_dim, units, epochs: size and training of the network.
        filler_id: id in front of the texts of twice the length.
        pairs: pairs of texts with the same words in another order.
        classes: classes of the two texts of each pair. None: unknown, so that two different predictions count.
        predictors: functions from texts to classes, of trained models by architecture, for the pairs.
        seed: seed of the network and of the order of its training texts.
    Returns:
        The entry "feedforward" of a comparison's record. Padding is counted on the validation texts.
    """
    rows, held_out = encode(list(train.texts)), encode(list(valid.texts))
    length = max(map(len, rows)) if length is None else length
    keras.utils.set_random_seed(seed)
    model = fixed_size_classifier(
        vocabulary_size, max(train.labels) + 1, length, embedding_dim=embedding_dim, units=units
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(_padded(rows, length), np.asarray(train.labels), batch_size=64, epochs=epochs, verbose=0)
    tokens, labels = _padded(held_out, length), np.asarray(valid.labels)
    longer = longer_input(model, tokens, behind_filler(tokens, 2 * length, filler_id), labels)
    of_all = dict(predictors or {})
    of_all["fixed_size"] = lambda texts: predicted(model, _padded(encode(texts), length)).tolist()
    apart = {name: told_apart(predict, pairs, classes) for name, predict in of_all.items()} if pairs else {}
    counted = padded_input(list(map(len, held_out)), length, embedding_dim=embedding_dim, units=units)
    return entry(counted, longer, len(pairs), apart, labeled=classes is not None)


def _padded(rows: list[list[int]], length: int) -> np.ndarray:
    return keras.utils.pad_sequences(rows, length, padding="post", truncating="post")
