"""Adapters of SavedModels for `keras-seq certify`."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

VERBS = ("translate", "generate", "classify", "tag", "transcribe", "forecast", "serve")
IDS = 10
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@contextlib.contextmanager
def adapter_of_saved_model(opened: Any, options: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """Adapter of a SavedModel's main signature, and the reason for each kind of case that is left out.

    Raises:
        ValueError: if it has none of the signatures in `VERBS`, or one that samples.
    """
    from keras_seq.inspection.certify import ModelAdapter
    from keras_seq.inspection.certify_adapters import Own

    verb = next((verb for verb in VERBS if verb in opened.signatures_by_name), None)
    if verb is None:
        raise ValueError(
            f"{opened.folder} has none of the signatures {', '.join(VERBS)}, as export.saved_model writes them. It "
            f"has: {', '.join(sorted(opened.signatures_by_name)) or 'none'}. Give the run folder."
        )
    function = opened.signatures_by_name[verb]
    words = None if options.text is None else _words(options.text)
    look_back = _look_back(opened)
    specs = function.structured_input_signature[1]
    inputs = {name: _input(name, spec, words, look_back, options) for name, spec in specs.items()}
    call = _with_length(opened, verb, options.max_length) or (lambda **inputs_by_name: function(**inputs_by_name))

    def answers(batch):
        import tensorflow as tf

        outputs = call(**{name: tf.constant(batch[name], spec.dtype) for name, spec in specs.items()})
        return {name: x.numpy() for name, x in outputs.items()}

    shapes = {name: spec.shape for name, spec in function.structured_outputs.items()}
    lengths = {name for name, shape in shapes.items() if shape.rank and shape.rank > 1 and shape[1] is None}
    output_of_row = _of_words if verb == "tag" else Own(inputs, lengths) if verb == "serve" else None
    text = any(not each.lengths for each in inputs.values())
    left_out = {"padding": "A SavedModel that takes text pads it itself: see `neighbors` and `batch shape`."}
    yield ModelAdapter(inputs, answers, output_of_row), left_out if text and not _grow(inputs) else {}


def _grow(inputs: Mapping[str, Any]) -> bool:
    return any(each.lengths for each in inputs.values())


def _of_words(answers: Mapping[str, np.ndarray], row: int, sequence: Mapping) -> dict[str, np.ndarray]:
    """The tags of the words of one text, without those of padding."""
    count = len(sequence["text"].item().split())
    return {name: x[row][:count] for name, x in answers.items()}


def _words(file: pathlib.Path) -> list[bytes]:
    """The different words of a file.

    Raises:
        ValueError: if the file has no words.
    """
    words = sorted(set(file.read_bytes().split()))
    if not words:
        raise ValueError(f"--text {file} has no words. Give a file of text with words of the model's vocabulary.")
    return words


def _made_up() -> list[bytes]:
    random = np.random.default_rng(0)
    return ["".join(random.choice(list(LETTERS), random.integers(1, 8))).encode() for _ in range(200)]


def _input(name: str, spec: Any, words: list[bytes] | None, look_back: int | None, options: Any) -> Any:
    from keras_seq.inspection import certify_adapters
    from keras_seq.inspection.sequences import LONGEST, Input, ids, numbers, texts

    shape = tuple(spec.shape[1:])
    if spec.dtype.name == "string":
        return Input(texts(words or _made_up()), shape)
    if not spec.dtype.is_floating:
        return Input(ids(options.ids or IDS), shape, longest=options.longest or LONGEST)
    if name == "past":
        first = look_back or options.longest or LONGEST
        return Input(numbers, shape, shortest=first, longest=first + LONGEST, front=True, hides=look_back is not None)
    if shape == (None,):
        longest = options.longest or certify_adapters.SAMPLES
        return Input(
            numbers,
            shape,
            shortest=min(2 * certify_adapters.FRAME, longest),
            longest=longest,
            unit=certify_adapters.FRAME,
        )
    return Input(numbers, shape, longest=options.longest or (certify_adapters.FRAMES if len(shape) == 4 else LONGEST))


def _look_back(opened: Any) -> int | None:
    """Number of past steps that a forecaster reads, from its `describe` signature (None: not recorded)."""
    if (
        "describe" not in opened.signatures_by_name
        or "look_back" not in opened.signatures_by_name["describe"].structured_outputs
    ):
        return None
    return int(opened.signatures_by_name["describe"]()["look_back"])


def _with_length(opened: Any, verb: str, max_length: int) -> Callable | None:
    """The verb with a fixed output length, if it has one. In the main signature the length may depend on the batch."""
    import tensorflow as tf

    name = f"{verb}_with_options"
    if name not in opened.signatures_by_name or not hasattr(opened.module, name):
        return None
    takes = opened.signatures_by_name[name].structured_input_signature[1]
    drawn = sorted({"seed", "temperature"} & set(takes))
    if drawn:
        raise ValueError(
            f"{opened.folder} draws its output at random (it takes {', '.join(drawn)}): it depends on the place of a "
            "text in the batch. Give the run folder, which is certified with beam search."
        )
    length = tf.constant(max_length, takes["max_length"].dtype)
    return lambda text: getattr(opened.module, name)(text, max_length=length)
