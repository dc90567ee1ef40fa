"""The inner values of a model: attention weights of each head, hidden states over time, vectors of whole sequences.

    weights = attention_weights(model, tokens)        # {"encoder/layer_0/self_attention": (B, H, T, S), ...}
    states = hidden_states(model, tokens)             # {"encoder/forward_0": (values (B, T, D), mask (B, T)), ...}
    vectors = sentence_vectors(model, tokens)         # (B, D)
    projection = project(vectors)                     # (B, 2), and the share of the variance of each axis
    closest, similarity = nearest(vectors, vectors[:1], 5)

`plots.attention_heads`, `plots.trajectories` and `plots.sentence_map` draw them.
"""

import functools
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_seq.inspection.layer_calls import LayerCall, layer_paths, recorded, replaced
from keras_seq.layers import AttentionPooling, MultiHeadAttention
from keras_seq.layers.attention import MemoryAttention

__all__ = [
    "Projection",
    "Sequences",
    "attention_weights",
    "hidden_states",
    "nearest",
    "neighbors_table",
    "project",
    "sentence_vectors",
]


def attention_weights(model: keras.Layer, *inputs: Any) -> dict[str, np.ndarray]:
    """The attention weights of all heads of all attention layers, for one batch.

    Layers of this package, Keras's `MultiHeadAttention`, `GroupedQueryAttention`, `Attention` and `AdditiveAttention`,
    and layers of one's own whose `call` has the argument `return_attention_scores`, as Keras's have.

    Args:
        model: any model, called once in inference mode.
        inputs: arguments of the call.
    Returns:
        for each path of a layer float `(B, H, T, S)`: weights of T queries over S keys. H is 1 for a layer with a
        single head, and T is 1 for `AttentionPooling`. A layer called several times has the weights of its last call.
    Raises:
        ValueError: if no layer attends.
    """
    weights: dict[str, np.ndarray] = {}

    def keep(path, values):
        values = ops.convert_to_numpy(values)
        weights[path] = values if values.ndim == 4 else values.reshape(values.shape[0], 1, -1, values.shape[-1])

    replacements = []
    for path, layer in layer_paths(model).items():
        if isinstance(layer, MultiHeadAttention):
            replacements.append((layer, "_weights", functools.partial(_kept, keep, path)))
        elif isinstance(layer, AttentionPooling):
            replacements.append((layer, "weights_for", functools.partial(_kept, keep, path)))
        elif isinstance(layer, MemoryAttention):
            replacements.append((layer, "call", functools.partial(_second_kept, keep, path)))
        elif "return_attention_scores" in inspect.signature(layer.call).parameters:
            replacements.append((layer, "call", functools.partial(_asked, keep, path)))
    with replaced(replacements):
        model(*inputs, training=False)
    if not weights:
        raise ValueError(
            f"No layer of {model.name!r} attends. Looked for layers of keras_seq, and for a `call` with the argument "
            "`return_attention_scores`."
        )
    return weights


def _kept(keep, path, method):
    """The method, whose result is kept."""

    @functools.wraps(method)
    def wrapped(*arguments, **options):
        values = method(*arguments, **options)
        keep(path, values)
        return values

    return wrapped


def _second_kept(keep, path, call):
    """The call, the second of whose results is kept."""

    @functools.wraps(call)
    def wrapped(*arguments, **options):
        results = call(*arguments, **options)
        keep(path, results[1])
        return results

    return wrapped


def _asked(keep, path, call):
    """The call, whose attention scores are asked for and kept."""

    @functools.wraps(call)
    def wrapped(*arguments, return_attention_scores=False, **options):
        output, scores = call(*arguments, return_attention_scores=True, **options)
        keep(path, scores)
        return (output, scores) if return_attention_scores else output

    return wrapped


class Sequences(NamedTuple):
    """Values of a layer at each step: float `(B, T, D)`, and the mask of real steps, bool `(B, T)`."""

    values: np.ndarray
    mask: np.ndarray


def hidden_states(model: keras.Layer, *inputs: Any) -> dict[str, Sequences]:
    """The outputs of every layer that returns a sequence of vectors, for one batch.

    Args:
        model: any model, called once in inference mode.
        inputs: arguments of the call.
    Returns:
        for each path of a layer its values `(B, T, D)` and their mask `(B, T)`, in the order of the calls. A layer
        called several times has the values of its last call.
    """
    with recorded(model) as calls:
        model(*inputs, training=False)
    return _sequences(calls)


def _sequences(calls: list[LayerCall]) -> dict[str, Sequences]:
    """The sequences of vectors that the calls returned. A mask that a layer does not pass on is that around it."""
    values, masks = {}, {}
    for call in calls:
        tensors = keras.tree.flatten(call.outputs), keras.tree.flatten(call.arguments[:1])
        first = next(iter(tensors[0]), None)
        masks[call.path] = [x._keras_mask for x in sum(tensors, []) if getattr(x, "_keras_mask", None) is not None]
        if first is not None and len(first.shape) == 3 and keras.backend.is_float_dtype(first.dtype):
            values[call.path] = first
    states = {}
    for path, x in values.items():
        around = [path.rsplit("/", up)[0] for up in range(path.count("/") + 1)]
        known = [mask for each in around for mask in masks.get(each, []) if mask.shape == x.shape[:2]]
        mask = known[0] if known else ops.ones(x.shape[:2], "bool")
        states[path] = Sequences(ops.convert_to_numpy(x), ops.convert_to_numpy(mask))
    return states


def sentence_vectors(model: keras.Layer, inputs: Any, layer: str | None = None) -> np.ndarray:
    """One vector for each sequence.

    Args:
        model: a model with `encode`, such as `Seq2Seq`: the final states of all layers of its encoder, side by side,
            which are the whole memory of a model without attention. A `Transformer`: the mean of the encoder's outputs
            over the real steps. Another model: the input of its last layer, such as the pooled text of a classifier.
        inputs: argument of `encode` or of the call: int `(B, T)`.
        layer: path of a layer of `hidden_states`, the mean of whose real steps is taken in place of the above.
    Returns:
        float `(B, D)`.
    Raises:
        ValueError: if there is no such layer, or the model has no vector for each sequence.
    """
    if layer is None and hasattr(model, "encode"):
        with recorded(model) as calls:
            state = model.encode(inputs, max_length=1)
        if "layers" in state:
            flat = [ops.convert_to_numpy(x) for x in keras.tree.flatten(state["layers"])]
            return np.concatenate(flat, axis=-1)
        return _mean(list(_sequences(calls).values())[-1])
    if layer is not None:
        states = hidden_states(model, inputs)
        if layer not in states:
            raise ValueError(f"`layer` must be one of {sorted(states)}. Received: {layer!r}")
        return _mean(states[layer])
    with recorded(model) as calls:
        model(inputs, training=False)
    last = calls[-1].arguments[0] if calls else None
    if last is None or len(last.shape) != 2:
        shape = None if last is None else tuple(last.shape)
        raise ValueError(
            f"The input of the last layer of {model.name!r} must be (B, D). Received: {shape}. Give `layer`, whose "
            "real steps are averaged."
        )
    return ops.convert_to_numpy(last)


def _mean(sequences: Sequences) -> np.ndarray:
    real = sequences.mask[..., None]
    return np.where(real, sequences.values, 0).sum(axis=1) / np.maximum(real.sum(axis=1), 1)


class Projection(NamedTuple):
    """Points in the plane of the first principal components: `(..., 2)`, and the share of the variance of each."""

    points: np.ndarray
    variance: np.ndarray


def project(vectors: np.ndarray, mask: np.ndarray | None = None) -> Projection:
    """Projects vectors, or all steps of sequences, onto their first two principal components.

    Args:
        vectors: float `(N, D)`, or `(N, T, D)`.
        mask: bool `(N, T)`, real steps. The others are nan in the result.
    Raises:
        ValueError: if there are fewer than 3 vectors, or they have one number each.
        ImportError: if scikit-learn is not installed.
    """
    from sklearn.decomposition import PCA

    vectors = np.asarray(vectors, "float64")
    real = np.ones(vectors.shape[:-1], "bool") if mask is None else np.asarray(mask, "bool")
    if real.sum() < 3 or vectors.shape[-1] < 2:
        raise ValueError(f"At least 3 vectors of 2 numbers are needed. Received: {real.sum()} of {vectors.shape[-1]}")
    points = np.full((*vectors.shape[:-1], 2), np.nan)
    pca = PCA(2, svd_solver="full").fit(vectors[real])
    points[real] = pca.transform(vectors[real])
    return Projection(points, pca.explained_variance_ratio_)


def nearest(vectors: np.ndarray, queries: np.ndarray, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The nearest vectors by cosine similarity.

    Args:
        vectors: float `(N, D)`.
        queries: float `(Q, D)`.
        count: number of neighbors, at most N.
    Returns:
        `(indices, similarities)`, int and float `(Q, count)`, the most similar first.
    Raises:
        ImportError: if scikit-learn is not installed.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(count, len(vectors)), metric="cosine").fit(vectors)
    distances, indices = search.kneighbors(np.asarray(queries))
    return indices, 1 - distances


def neighbors_table(texts: Sequence[str], vectors: np.ndarray, queries: Sequence[int], count: int = 3) -> str:
    """The nearest other texts of some texts, as text to print."""
    lines = []
    indices, similarities = nearest(vectors, np.asarray(vectors)[list(queries)], count + 1)
    for query, row, similar in zip(queries, indices, similarities, strict=True):
        lines.append(texts[query])
        others = [(s, texts[i]) for i, s in zip(row, similar, strict=True) if i != query][:count]
        lines += [f"  {s:.3f}  {text}" for s, text in others]
    return "\n".join(lines)
