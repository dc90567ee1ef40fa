import concurrent.futures
import itertools
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_seq import callbacks, data, text
from keras_seq.distribution import data_workers, launch
from keras_seq.distribution.data_workers import data_service, read, register
from tests.distribution import bucketed
from tests.distribution.workers import LAUNCH, ROOT

names = map("job{}".format, itertools.count())


class Service:
    """A tf.data service in this process, with an own dispatcher."""

    def __init__(self, data_workers: int):
        service = tf.data.experimental.service
        self.dispatcher = service.DispatchServer()
        self.address = self.dispatcher.target
        config = service.WorkerConfig(self.address.removeprefix("grpc://"), heartbeat_interval_ms=100)
        self.workers = [service.WorkerServer(config) for _ in range(data_workers)]

    def parts(self, dataset, steps: int, trainers: int, of_epoch: int) -> list[list]:
        """What each trainer gets in so many steps; all read at the same time, as they must."""
        job = next(names)
        register(dataset, of_epoch, self.address, job, trainers)
        with concurrent.futures.ThreadPoolExecutor(trainers) as pool:
            return list(
                pool.map(
                    lambda trainer: list(read(self.address, job, trainer, trainers).take(steps).as_numpy_iterator()),
                    range(trainers),
                )
            )


@pytest.fixture(scope="module")
def service():
    return Service(1)


def together(parts: tuple):
    return tf.nest.map_structure(lambda *rows: np.concatenate(rows), *parts)


def same(found, expected):
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_job_is_not_read_twice(monkeypatch):
    monkeypatch.setattr(data_workers, "_jobs", {("grpc://127.0.0.1:1", "training")})
    with pytest.raises(ValueError) as error:
        data_service("grpc://127.0.0.1:1", types.SimpleNamespace(), "training")
    reason = "This process already reads a job 'training' of grpc://127.0.0.1:1, and would get batches of that dataset."
    assert str(error.value) == f"{reason} Give each dataset a different `job_name`."


@pytest.mark.parametrize("trainers", [1, 3])
def test_the_parts_of_each_step_are_a_batch_of_the_dataset(service, trainers):
    dataset = bucketed.batches(order=5)
    first, second = [list(dataset.as_numpy_iterator()) for _ in range(2)]
    assert not all(np.array_equal(one[1], other[1]) for one, other in zip(first, second, strict=False))
    assert min(len(labels) for _, labels, *_ in first) < 3  # some trainers have no row of such a batch

    parts = service.parts(bucketed.batches(order=5), len(first) + len(second), trainers, of_epoch=len(first))
    for of_step, batch in zip(zip(*parts, strict=True), first + second, strict=True):
        sizes = [len(labels) for _, labels, *_ in of_step]
        assert max(sizes) - min(sizes) <= 1
        same(together(of_step), batch)


def test_examples_in_memory_go_along(service):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 30)
    ids = tf.RaggedTensor.from_row_lengths(np.arange(lengths.sum()) + 1, lengths)
    examples = data.InMemory(tf.data.Dataset.range(30).map(lambda number: (ids[number], ids[number])))

    def batches():
        bucketed = data.bucketed(examples_per_batch=4, width=3, examples=examples)
        return examples.numbers().apply(data.shuffled(1)).apply(bucketed)

    expected = list(batches().as_numpy_iterator())
    parts = service.parts(batches(), len(expected), 2, of_epoch=len(expected))
    for of_step, batch in zip(zip(*parts, strict=True), expected, strict=True):
        same(together(of_step), batch)


def test_every_example_once_an_epoch_in_a_new_order(service):
    numbers = tf.data.Dataset.range(20).shuffle(20, reshuffle_each_iteration=True).batch(3)  # 7 batches
    parts = service.parts(numbers, steps=21, trainers=2, of_epoch=7)
    steps = [together(of_step) for of_step in zip(*parts, strict=True)]
    epochs = [np.concatenate(steps[first : first + 7]).tolist() for first in (0, 7, 14)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(20))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_data_workers_take_turns_from_places_of_their_own():
    numbers = tf.data.Dataset.range(40).map(lambda number: {"number": [number, number]})
    parts = Service(2).parts(numbers, steps=120, trainers=2, of_epoch=40)
    expected, turns = [0, 24], [0, 0]  # not strictly one after the other, since a late one loses its turn
    for one, other in zip(*parts, strict=True):
        assert one["number"].tolist() == other["number"].tolist()
        which = expected.index(one["number"][0])
        expected[which] = (expected[which] + 1) % 40
        turns[which] += 1
    assert min(turns) > 0


def test_a_service_starts_in_the_epoch_that_the_dataset_says(service):
    numbers = tf.data.Dataset.range(30)
    fifth = [list(numbers.apply(data.shuffled(1, first_epoch=5)).as_numpy_iterator())]
    (found,) = service.parts(numbers.apply(data.shuffled(1, first_epoch=5)).batch(30), 1, trainers=1, of_epoch=1)
    np.testing.assert_array_equal(found, fifth)


@pytest.mark.parametrize("kind", ["words", "subwords"])
def test_vocabularies_go_along(service, kind):
    lines = ["a man rides a horse", "a woman reads", "two men ride home"] * 20
    vocabulary = text.Words.train(lines, 20) if kind == "words" else text.Subwords.train(lines, 40)
    pairs = tf.data.Dataset.from_tensor_slices((lines[:6], lines[-6:])).apply(vocabulary.encoded()).padded_batch(4)
    expected = list(pairs.as_numpy_iterator())
    for of_step, batch in zip(zip(*service.parts(pairs, 2, 2, of_epoch=2), strict=True), expected, strict=True):
        same(together(of_step), batch)


def fitted(scope, dataset, epochs=2, **options):
    tf.keras.utils.set_random_seed(1)
    with scope:
        model = bucketed.compiled(bucketed.small())
    history = model.fit(dataset, epochs=epochs, verbose=0, shuffle=False, **options).history
    return bucketed.weights(model), history


@pytest.mark.long
@pytest.mark.parametrize("devices", ["one_device", "two_devices"])
def test_fit_does_the_same_with_the_service(service, devices, request):
    scope = request.getfixturevalue(devices)
    plain = bucketed.batches(order=5)
    steps = sum(1 for _ in bucketed.batches())
    plain = plain.apply(tf.data.experimental.assert_cardinality(steps))
    throughput = callbacks.Throughput()
    job = next(names)
    step = data_service(service.address, scope, job, on_trainer=throughput.counted())
    served = bucketed.batches(order=5).apply(tf.data.experimental.assert_cardinality(steps)).apply(step)
    assert len(served) == steps
    expected, history = fitted(scope, plain)
    found, served_history = fitted(scope, served, callbacks=[throughput])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(served_history["loss"], history["loss"], rtol=1e-5)

    with pytest.raises(TypeError, match="comes last"):
        served.prefetch(1)
    with pytest.raises(ValueError, match=f"reads a job '{job}'"):
        data_service(service.address, scope, job)


def test_what_cannot_be_sent(service, one_device):
    numbers = tf.data.Dataset.range(4)
    counter, iterator = tf.Variable(0, dtype=tf.int64), iter(numbers)
    table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, 0, empty_key=-1, deleted_key=-2)
    spec = tf.TensorSpec((), tf.int64)
    called = {
        "from_generator": tf.data.Dataset.from_generator(lambda: range(4), output_signature=spec),
        "py_function": numbers.map(lambda x: tf.py_function(abs, [x], tf.int64)),
        "numpy_function": numbers.map(lambda x: tf.numpy_function(abs, [x], tf.int64)),
        "on_trainer=throughput.counted": numbers.map(lambda x: counter.assign_add(x)),
        "such as an iterator": numbers.map(lambda _: next(iterator)),
        "or a DenseHashTable": numbers.map(table.lookup),
    }
    unnoticed = []
    for what, dataset in called.items():
        step = data_service(service.address, one_device, next(names), steps_per_epoch=4)
        try:
            dataset.batch(2).apply(step)
        except ValueError as error:
            assert what in str(error)
        else:
            unnoticed.append(what)
    assert not unnoticed

    counter.assign(7)
    variable = numbers.map(lambda x: x + counter).shuffle(4).cache().batch(4)
    ((found,),) = service.parts(variable, steps=1, trainers=1, of_epoch=1)
    assert sorted(found) == [7, 8, 9, 10]


def test_what_is_missing(service, one_device):
    for address in ("", None):
        with pytest.raises(ValueError, match="--data-workers 1"):
            data_service(address, one_device)
    step = data_service(service.address, one_device, next(names))
    for dataset, what in (
        (tf.data.Dataset.range(3).repeat(), "is endless"),
        (tf.data.Dataset.range(0), "is empty"),
        (tf.data.Dataset.range(3).filter(lambda x: x > 0), "has an unknown length"),
    ):
        with pytest.raises(ValueError, match=what):
            dataset.apply(step)
    with pytest.raises(ValueError, match="must be positive. Received: 0"):
        tf.data.Dataset.range(3).apply(data_service(service.address, one_device, next(names), steps_per_epoch=0))


@pytest.mark.parametrize("pairs", [True, False])
def test_batches_for_each_device_without_an_end(service, two_devices, pairs):
    dataset = tf.data.Dataset.range(8)
    dataset = (tf.data.Dataset.zip(dataset, dataset) if pairs else dataset).batch(4)
    looked = []
    step = data_service(service.address, two_devices, next(names), on_trainer=lambda rows: looked.append(1) or rows)
    served = dataset.apply(step)
    assert int(served.cardinality()) == 2 and looked == [1] and served._inputs() == []
    batch = next(iter(served))
    assert iter(served) is iter(served)  # all epochs share it
    rows = [side.values for side in (batch if pairs else (batch,))]
    assert all(
        np.concatenate([part.numpy() for part in side]).tolist() in ([0, 1, 2, 3], [4, 5, 6, 7]) for side in rows
    )
    assert len(tf.nest.flatten(served.element_spec, expand_composites=False)) == len(rows)
    with pytest.raises(TypeError, match="No step can be applied after `data_service`"):
        served.map(lambda *rows: rows)


def test_both_parts_of_a_service_run_until_they_are_killed(monkeypatch):
    started = []

    def server(config):
        started.append(config)
        return types.SimpleNamespace(join=lambda: started.append("joined"))

    monkeypatch.setattr(tf.data.experimental.service, "DispatchServer", server)
    monkeypatch.setattr(tf.data.experimental.service, "WorkerServer", server)
    assert launch.main(["data-service", "dispatcher", "127.0.0.1:4321"]) == 0
    assert launch.main(["data-service", "worker", "127.0.0.1:4321"]) == 0
    dispatcher, joined, worker, _ = started
    assert (dispatcher.port, joined, worker.dispatcher_address) == (4321, "joined", "127.0.0.1:4321")


TRAIN = """
import os, sys
import keras, numpy as np, tensorflow as tf
from keras_seq import distribution
from keras_seq.distribution.data_workers import data_service
from tests.distribution import bucketed

scope = distribution.scope("auto", precision="float64")
keras.utils.set_random_seed(1)

def served(job_name, **options):
    steps = sum(1 for _ in bucketed.batches(**options))
    dataset = bucketed.batches(**options).apply(tf.data.experimental.assert_cardinality(steps))
    address = os.environ.get("KERAS_SEQ_DATA_SERVICE")
    return dataset.apply(data_service(address, scope, job_name)) if address else dataset

with scope:
    model = bucketed.compiled(bucketed.small())
train, valid = served("train", order=5), served("valid", seed=3)
history = model.fit(train, validation_data=valid, epochs=3, verbose=0, shuffle=False).history
if scope.chief:
    np.savez(sys.argv[1], weights=bucketed.weights(model), workers=scope.workers, **history)
"""


@pytest.mark.long
def test_two_trainers_and_a_data_worker_are_one_device(tmp_path):
    found = {}
    launch = [*LAUNCH, "--workers", "2", "--data-workers", "1", "--", "python"]
    for name, python in (("one", [sys.executable]), ("served", launch)):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
        out = tmp_path / f"{name}.npz"
        done = subprocess.run(
            [*python, "-c", TRAIN, out], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        with np.load(out) as saved:
            found[name] = dict(saved)
    assert (int(found["one"].pop("workers")), int(found["served"].pop("workers"))) == (1, 2)
    assert found["one"].keys() == found["served"].keys() > {"weights", "loss", "val_loss"}
    for key, expected in found["one"].items():
        np.testing.assert_allclose(found["served"][key], expected, rtol=0, atol=1e-9, err_msg=key)
