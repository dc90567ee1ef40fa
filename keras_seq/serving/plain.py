"""Results of tasks in a form for JSON, and inputs from JSON."""

import base64
import re
from typing import Any

import numpy as np

from keras_seq.tasks.results import Failure, Forecast, Generated, Outputs, finite, one_line

PATH = re.compile(r"(?<![\w.])(?:/[\w.+-]+)+/([\w.+-]+)")


def reason_of(error: BaseException) -> str:
    """The message of an error in one line, without the paths of files."""
    return without_paths(one_line(error))


def without_paths(text: str) -> str:
    """A text with the names of files in place of their paths, which are no business of a client."""
    return PATH.sub(r"\1", text)


def as_json(result: Any) -> Any:
    """A result as `keras-seq VERB --json` writes it. NaN and infinity become null."""
    if isinstance(result, Failure):
        return {"error": without_paths(result.reason)}
    if isinstance(result, Generated):
        return _generated(result)
    if isinstance(result, Forecast):
        rows = np.asarray(result.values)
        return finite(
            {"names": list(result.names), "values": rows.reshape(len(rows), -1).tolist(), "times": result.times}
        )
    if isinstance(result, Outputs):
        return finite({name: np.asarray(x).tolist() for name, x in result.arrays.items()})
    if isinstance(result, dict):  # several questions
        return {name: as_json(one) for name, one in result.items()}
    return finite(result._asdict())


def _generated(result: Generated) -> dict[str, Any]:
    texts = [result.prompt + text for text in result.texts]
    columns = {"scores": result.scores, "log_probs": result.log_probs, "finished": result.finished}
    if len(texts) > 1:
        return finite({"texts": texts, **columns})
    return finite(
        {"text": texts[0], "score": result.scores[0], "log_prob": result.log_probs[0], "finished": result.finished[0]}
    )


def tensor(name: str, value: Any, dtype: str, shape: list[int | None]) -> np.ndarray:
    """An array from the JSON of TensorFlow Serving's REST interface.

    Args:
        value: a nest of lists. Strings may be `{"b64": ...}`.
        dtype: name of a NumPy type, or "string".
        shape: the expected shape, None for axes of any size.
    Raises:
        ValueError: if it has another type or shape.
    """
    text = dtype == "string"
    value = _decoded(value) if text else value
    try:
        array = np.array(value, object if text else None)
    except ValueError as error:
        raise ValueError(f"`{name}` is not a regular array: its rows differ in length") from error
    kinds = {"string": "O", "bool": "b"}.get(dtype, "iu" if "int" in dtype else "iuf")
    good = array.size == 0 or (array.dtype.kind in kinds and (not text or _all_bytes(array)))
    if not good:
        raise ValueError(f"`{name}` must be of type {dtype}. Received: {str(value)[:40]!r}")
    fits = len(array.shape) == len(shape)
    fits = fits and all(wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"`{name}` must have the shape ({wanted}). Received: {array.shape}")
    return array if text else _converted(name, array, dtype)


def _converted(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    found = array.astype(dtype)
    if "int" in dtype and array.size and not (found == array).all():
        raise ValueError(f"`{name}` has a number that {dtype} cannot hold")
    return found


def _all_bytes(array: np.ndarray) -> bool:
    return all(isinstance(x, bytes) for x in array.reshape(-1).tolist())


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except ValueError as error:
            raise ValueError(f"`b64` is not base64: {error}") from error
    return value
