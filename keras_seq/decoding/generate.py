"""From a model and a source to hypotheses, and from texts to texts."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_seq.decoding.beam import beam_search
from keras_seq.decoding.greedy import greedy_search
from keras_seq.decoding.scoring import power_penalty

WIDTH_MULTIPLE = 8  # sources are padded up to a multiple of it: few shapes, so few traces of a compiled search


def search(
    model,
    source,
    *,
    max_length,
    start_id,
    end_id,
    pad_id,
    num_beams=5,
    num_return=1,
    length_penalty=power_penalty(1.0),  # noqa: B008, a function of no state
    early_stop="first",
):
    """Decodes a batch with a model that has `encode` and `decode`.

    Args:
        model: `encode(source, max_length=T) -> state`, a dict of nests of tensors, leading axis B, and
            `decode(tokens (B, 1), state) -> (logits (B, 1, V), state)`. What is under `state["memory"]` is taken to be
            the same at every step and for all beams of a sentence: it is tiled once and never re-ordered.
        source: what `encode` takes; a tensor with leading axis B or a nest of them.
        num_beams: 1 is greedy search.
        max_length, start_id, end_id, pad_id, num_return, length_penalty, early_stop: see `beam_search`.
    Returns:
        `Hypotheses`.
    Raises:
        ValueError: for an option out of its range.
    """
    batch_size = ops.shape(keras.tree.flatten(source)[0])[0]
    ids = {"start_id": start_id, "end_id": end_id, "pad_id": pad_id}
    state = keras.tree.map_structure(
        lambda x: x if x is None or num_beams == 1 else ops.repeat(x, num_beams, axis=0),
        model.encode(source, max_length=max_length),
    )
    unchanging = {name: part for name, part in state.items() if name == "memory"}
    changing = {name: part for name, part in state.items() if name != "memory"}

    def step(tokens, changing):
        logits, state = model.decode(tokens, {**changing, **unchanging})
        return logits, {name: state[name] for name in changing}

    if num_beams == 1 and num_return == 1:
        return greedy_search(
            step, changing, batch_size=batch_size, max_length=max_length, length_penalty=length_penalty, **ids
        )
    return beam_search(
        step,
        changing,
        batch_size=batch_size,
        num_beams=num_beams,
        max_length=max_length,
        length_penalty=length_penalty,
        num_return=num_return,
        early_stop=early_stop,
        **ids,
    )


def search_with_vocabulary(model, vocabulary, source, *, max_length=None, **options):
    """`search` with the ids of a vocabulary and, unless told otherwise, room for twice the padded source, and 10.

    The one definition of what `generate` decodes and what an exported model does.

    Args:
        vocabulary: of the target.
        source: int `(B, S)`, the end token in, padded to `padded_width`.
        max_length: None for the default.
        options: of `search`.
    """
    return search(
        model,
        source,
        max_length=2 * ops.shape(source)[1] + 10 if max_length is None else max_length,
        start_id=vocabulary.start_id,
        end_id=vocabulary.end_id,
        pad_id=vocabulary.pad_id,
        **options,
    )


def generate(
    model,
    vocabulary,
    texts,
    *,
    source_vocabulary=None,
    num_beams=5,
    num_return=1,
    max_length=None,
    length_penalty=power_penalty(1.0),  # noqa: B008, a function of no state
    early_stop="first",
    batch_tokens=2048,
    compiled=None,
):
    """Decodes texts into texts; sentences of like length travel together and come back in the order they were given.

    Args:
        model: see `search`.
        vocabulary: of the target; and of the source, unless that has its own. Asked for `tokenize`, `detokenize`,
            `start_id`, `end_id`, `pad_id`.
        texts: a list of strings; one without any token gives an empty text.
        source_vocabulary: when it is not the same.
        num_beams, num_return, length_penalty, early_stop: see `beam_search`.
        max_length: of a result, the end token counted. Default: twice the longest source of the batch, and 10.
        batch_tokens: rows of a batch times its padded source length.
        compiled: wraps the one function `(source (B, S)) -> hypotheses` that does the work: `tf.function`,
            `jax.jit`. It costs a trace for every shape and saves far more on all but a few texts. Default: eager.
    Returns:
        A list of strings; where `num_return` is above 1, a list of lists of strings, best first.
    Raises:
        ValueError: for an option out of its range.
        TypeError: for a single string in place of a list.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"`texts` must be a list of strings. Received: {texts!r}")
    texts = list(texts)
    source_vocabulary = source_vocabulary or vocabulary

    def translate(source):
        return search_with_vocabulary(
            model,
            vocabulary,
            source,
            max_length=max_length,
            num_beams=num_beams,
            num_return=num_return,
            length_penalty=length_penalty,
            early_stop=early_stop,
        )

    translate = compiled(translate) if compiled else translate
    results = [[""] * num_return for _ in texts]
    sources = source_vocabulary.tokenize(texts).to_list() if texts else []
    for rows in _batches([len(source) for source in sources], batch_tokens):
        batch = padded([[*sources[row], source_vocabulary.end_id] for row in rows], source_vocabulary.pad_id)
        tokens = ops.convert_to_numpy(translate(ops.convert_to_tensor(batch)).tokens)  # (B, R, T)
        lines = vocabulary.detokenize(tokens.reshape(-1, tokens.shape[-1])).numpy().tolist()  # (B * R,)
        lines = [line.decode("utf-8", "replace") if isinstance(line, bytes) else line for line in lines]
        for position, row in enumerate(rows):
            results[row] = lines[position * num_return : (position + 1) * num_return]
    return results if num_return > 1 else [best for (best,) in results]


def padded_width(length):
    """The width of a batch whose longest source has `length` tokens (a number or a tensor), with the end token."""
    return -(-(length + 1) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def _batches(lengths: list[int], batch_tokens: int):
    """Row numbers of the non-empty sources, in batches of like length, longest first: memory fails early or never."""
    rows = sorted((row for row, length in enumerate(lengths) if length), key=lambda row: -lengths[row])
    while rows:
        count = max(1, batch_tokens // padded_width(lengths[rows[0]]))
        yield rows[:count]
        rows = rows[count:]


def padded(sources: Sequence[Sequence[int]], pad_id: int) -> np.ndarray:
    """Rows of ids, the end token in, as one batch int32 `(B, S)` of a padded width."""
    width = padded_width(max(len(source) for source in sources) - 1)
    batch = np.full((len(sources), width), pad_id, "int32")
    for row, source in zip(batch, sources, strict=True):
        row[: len(source)] = source
    return batch
