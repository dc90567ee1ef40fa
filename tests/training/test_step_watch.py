"""Parts of the watch over a step that one replica, or a step with its update, does not need."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_seq.training import step_watch
from keras_seq.training.step_watch import StepWatch


class Replicas:
    """Of each of two replicas the other has twice its numbers."""

    num_replicas_in_sync = 2

    def __init__(self):
        self.calls = []

    def all_reduce(self, operation, tensors):
        self.calls.append((operation, [tensor.dtype.name for tensor in tensors]))
        return [3 * tensor for tensor in tensors]


def test_sums_over_replicas_have_a_call_for_each_dtype(monkeypatch):
    replicas = Replicas()
    monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: replicas)
    tensors = [tf.constant([1.0]), tf.constant(2.0, tf.float16), tf.constant(3.0)]
    found = step_watch._summed(tensors)
    assert [(x.numpy().tolist(), x.dtype.name) for x in found] == [
        ([3.0], "float32"),
        (6.0, "float16"),
        (9.0, "float32"),
    ]
    operation = tf.distribute.ReduceOp.SUM
    assert replicas.calls == [(operation, ["float32", "float32"]), (operation, ["float16"])]
    replicas.num_replicas_in_sync = 1
    assert step_watch._summed(tensors) is tensors


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (lambda: None, None),
        (lambda: tf.experimental.Optional.from_value(1.0), None),
        (lambda: tf.ragged.constant([[1, 2], [3]]), [[1, 2], [3, 0]]),
        (lambda: tf.sparse.from_dense([[0, 5]]), [[0, 5]]),
        (lambda: np.array([7]), [7]),
    ],
)
def test_parts_of_a_batch_are_dense_or_left_out(leaf, expected):
    found = step_watch._dense(leaf())
    assert (None if found is None else found.numpy().tolist()) == expected


def watch(**attributes):
    made = StepWatch.__new__(StepWatch)
    vars(made).update({"batch": None, "_tracing": step_watch._Tracing(), **attributes})
    return made


@pytest.mark.parametrize("count", [1, 2])
def test_the_batch_of_all_replicas_is_put_together(count):
    x, y = np.arange(4.0).reshape(4, 1), np.arange(4)
    replicas = [slice(0, 3), slice(3, 4)] if count == 2 else [slice(0, 4)]
    values = {0: x, 1: y, 2: None}
    strategy = SimpleNamespace(
        experimental_local_results=lambda leaf: tuple(
            None if values[leaf] is None else tf.constant(values[leaf][rows]) for rows in replicas
        )
    )
    found = watch(model=SimpleNamespace(distribute_strategy=strategy))
    parts, batch = found._parts_of(({"x": 0}, 1, 2))
    assert len(parts) == 2 * count
    found._keep(batch, *(part.numpy() for part in parts))
    inputs, label, nothing = found.batch
    assert inputs["x"].tolist() == x.tolist() and label.tolist() == y.tolist() and nothing is None
    first = found.batch
    found._keep(batch, *(0 * part.numpy() for part in parts))
    assert found.batch is first  # of the first step that failed


@pytest.mark.parametrize(
    ("loss", "scale", "failed"),
    [(1.0, None, False), (np.inf, None, True), (1.0, 2.0, False), (1.0, 2.0**-6, True), (np.nan, 2.0, True)],
)
def test_a_step_without_an_update_fails_by_its_loss_or_its_scale(loss, scale, failed):
    optimizer = SimpleNamespace(dynamic_scale=tf.constant(scale or 0.0), initial_scale=8.0)
    inner = optimizer if scale is None else SimpleNamespace()
    found = watch(optimizer=optimizer, _inner=inner, _failed=tf.Variable(False))

    def step(data):
        found._seen_loss(lambda loss: loss)(data)
        return "logs"

    assert found._watched_step(step)(loss) == "logs" and found.failed == failed
    found._watched_step(lambda data: "logs")(loss)  # no loss was computed
    assert found.failed == failed
