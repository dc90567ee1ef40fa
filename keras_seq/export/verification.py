"""Verification that a SavedModel returns the same in a fresh process as its functions in this process."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_seq.tasks.signatures import Call, inputs_of

TOLERANCE = (1e-5, 1e-4)  # relative, absolute
EPSILON = {"float16": 2**-10, "bfloat16": 2**-7}  # from 1 to the next number
_ERROR = re.compile(r"[\w.]*(Error|Exception): ")


# Arrays are passed as JSON, and strings in it as latin-1, one character per byte, so that no byte is lost.
FRESH_PROCESS = """
import json, sys
import tensorflow as tf
import tensorflow_text

def tensor(x, dtype):
    values = [value.encode("latin-1") for value in x["values"]] if dtype == tf.string else x["values"]
    return tf.constant(values, dtype, x["shape"])

def told(x):
    values = x.numpy().ravel().tolist()
    return {
        "shape": x.shape.as_list(),
        "values": [value.decode("latin-1") for value in values] if x.dtype == tf.string else values,
    }

given, results = sys.argv[1:]
with open(results, "w") as out:
    for folder, calls in json.load(open(given)):
        signatures, last = tf.saved_model.load(folder).signatures, {}
        for call in calls:
            function = signatures[call["signature"]]
            specs = function.structured_input_signature[1]
            inputs = {name: x for name, x in last.items() if name in specs} if call["goes_on"] else {}
            inputs |= {name: tensor(x, specs[name].dtype) for name, x in call["inputs"].items()}
            last = function(**inputs)
            print(json.dumps({name: told(x) for name, x in last.items()}), file=out)
assert "keras_seq" not in sys.modules
"""


def tolerance_for(model: keras.layers.Layer) -> tuple[float, float]:
    """The relative and the absolute difference that rounding explains, given the compute dtypes of the layers."""
    dtypes = {layer.compute_dtype for layer in model._flatten_layers()} & EPSILON.keys()
    return max([TOLERANCE, *((EPSILON[dtype],) * 2 for dtype in dtypes)])


def verify(folder, functions, calls, timeout, tolerance=TOLERANCE):
    """Compares the results of a SavedModel in a fresh process with those of its functions in this one.

    Args:
        functions: functions of an `Exported`.
        calls: `Call`s, made one after the other.
        timeout: time limit of the process, in seconds.
        tolerance: relative and absolute difference of numbers that is allowed.
    Raises:
        RuntimeError: if the process fails, returns other results, or takes longer.
    """
    verify_all([(folder, functions, calls)], timeout, tolerance)


def verify_all(exports: Iterable[tuple[Path, Mapping[str, Callable], Iterable[Call]]], timeout, tolerance=TOLERANCE):
    """Like `verify`, for several folders in one process."""
    exports = [(folder, functions, list(calls)) for folder, functions, calls in exports]
    answers = iter(_elsewhere([(folder, calls) for folder, _, calls in exports], timeout))
    with _full_precision():
        for _, functions, calls in exports:
            last = {}
            for call in calls:
                specs = inputs_of(functions[call.signature])
                inputs = {name: x for name, x in last.items() if name in specs} if call.goes_on else {}
                inputs |= {name: _tensor(x, specs[name].dtype) for name, x in call.inputs.items()}
                last = functions[call.signature](**inputs)
                _compare(call.signature, inputs, last, next(answers), tolerance)


def _tensor(x, dtype):
    x = np.asarray(x)
    return tf.constant(x.ravel().tolist(), dtype, x.shape)


def _told(x):
    x = np.asarray(x)
    values = x.ravel().tolist()
    if x.dtype == object:
        values = [value.decode("latin-1") for value in values]
    return {"shape": list(x.shape), "values": values}


def _elsewhere(work: Sequence[tuple[Path, Sequence[Call]]], timeout) -> list[dict]:
    """Makes the calls in an independent process, and returns their results."""
    told = [
        (
            str(folder.resolve()),
            [{**call._asdict(), "inputs": {name: _told(x) for name, x in call.inputs.items()}} for call in calls],
        )
        for folder, calls in work
    ]
    with tempfile.TemporaryDirectory() as scratch:  # also the working directory, without any package of ours
        given, results = Path(scratch, "given.json"), Path(scratch, "results.json")
        given.write_text(json.dumps(told))
        # Without a GPU, because this process may hold all of its memory.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        try:
            done = subprocess.run(
                [sys.executable, "-c", FRESH_PROCESS, str(given), str(results)],
                cwd=scratch,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                f"The fresh process took longer than `timeout`={timeout} seconds to load and try the SavedModel, and "
                "was stopped. Allow more seconds, fewer or shorter `samples`, or set a `max_length`."
            ) from error
        if done.returncode:
            raise _failed(done)
        return [json.loads(line) for line in results.read_text().splitlines()]


def _failed(done: subprocess.CompletedProcess) -> RuntimeError:
    """The error of a process that failed, in one line. With KERAS_SEQ_TRACEBACK set, a note has all of its stderr."""
    error = RuntimeError(
        f"The SavedModel fails in a fresh process (exit status {done.returncode}): {_cause(done.stderr)}"
    )
    if os.environ.get("KERAS_SEQ_TRACEBACK"):
        error.add_note(done.stderr)
    return error


def _cause(stderr: str) -> str:
    """The last line that names an error, or the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    return (named or lines or ["it wrote nothing to stderr"])[-1]


@contextlib.contextmanager
def _full_precision():
    """Makes a GPU compute float32 products like a CPU, not in TensorFloat-32."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)


def _compare(signature, inputs, here, there, tolerance):
    """Raises `RuntimeError` if the results of two processes differ. Names a row of the batch that differs."""
    here = {name: x.numpy() for name, x in here.items()}
    there = {name: _array(there[name], x.dtype) for name, x in here.items()}
    for name, ours in here.items():
        theirs = there[name]
        if ours.shape != theirs.shape:
            raise RuntimeError(
                f"The SavedModel returns other results in a fresh process: `{signature}` returns {name!r} of shape "
                f"{theirs.shape} there, and of shape {ours.shape} here."
            )
        apart = ~_same(ours, theirs, *tolerance)
        if apart.any():
            row = np.argwhere(apart)[0][:1]
            of_row = [_row(tensors, row) for tensors in ({n: x.numpy() for n, x in inputs.items()}, here, there)]
            raise RuntimeError(
                "The SavedModel returns other results in a fresh process. "
                "For {} `{}` returns {} here, and {} there.".format(of_row[0], signature, *of_row[1:])
            )


def _array(told, dtype):
    values = [value.encode("latin-1") for value in told["values"]] if np.dtype(dtype).hasobject else told["values"]
    array = np.empty(len(values), dtype)
    array[:] = values
    return array.reshape(told["shape"])


def _same(ours, theirs, relative, absolute):
    if ours.dtype == object or np.issubdtype(ours.dtype, np.integer) or ours.dtype == bool:
        return np.asarray(ours == theirs)
    ours, theirs = ours.astype("float64"), theirs.astype("float64")
    return (ours == theirs) | np.isclose(ours, theirs, relative, absolute)


def _row(tensors, row):
    """The values of tensors for one row of a batch, as text."""
    told = []
    for name, x in tensors.items():
        if x.ndim and len(row) and row[0] >= len(x):
            continue
        told.append(f"{name}={_short(x[row[0]] if x.ndim and len(row) else x)}")
    return ", ".join(told)


def _short(x):
    if isinstance(x, bytes):
        text = x.decode("utf-8", "backslashreplace")
        return repr(text) if len(text) <= 200 else f"{text[:200]!r}... ({len(text)} characters)"
    if np.ndim(x) == 0:
        return f"{float(x):.6g}"
    return np.array2string(np.asarray(x), precision=6, threshold=12, edgeitems=3).replace("\n", " ")
