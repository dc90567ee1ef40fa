"""A text as it is made: each piece as soon as it is there."""

from collections.abc import Callable, Iterator

import numpy as np
from keras import ops

from keras_seq.decoding.generate import NEW_TOKENS, padded
from keras_seq.decoding.prompting import PromptedModel
from keras_seq.decoding.protocol import normalized
from keras_seq.decoding.sampling import Sampling, drawn, filter_logits, mixed, uniform

_HALF = "\N{REPLACEMENT CHARACTER}"  # how a character is written of which bytes are still to come


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
    """What a language model says after a text, piece by piece: the text of `generate(..., search="sampling")`.

        for piece in decoding.stream(model, vocabulary, "ROMEO:", temperature=0.8, seed=1, compiled=tf.function):
            print(piece, end="", flush=True)

    Args:
        model: `initial_state(batch_size, max_length)` and `decode(tokens, state)`.
        vocabulary: asked for `tokenize`, `detokenize`, `start_id`, `end_id`, `pad_id`.
        text: what it goes on from; "" for the beginning of a text.
        max_length: tokens at most, the end token counted.
        echo: whether the text itself comes first, as it is, and the space between two words with what follows it.
        context: tokens that the model sees at most. Where it is full, the later half is read anew, as the beginning of
            what follows: for a Transformer, which knows no positions beyond those that it was trained on. None: all.
        compiled: wraps the one function of tensors: `tf.function`, `jax.jit`. Default: eager.
        options: of `Sampling`, but for `num_return`: `temperature`, `top_k`, `top_p`, `min_p`, `seed`.
    Yields:
        Strings, none of them empty; together they are the whole.
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
        logits = filter_logits(normalized(logits[:, 0]), *left_of)
        return ops.cast(drawn(logits, uniform(mixed(key, number))), "int32")[:, None], state

    draw = compiled(draw) if compiled else draw
    ids = [vocabulary.start_id, *vocabulary.tokenize([text]).to_list()[0]]
    prompt, state, room = len(ids), None, 0
    first, said = (1, _written(vocabulary, ids[1:])) if echo else (prompt, "")
    if echo and text:
        yield text
    spaced = (
        echo and text[-1:].isspace() and text != said
    )  # white space that the vocabulary leaves out is there already
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
        if not whole.endswith(_HALF) and len(whole) > len(said):
            piece = whole[len(said) :].removeprefix(" " * spaced)
            said, spaced = whole, False
            if piece:
                yield piece
    rest = _written(vocabulary, ids[first:])[len(said) :].removeprefix(" " * spaced)
    if rest:
        yield rest


def _written(vocabulary, ids: list[int]) -> str:
    (line,) = np.asarray(vocabulary.detokenize(np.array([ids], "int32"))).tolist()
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else line
