"""Measurements of training and of single steps."""

import gc

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("comparisons run on TensorFlow", allow_module_level=True)

import tensorflow as tf

from keras_seq.comparison import measurements, stepwise
from keras_seq.comparison.contender import built_model
from keras_seq.comparison.processes import in_fresh_process
from keras_seq.layers import sequence_backbone
from tests.comparison.toy import Toy, examples

VALUES = {"architecture": "feedforward", "units": 4, "learning_rate": 0.1, "seed": 1}


def test_the_batches_of_a_training_are_captured(tmp_path):
    capture = measurements.captured(Toy(), VALUES, tmp_path / "run", count=3)
    assert capture.count == 3 and int(capture.model.optimizer.iterations) == 0
    batches = list(capture.batches.take(6).as_numpy_iterator())
    assert sum(np.count_nonzero(tokens) for tokens, _ in batches[:3]) == capture.tokens
    assert np.array_equal(batches[0][0], batches[3][0])  # again and again
    few = measurements.captured(Toy(), VALUES, tmp_path / "all", count=50)
    assert few.count == 4 and few.tokens == sum(len(tokens) for tokens, _ in examples(0).as_numpy_iterator())

    before = [weight.numpy().copy() for weight in capture.model.trainable_weights]
    measurements._finished(capture.step(iter(capture.batches)))
    assert int(capture.model.optimizer.iterations) == 1
    after = capture.model.trainable_weights
    assert any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))


def test_costs_of_training():
    chosen = {"feedforward": VALUES, "cnn": {**VALUES, "architecture": "cnn"}}
    costs = measurements.training_costs(Toy, chosen, repeats=1)
    for cost in costs.values():
        assert set(cost) == {"first_step_seconds", "seconds_per_token", "processor_seconds_per_token"}
        assert all(0 < value < 60 for value in cost.values())


def test_single_steps_compute_the_whole_sequence():
    for name in ("lstm", "transformer"):
        stack = sequence_backbone(name, 8, 1, num_heads=2)
        x = keras.random.normal((2, 5, 8), seed=1)
        last = stepwise._steps(stack)(x, stack.get_initial_state(2, 5), 2)
        assert np.allclose(last[:, 0], stack(x)[0][:, -1], atol=1e-5)


def test_costs_of_steps():
    costs = stepwise.step_costs({"rnn": 8, "feedforward": 8}, lengths=(4, 8), repeats=1)
    assert set(costs) == {"rnn"}  # feed-forward has no state
    assert costs["rnn"]["whole_sequence_speedup"] > 0
    assert [each["length"] for each in costs["rnn"]["generation"]] == [4, 8]
    assert all(0 < each["seconds_per_token"] < 10 for each in costs["rnn"]["generation"])


def test_the_steps_go_on_from_the_state_and_texts_begin_anew():
    """The functions in the graph, run without one: their stack adds up what it has seen."""
    seen = []

    def stack(x, initial_state=0.0):
        seen.append(float(x[0, 0, 0]))
        return x + initial_state, x[:, 0] + initial_state

    stack.units = 1
    tf.config.run_functions_eagerly(True)
    try:
        run = stepwise._steps(stack)
        seen.clear()
        last = run(tf.constant([[[1.0], [2.0], [4.0]]]), tf.constant([[10.0]]), 2)
    finally:
        tf.config.run_functions_eagerly(False)
    assert seen == [1.0, 2.0, 4.0] * 2 and last.numpy().tolist() == [[[17.0]]]


@pytest.mark.parametrize(
    "read", [lambda *arguments: built_model(*arguments), lambda *arguments: measurements.captured(*arguments)]
)
def test_a_contender_that_drops_its_callbacks_is_refused(tmp_path, read):
    class Deaf:
        def train(self, values, run, callbacks):
            assert values["budget_tokens"] is None and values["budget_seconds"] is None
            return "a model"

    with pytest.raises(ValueError, match="^The contender has trained no model with its callbacks.$"):
        read(Deaf(), VALUES, tmp_path)


@pytest.mark.skipif(not measurements.can_measure_memory(), reason="the system does not tell a peak of memory")
def test_the_peak_of_memory_is_that_after_the_first_step(monkeypatch):
    """Steps hold 16 MB. The first one, which traces, needs 24 MB more for a moment."""
    monkeypatch.setattr(gc, "collect", lambda: 0)
    held, steps = [], []

    def step(iterator):
        held.clear()
        steps.append(next(iterator))
        if len(steps) == 1:
            assert np.ones(3 * 10**6).all()
        held.append(np.ones(2 * 10**6))
        return {"loss": 0.0}

    def captured(contender, values, run):
        assert contender == "contender" and values == VALUES and run.parent.is_dir()
        return measurements.Captured(None, step, range(100), 3, 10)

    monkeypatch.setattr(measurements, "captured", captured)
    peak = measurements.training_memory(lambda: "contender", VALUES)
    assert steps == [0, 1, 2, 3]
    assert 8e6 < peak < 32e6


@pytest.mark.long  # a start of TensorFlow
def test_memory_in_a_fresh_process(tmp_path):
    small = in_fresh_process(measurements.training_memory, Toy, VALUES, threads=1, log=tmp_path / "log")
    wide = {**VALUES, "units": 3_000}
    large = in_fresh_process(measurements.training_memory, Toy, wide, threads=1, log=tmp_path / "log")
    weights = 4 * (20 * 3_000 + 2 * (3_000**2 + 3_000))  # bytes of the embeddings and of the two layers
    assert large - small > weights and small > 0
