"""The answers of one task, in the process of its model."""

import collections
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_seq.serving.plain import as_json, reason_of, tensor
from keras_seq.tasks.results import Failure, finite, one_line

SEARCHES = 8  # number of searches that stay compiled


class Answers:
    """Answers messages about one task.

    Args:
        task: a task, see `keras_seq.load`.
    """

    def __init__(self, task: Any):
        self.task = task
        self._predictors: collections.OrderedDict[str, Callable] = collections.OrderedDict()
        self._functions: dict[str, Callable] = {}
        self._text_stream: Callable | None = None

    def details(self, fields: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
        """A result for each of `inputs`, or a Failure's reason, with `options` of the task.

        An input may be None: then the next blob is its sound file. If the model's code fails for a batch, each input is
        tried alone, so that a bad one fails alone.
        """
        predict = self._predictor(fields["options"])
        with tempfile.TemporaryDirectory() as folder:
            inputs = self._inputs(fields, blobs, pathlib.Path(folder))
            good = [place for place, one in enumerate(inputs) if not isinstance(one, Failure)]
            for place, result in zip(good, _tried(predict, [inputs[place] for place in good]), strict=True):
                inputs[place] = result
        return {"results": [as_json(result) for result in inputs]}

    def call(self, fields: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
        """The outputs of the signature `signature` for requests of tensors by name, as columns.

        If there are several `requests`, each has the same names, and their rows are computed together. If that fails,
        each is tried alone.
        """
        function, requests = self.function(fields["signature"]), fields["requests"]
        try:
            return {"answers": [{"outputs": outputs} for outputs in self._called(function, requests)]}
        except Exception:
            if len(requests) == 1:
                raise
        return {"answers": [self._called_alone(function, given) for given in requests]}

    def _called_alone(self, function: Callable, given: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"outputs": self._called(function, [given])[0]}
        except Exception as error:
            return {"error": reason_of(error)}

    def _called(self, function: Callable, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        import tensorflow as tf

        specs = inputs_of(function)
        requests = [_tensors(one, specs) for one in given]
        joined = requests[0]
        if len(requests) > 1:
            joined = {name: np.concatenate([given[name] for given in requests]) for name in joined}
        outputs = function(**{name: tf.constant(x, specs[name].dtype, x.shape) for name, x in joined.items()})
        arrays = {name: x.numpy() for name, x in outputs.items()}
        rows = [len(next(iter(given.values()))) for given in requests] if len(requests) > 1 else [None]
        return list(_split(arrays, rows))

    def stream(self, fields: dict[str, Any], blobs: list[bytes]) -> Iterator[str]:
        """The pieces of a text, see `tasks.token_stream`."""
        from keras_seq.tasks.token_stream import TextStream

        if self._text_stream is None:
            self._text_stream = TextStream(self.task)
        text = fields["input"].encode("utf-8", "replace").decode()
        return self._text_stream(text, **fields["options"])

    def attention(self, fields: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
        """The attention weights of a translation."""
        weights, source, target = self.task.attention(fields["input"], fields["output"])
        return finite({"weights": weights, "source": source, "target": target})

    def signatures(self, fields: dict[str, Any], blobs: list[bytes]) -> dict[str, Any]:
        """Types and shapes of the inputs and outputs of every signature."""
        names = [name for name in self._signature_names() if name != "serving_default"]
        found = {name: _described(self.function(name)) for name in names}
        return {"signatures": {**found, "serving_default": found[self.task.verb]}}

    def function(self, name: str) -> Callable:
        """The function of tensors of a signature."""
        name = self.task.verb if name in ("", "serving_default") else name
        if name not in self._signature_names():
            raise ValueError(f"There is no signature {name[:80]!r}. There are: {', '.join(self._signature_names())}.")
        if name not in self._functions:
            if hasattr(self.task, "signatures_by_name"):
                self._functions[name] = getattr(self.task.module, name, self.task.signatures_by_name[name])
            else:
                self._functions[name] = self.task.function(name)
        return self._functions[name]

    def _signature_names(self) -> list[str]:
        if not hasattr(self.task, "signatures"):
            raise ValueError(f"{self.task.where} has no signatures. Use /v1/tasks in place of /v1/models.")
        return list(getattr(self.task, "signatures_by_name", None) or self.task.signatures())

    def _predictor(self, options: dict[str, Any]) -> Callable:
        key = repr(sorted(options.items()))
        if key not in self._predictors:
            self._predictors[key] = self.task.predictor(**options)
            if len(self._predictors) > SEARCHES:
                self._predictors.popitem(last=False)
        self._predictors.move_to_end(key)
        return self._predictors[key]

    def _inputs(self, fields: dict[str, Any], blobs: list[bytes], folder: pathlib.Path) -> list[Any]:
        sounds = iter(enumerate(blobs))
        inputs: list[Any] = []
        numbers = fields.get("numbers")
        for place, one in enumerate(fields["inputs"]):
            if one is None:
                number, content = next(sounds)
                file = folder / f"{number}.wav"
                file.write_bytes(content)
                inputs.append(file)
            elif self.task.name == "forecasting" and isinstance(one, str):
                file = folder / f"{place}.csv"
                file.write_text(one, encoding="utf-8", errors="replace", newline="")
                inputs.append(file)
            elif isinstance(one, str):
                text = one.encode("utf-8", "replace").decode()
                inputs.append(text if numbers is None else (text, str(numbers[place])))
            else:
                inputs.append(_array(one, self.task))
        return inputs


def _array(value: Any, task: Any) -> Any:
    """A nest of lists, or a dict of them, as arrays. Lists of words stay."""
    if task.name == "tagging":
        return value
    try:
        if isinstance(value, dict):
            return {name: np.asarray(part) for name, part in value.items()}
        array = np.asarray(value)
    except ValueError:
        return Failure("the input is not a regular array: its rows differ in length")
    if array.dtype.kind not in "biuf":
        return Failure(f"the input must be an array of numbers. Received: {str(value)[:40]!r}")
    return array


def _tried(predict: Callable, inputs: list[Any]) -> list[Any]:
    if not inputs:
        return []
    try:
        return predict(inputs)
    except Exception as error:  # of code that the input reached
        if len(inputs) == 1:
            return [Failure(one_line(error))]
    return [_tried(predict, [one])[0] for one in inputs]


def inputs_of(function: Any) -> dict[str, Any]:
    """The `tf.TensorSpec`s of a function's inputs, by name."""
    from keras_seq.tasks.signatures import inputs_of

    return inputs_of(function)


def _tensors(given: dict[str, Any], specs: dict[str, Any]) -> dict[str, np.ndarray]:
    if set(given) == {""} and len(specs) == 1:  # the only input needs no name
        given = {name: given[""] for name in specs}
    unknown = sorted(set(given) - set(specs))
    if unknown:
        raise ValueError(f"There is no input {unknown[0][:80]!r}. There are: {', '.join(specs)}.")
    return {name: tensor(name, value, specs[name].dtype.name, list(specs[name].shape)) for name, value in given.items()}


def _split(arrays: dict[str, np.ndarray], rows: list[int | None]) -> Iterator[dict[str, Any]]:
    start = 0
    for count in rows:
        part = arrays if count is None else {name: x[start : start + count] for name, x in arrays.items()}
        start += count or 0
        yield {name: _listed(x if count is None else _trimmed(x)) for name, x in part.items()}


def _trimmed(x: np.ndarray) -> np.ndarray:
    """Strings `(B, T)` without the last columns that are "" in all rows, which other requests have added."""
    if x.ndim != 2 or x.dtype != object:
        return x
    widths = np.flatnonzero((x != b"").any(axis=0))
    return x[:, : widths[-1] + 1 if len(widths) else 0]


def _listed(x: np.ndarray) -> Any:
    if x.dtype != object:
        return x.tolist()
    texts = [text.decode("utf-8", "replace") for text in x.reshape(-1).tolist()]
    return np.array(texts, object).reshape(x.shape).tolist()


def _described(function: Any) -> dict[str, Any]:
    concrete = function if hasattr(function, "structured_outputs") else function.get_concrete_function()
    sides = {"inputs": inputs_of(function), "outputs": concrete.structured_outputs}
    return {
        side: {name: {"dtype": x.dtype.name, "shape": _sizes(x.shape)} for name, x in specs.items()}
        for side, specs in sides.items()
    }


def _sizes(shape: Any) -> list[int | None] | None:
    return None if shape.rank is None else list(shape)
