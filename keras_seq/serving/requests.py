"""Requests as items of the queue, and batches of items as messages to a model's process."""

import json
from collections.abc import Hashable, Sequence
from typing import Any

from keras_seq.serving.lanes import Item
from keras_seq.serving.process import Refused
from keras_seq.serving.settings import Settings

BYTES_PER_TOKEN = 4  # an estimate, as in `tasks.batching`
BYTES_PER_STEP = 2000  # of sound: an eighth of a second at 8,000 samples a second and 16 bits
TEXT_BYTES_PER_TOKEN = 64  # a text with more bytes for each token that is allowed is refused unread
LARGEST = {"num_beams": 32, "num_return": 32, "num_groups": 32}
PHRASES = ("ban", "only")


class Bad(Exception):
    """A request that is wrong, with the status of its answer."""

    def __init__(self, reason: str, status: int = 400):
        super().__init__(reason)
        self.status = status


def text_length(text: str, vocabulary: str | None) -> int:
    """Estimated number of tokens of a text, the end token counted, by the kind of its vocabulary."""
    if vocabulary == "Words":
        return len(text.split()) + 1
    if vocabulary == "Characters":
        return len(text) + 1
    size = len(text.encode("utf-8", "replace"))
    return size + 1 if vocabulary == "Bytes" else max(len(text.split()), size // BYTES_PER_TOKEN) + 1


def check_options(options: Any, described: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The options of a request.

    Raises:
        Bad: for an option that the model does not have, or that is too large.
    """
    if not isinstance(options, dict):
        raise Bad(f"`options` must be an object. Received: {_shown(options)}")
    known = described["options"]
    if wrong := sorted(set(options) - set(known)):
        has = f"It has: {', '.join(known)}." if known else "It has none."
        raise Bad(f"There is no option {wrong[0][:80]!r} of this model. {has}")
    for name, value in options.items():
        good = isinstance(value, str | int | float) and not isinstance(value, bool)
        if name in PHRASES:
            good = isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
        if not good:
            raise Bad(f"`{name}` has a wrong type. Received: {_shown(value)}")
        most = settings.max_output_tokens if name in ("max_length", "end_within") else LARGEST.get(name)
        if most is not None and isinstance(value, int | float) and value > most:
            raise Bad(f"`{name}` must be at most {most:,}. Received: {value}")
    return options


def check_inputs(inputs: Sequence[Any], described: dict[str, Any], settings: Settings) -> None:
    """Checks the types and the number of the inputs of a request.

    Raises:
        Bad: if one has a wrong type, or if there are too many.
    """
    if len(inputs) > settings.max_items:
        raise Bad(f"{len(inputs):,} inputs are more than a request may have: {settings.max_items:,}", 413)
    reads = described["reads"]
    for place, one in enumerate(inputs):
        if not _fits(one, reads):
            raise Bad(f"Input {place} must be {WANTED[reads]}. Received: {_shown(one)}")
        if isinstance(one, str) and reads != "series" and len(one) > TEXT_BYTES_PER_TOKEN * settings.max_tokens:
            raise Bad(f"Input {place} has {len(one):,} characters, too many for {settings.max_tokens:,} tokens", 413)


def check_texts(columns: dict[str, Any], described: dict[str, Any], settings: Settings) -> None:
    """Checks the lengths of the texts of a call.

    Raises:
        Bad: if one is too long.
    """
    for name, column in columns.items():
        for text in column if isinstance(column, list) else [column]:
            length = text_length(text, described["vocabulary"]) if isinstance(text, str) else 0
            if length > settings.max_tokens:
                raise Bad(f"A text in `{name[:80]}` has {length:,} tokens, more than {settings.max_tokens:,}", 413)


WANTED = {
    "text": "a text",
    "words": "a text or a list of words",
    "audio": "a list of numbers, the samples, or a request must be a WAV file",
    "series": "the text of a CSV file or rows of numbers",
    "array": "an array of numbers",
    "tensors": "an array of numbers or an object with arrays by name",
}


def _fits(value: Any, reads: str) -> bool:
    if reads == "text":
        return isinstance(value, str)
    if reads == "words":
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value))
    if reads == "series":
        return isinstance(value, str | list)
    return isinstance(value, list) or (reads == "tensors" and isinstance(value, dict))


def detail_items(
    inputs: Sequence[Any], options: dict[str, Any], described: dict[str, Any], settings: Settings
) -> list[Item]:
    """An item for each input of a request, or a single one where inputs depend on their place in a batch.

    Args:
        inputs: inputs as JSON has them, or the bytes of sound files.
    """
    options = {**_limits(described, settings), **options}
    kind = ("details", json.dumps(options, sort_keys=True))
    lengths = [_length(one, described) for one in inputs]
    contents = [_content([one], [place], described) for place, one in enumerate(inputs)]
    if described["joins"]:
        return [Item(content, length, kind) for content, length in zip(contents, lengths, strict=True)]
    whole = _content(inputs, range(len(inputs)), described)
    return [Item(whole, max(lengths), kind, rows=len(inputs), alone=True)] if inputs else []


def warm_up(described: dict[str, Any], settings: Settings) -> list[Item]:
    """Items that compile a task: texts, half a second of silence, or a series of zeros."""
    examples: dict[str, list[Any]] = {"text": ["a", "a b c d e f g h i j"], "audio": [[0.0] * 4000]}
    examples["words"] = examples["text"]
    if described["reads"] == "series":
        examples["series"] = [[[0.0] * len(described["columns"])] * described["look_back"]]
    inputs = examples.get(described["reads"], [])
    return [item for one in inputs for item in detail_items([one], {}, described, settings)]


def _content(inputs: Sequence[Any], numbers: Sequence[int], described: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": [None if isinstance(one, bytes) else one for one in inputs],
        "numbers": list(numbers) if described["numbered"] else None,
        "blobs": [one for one in inputs if isinstance(one, bytes)],
    }


def call_item(signature: str, columns: dict[str, Any], described: dict[str, Any]) -> Item:
    """An item for a call of a signature. Calls of the main signature of a task with text share batches."""
    texts = columns.get("text")
    main = signature in ("", "serving_default", described["verb"]) and set(columns) == {"text"}
    if not (main and described["joins"] and isinstance(texts, list) and texts):
        return Item(columns, 1, ("call", signature), alone=True)
    if not all(isinstance(text, str) for text in texts):
        return Item(columns, 1, ("call", signature), alone=True)
    length = max(text_length(text, described["vocabulary"]) for text in texts)
    return Item(columns, length, ("call", described["verb"]), rows=len(texts))


def message(batch: Sequence[Item]) -> tuple[dict[str, Any], list[bytes]]:
    """The message to the model's process for a batch, and its blobs."""
    do, what = batch[0].kind  # type: ignore[misc]
    if do == "call":
        return {"do": "call", "signature": what, "requests": [item.content for item in batch]}, []
    inputs = [one for item in batch for one in item.content["inputs"]]
    numbers = None
    if batch[0].content["numbers"] is not None:
        numbers = [number for item in batch for number in item.content["numbers"]]
    fields = {"do": "details", "options": json.loads(what), "inputs": inputs, "numbers": numbers}
    return fields, [blob for item in batch for blob in item.content["blobs"]]


def results(batch: Sequence[Item], answer: dict[str, Any]) -> list[Any]:
    """The part of the process's answer that belongs to each item, or an exception."""
    if "answers" in answer:
        return [_outputs(one) for one in answer["answers"]]
    rest = iter(answer["results"])
    return [[next(rest) for _ in item.content["inputs"]] for item in batch]


def _outputs(answer: dict[str, Any]) -> Any:
    return Refused(answer["error"]) if "error" in answer else answer["outputs"]


def _length(value: Any, described: dict[str, Any]) -> int:
    if isinstance(value, bytes):
        return len(value) // BYTES_PER_STEP + 1
    if described["reads"] == "series":
        return 1
    if isinstance(value, str):
        return text_length(value, described["vocabulary"])
    if described["reads"] == "audio":
        return len(value) * 2 // BYTES_PER_STEP + 1
    return max(1, len(value))


def _limits(described: dict[str, Any], settings: Settings) -> dict[str, Hashable]:
    if described["reads"] not in ("text", "words"):
        return {}
    limits = {"batch_tokens": settings.batch_tokens, "max_source_length": settings.max_tokens}
    return {**limits, "width_ratio": settings.width_ratio} if described["joins_widths"] else limits


def _shown(value: Any) -> str:
    return repr(value)[:60]
