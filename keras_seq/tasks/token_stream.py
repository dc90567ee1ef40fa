"""Texts of a task as they arise, piece by piece, by the signatures of `tasks.streaming`."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from keras_seq.decoding.generate import NEW_TOKENS
from keras_seq.decoding.sampling import Sampling, drawn, filter_logits, mixed, uniform
from keras_seq.decoding.streaming import has_grown
from keras_seq.tasks.signatures import Exported, inputs_of
from keras_seq.text import END_ID

NEEDED = ("encode", "step", "detokenize")
SEARCHES = ("greedy", "sampling")


class TextStream:
    """Streams the outputs of a task.

        for piece in TextStream(task)("ROMEO:", search="sampling", temperature=0.8):
            print(piece, end="", flush=True)

    Args:
        task: a task or a SavedModel with the signatures `encode`, `step` and `detokenize`.
    Raises:
        ValueError: if it has none, because it does not generate text token by token.
    """

    def __init__(self, task: Any):
        functions = getattr(task, "signatures_by_name", None)
        if functions is None:
            signatures = task.signatures()
            some = {name: signatures[name] for name in NEEDED if name in signatures}
            functions = Exported(task.exported_model(), some, task.resources).functions
        if not set(NEEDED) <= set(functions) or "text" not in inputs_of(functions["encode"]):
            raise ValueError(f"{task.where} is a task of {task.name}, which streams no text. Ask for its result.")
        self._functions = {name: functions[name] for name in NEEDED}
        self._end_id = getattr(getattr(task, "vocabulary", None), "end_id", END_ID)
        self._follows = task.name == "generation"

    def __call__(
        self, text: str, *, search: str = "greedy", max_length: int = NEW_TOKENS, **options: Any
    ) -> Iterator[str]:
        """Yields an output piece by piece: the text of the same search in `details`, without the prompt.

        Args:
            text: the input.
            search: "greedy" or "sampling".
            max_length: maximum number of tokens, the end token counted.
            options: options of `decoding.Sampling` except `num_return`, for that search.
        Yields:
            Non-empty strings, which together are the whole output.
        Raises:
            ValueError: for another search, or an option that it does not have.
        """
        if search not in SEARCHES:
            raise ValueError(f"`search` of a stream must be greedy or sampling. Received: {search!r}")
        if max_length < 1:
            raise ValueError(f"`max_length` must be at least 1. Received: {max_length}")
        known = ("temperature", "top_k", "top_p", "min_p", "seed") if search == "sampling" else ()
        if wrong := sorted(set(options) - set(known)):
            names = ", ".join(f"`{name}`" for name in wrong)
            raise ValueError(f"{names}: `search` {search} of a stream has no such option. Leave it out.")
        return self._pieces(text, _sampled(**options) if search == "sampling" else _likeliest, max_length)

    def _pieces(self, text: str, choose: Callable, max_length: int) -> Iterator[str]:
        encode, step = self._functions["encode"], self._functions["step"]
        room = {"max_length": tf.constant(max_length)} if "max_length" in inputs_of(encode) else {}
        state = encode(text=tf.constant([text.encode()]), **room)
        written = (
            _continuation(self._functions, text) if self._follows else functools.partial(_written, self._functions)
        )
        ids, said = [], ""
        for number in range(max_length):
            state = dict(step(**state))
            ids.append(choose(state.pop("log_probs"), number))
            if ids[-1] == self._end_id:
                ids.pop()
                break
            state["tokens"] = tf.constant([[ids[-1]]])
            whole = written(ids)
            if has_grown(whole, said):
                yield whole[len(said) :]
                said = whole
        whole = written(ids)
        if len(whole) > len(said):
            yield whole[len(said) :]


def _continuation(functions, text):
    """A function from ids to the text that follows a prompt, with the space that the vocabulary puts between them.

    A SavedModel does not return the ids of the prompt. The first token stands in for them: after itself it has the
    same space as after the prompt.
    """

    def written(ids):
        if not ids or not text:
            return _written(functions, ids)
        first = _written(functions, ids[:1])
        rest = _written(functions, [ids[0], *ids])[len(first) :]
        added = rest.startswith(" ") and not first.startswith(" ")
        return rest[1:] if added and text[-1].isspace() else rest

    return written


def _written(functions, ids):
    if not ids:
        return ""
    (line,) = functions["detokenize"](tokens=tf.constant([ids]))["text"].numpy().tolist()
    return line.decode("utf-8", "replace")


def _likeliest(log_probs, number):
    return int(np.argmax(log_probs.numpy()[0]))


def _sampled(**options):
    """The draws of `decoding.Sampling` for the first sample of the first text."""
    search = Sampling(**options).for_examples(ops.arange(1, dtype="int32"))
    key = mixed(search.seed, ops.arange(1, dtype="int32"))

    def choose(log_probs, number):
        logits = filter_logits(log_probs, search.temperature, search.top_k, search.top_p, search.min_p)
        token = drawn(logits, uniform(mixed(key, ops.convert_to_tensor([number]))))
        return int(ops.convert_to_numpy(token)[0])

    return choose
