import json
import subprocess

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq.export import verification
from keras_seq.export.verification import verify
from keras_seq.tasks.samples import array_batches
from keras_seq.tasks.signatures import Call
from keras_seq.tasks.state_names import StateNames

# What a fresh process would answer, whatever it is asked.
ANSWERS = """
import json, sys
given, results = sys.argv[1:]
print({line!r}, file=open(results, "w"))
"""
STRINGS = tf.TensorSpec([None], tf.string, "text")


@tf.function(input_signature=[STRINGS])
def measure(text):
    return {"loud": tf.strings.upper(text), "size": tf.cast(tf.strings.length(text), tf.float32), "rows": tf.size(text)}


TEXT = Call("measure", {"text": np.array([b"\xff", b"two men"], object)})
RIGHT = {
    "loud": {"shape": [2], "values": ["\xff", "TWO MEN"]},
    "size": {"shape": [2], "values": [1.0, 7.0]},
    "rows": {"shape": [], "values": [2]},
}


def answered(monkeypatch, **changes):
    line = json.dumps({name: {**x, **changes.get(name, {})} for name, x in RIGHT.items()})
    monkeypatch.setattr(verification, "FRESH_PROCESS", ANSWERS.format(line=line))


@pytest.mark.parametrize("off", [0.0, 5e-5, 3e-4, float("nan"), float("inf")])
def test_numbers_may_differ_by_a_rounding_error_and_no_more(off, tmp_path, monkeypatch):
    answered(monkeypatch, size={"values": [1.0, 7.0 + off]})
    if off in (0.0, 5e-5):
        verify(tmp_path, {"measure": measure}, [TEXT], 30)
    else:
        with pytest.raises(RuntimeError, match=r"For text='two men' `measure` returns .*size=7,? .*there"):
            verify(tmp_path, {"measure": measure}, [TEXT], 30)


@pytest.mark.parametrize(("dtype", "off"), [("float32", 5e-5), ("float16", 5e-3), ("bfloat16", 5e-2)])
def test_a_rounding_error_is_one_of_the_layers(dtype, off, tmp_path, monkeypatch):
    model = keras.Sequential([keras.layers.Dense(1), keras.layers.Dense(1, dtype=dtype)])
    tolerance = verification.tolerance_for(model)
    answered(monkeypatch, size={"values": [1.0, 7.0 + off]})
    verify(tmp_path, {"measure": measure}, [TEXT], 30, tolerance)
    answered(monkeypatch, size={"values": [1.0, 7.0 + 4 * off]})
    with pytest.raises(RuntimeError, match="other results"):
        verify(tmp_path, {"measure": measure}, [TEXT], 30, tolerance)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loud": {"values": ["\xfe", "TWO MEN"]}},
            r"For text='\\\\xff' `measure` returns loud='\\\\xff'.*loud='\\\\xfe'",
        ),
        ({"rows": {"values": [3]}}, "rows=2.* here, and .*rows=3.* there"),
        ({"size": {"shape": [2, 1]}}, r"`measure` returns 'size' of shape \(2, 1\) there, and of shape \(2,\) here"),
    ],
)
def test_strings_whole_numbers_and_shapes_may_not(changes, message, tmp_path, monkeypatch):
    answered(monkeypatch, **changes)
    with pytest.raises(RuntimeError, match=message):
        verify(tmp_path, {"measure": measure}, [TEXT], 30)


def test_a_row_of_over_twelve_numbers_is_cut_in_a_message():
    assert verification._row({"x": np.arange(12.0)[None]}, (0,)).endswith(" 10. 11.]")
    assert verification._row({"x": np.arange(13.0)[None]}, (0,)) == "x=[ 0.  1.  2. ... 10. 11. 12.]"


@pytest.mark.parametrize(
    ("script", "timeout", "message"),
    [
        ("import time; time.sleep(60)", 1, "longer than `timeout`=1 seconds"),
        ("raise SystemExit('Op type not registered')", 30, r"exit status 1\): Op type not registered"),
        (
            "raise SystemExit('ValueError: no callback\\n\\n [Op:__inference]')",
            30,
            r"exit status 1\): ValueError: no callback$",
        ),
    ],
    ids=["slow", "failing", "failing in TensorFlow"],
)
def test_a_fresh_process_that_goes_wrong(script, timeout, message, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "FRESH_PROCESS", script)
    with pytest.raises(RuntimeError, match=message):
        verify(tmp_path, {"measure": measure}, [TEXT], timeout)


def test_names_of_a_state():
    state = {"layers": [[1, 2], [3, None]], "memory": {"keys": 4, "mask": None}, "past": 5}
    names = StateNames(state)
    flat = names.flat(state)
    assert flat == {
        "state_layers_0_0": 1,
        "state_layers_0_1": 2,
        "state_layers_1_0": 3,
        "state_memory_keys": 4,
        "state_past": 5,
    }
    assert names.nest({**dict(reversed(flat.items())), "tokens": 0}) == state
    with pytest.raises(ValueError, match=r"different names. Received twice: \['state_a_b'\]"):
        StateNames({"a": {"b": 1}, "a_b": 2})
    with pytest.raises(ValueError):
        names.flat({**state, "past": None, "more": 1})


def test_arrays_of_all_sizes_travel_together():
    specs = {
        "x": tf.TensorSpec([None, None, 2]),
        "word": tf.TensorSpec([None, None], tf.string),
        "n": tf.TensorSpec([None], tf.int32),
    }
    samples = [
        {"x": np.ones((3, 2)), "word": ["ü"], "n": 1},
        {"x": np.full((1, 2), 2.0), "word": np.array(["a", "b"]), "n": 2},
    ]
    first, second, both = array_batches(samples, specs)
    assert first["x"].shape == (1, 3, 2) and first["x"].dtype == "float32" and second["x"].shape == (1, 1, 2)
    assert first["word"].tolist() == [["ü".encode()]]
    assert both["x"][..., 0].tolist() == [[1, 1, 1], [2, 0, 0]]
    assert both["word"].tolist() == [["ü".encode(), b""], [b"a", b"b"]] and both["n"].tolist() == [1, 2]

    *alone, together = array_batches(
        None, {"ids": tf.TensorSpec([None, None], tf.int32), "y": tf.TensorSpec([None, 4])}
    )
    assert len(alone) == len(together["y"]) == 3 and together["y"].shape == (3, 4)
    assert set(together["ids"].ravel().tolist()) == {0, 1} and len({len(one["ids"][0]) for one in alone}) == 3
    (lone, same) = array_batches([[1.0, 2.0]], {"past": tf.TensorSpec([None, None])})
    assert lone["past"].tolist() == same["past"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(("traced", "notes"), [("", None), ("1", ["first\nValueError: no kernel\n"])])
def test_all_that_a_process_wrote_is_a_note_where_a_traceback_is_asked_for(traced, notes, monkeypatch):
    monkeypatch.setenv("KERAS_SEQ_TRACEBACK", traced)
    done = subprocess.CompletedProcess([], 3, stderr="first\nValueError: no kernel\n")
    error = verification._failed(done)
    assert str(error) == "The SavedModel fails in a fresh process (exit status 3): ValueError: no kernel"
    assert getattr(error, "__notes__", None) == notes


def test_a_row_without_the_tensors_that_have_fewer():
    tensors = {"text": np.array([b"a", b"b"], object), "lone": np.array([1.5]), "count": np.array(2)}
    assert verification._row(tensors, np.array([1])) == "text='b', count=2"
    assert verification._row(tensors, np.array([0])) == "text='a', lone=1.5, count=2"
