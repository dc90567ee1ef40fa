"""Text generation that yields each piece as soon as it is complete."""

from collections.abc import Callable, Iterator

import numpy as np
from keras import ops

from keras_seq.decoding.generate import NEW_TOKENS, padded
from keras_seq.decoding.prompting import PromptedModel
from keras_seq.decoding.protocol import normalized
from keras_seq.decoding.sampling import Sampling, drawn, filter_logits, mixed, uniform

_HALF = "\N{REPLACEMENT CHARACTER}"  # stands for a character with bytes that are still to come


def stream(
    model,
    vocabulary,
    text: str = "",
    *,
    max_length: int = NEW_TOKENS,
    echo: bool = False,
    context: int | None = None,
    compiled: Callable | None = None,
    **options,
) -> Iterator[str]:
    """Yields the continuation of a text piece by piece: the text of `generate(..., search="sampling")`.

        for piece in decoding.stream(model, vocabulary, "ROMEO:", temperature=0.8, seed=1, compiled=tf.function):
            print(piece, end="", flush=True)

    Args:
        model: `initial_state(batch_size, max_length)` and `decode(tokens, state)`.
        vocabulary: a vocabulary with `tokenize`, `detokenize`, `start_id`, `end_id`, `pad_id`.
        text: prompt ("" for the beginning of a text).
        max_length: maximum number of tokens, the end token counted.
        echo: whether to yield the prompt first, unchanged. The space between two words then comes with the word after
            it.
        context: maximum number of tokens that the model sees. When it is full, its later half is read again, as a new
            beginning: for a Transformer, which supports no positions beyond those of its training. None: no limit.
        compiled: wrapper of the one function of tensors: `tf.function`, `jax.jit`. Default: eager.
        options: options of `Sampling` except `num_return`: `temperature`, `top_k`, `top_p`, `min_p`, `seed`.
    Yields:
        Non-empty strings, which together are the whole text.
    Raises:
        ValueError: for an option out of its range.
    """
    if context is not None and context < 2:
        raise ValueError(f"`context` must be at least 2, or None. Received: {context}")
    search = Sampling(**options).for_examples(ops.arange(1, dtype="int32"))
    key, left_of = (
        mixed(search.seed, ops.arange(1, dtype="int32")),
        (search.temperature, search.top_k, search.top_p, search.min_p),
    )
    model = PromptedModel(model, vocabulary.pad_id)

    def draw(token, state, number):
        logits, state = model.decode(token, state)
        logits = filter_logits(normalized(ops.cast(logits[:, 0], "float32")), *left_of)
        return ops.cast(drawn(logits, uniform(mixed(key, number))), "int32")[:, None], state

    draw = compiled(draw) if compiled else draw
    ids = [vocabulary.start_id, *vocabulary.tokenize([text]).to_list()[0]]
    prompt, state, room = len(ids), None, 0
    first, said = (1, _written(vocabulary, ids[1:])) if echo else (prompt, "")
    if echo and text:
        yield text
    spaced = echo and text[-1:].isspace() and text != said  # the white space that the vocabulary drops is there already
    for number in range(max_length):
        if not room:  # nothing is read yet, or the context is full
            seen = ids if context is None or len(ids) < context else ids[-(context // 2) :]
            room = max_length if context is None else context - len(seen)
            state = model.encode(ops.convert_to_tensor(padded([seen], vocabulary.pad_id)), room)
        token, state = draw(ops.convert_to_tensor([[ids[-1]]], "int32"), state, ops.convert_to_tensor([number]))
        ids.append(int(ops.convert_to_numpy(token)[0, 0]))
        room -= 1
        if ids[-1] == vocabulary.end_id:
            break
        whole = _written(vocabulary, ids[first:])
        if has_grown(whole, said):
            piece = whole[len(said) :].removeprefix(" " * spaced)
            said, spaced = whole, False
            if piece:
                yield piece
    rest = _written(vocabulary, ids[first:])[len(said) :].removeprefix(" " * spaced)
    if rest:
        yield rest


def has_grown(whole: str, said: str) -> bool:
    """Whether a text, of which `said` has been yielded, has more complete characters by now."""
    return not whole.endswith(_HALF) and whole.startswith(said) and len(whole) > len(said)


def _written(vocabulary, ids: list[int]) -> str:
    (line,) = np.asarray(vocabulary.detokenize(np.array([ids], "int32"))).tolist()
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else line
