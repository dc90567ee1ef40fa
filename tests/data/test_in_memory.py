import numpy as np
import pytest
import tensorflow as tf

from keras_seq import data
from tests.reference import quick

LENGTHS = [(3, 2), (1, 5), (4, 4), (2, 1), (1, 1)]


def pairs(lengths=LENGTHS, dtype=np.int32):
    return tf.data.Dataset.from_generator(
        lambda: ((np.full(s, i + 1, dtype), np.full(t, -i - 1, dtype)) for i, (s, t) in enumerate(lengths)),
        output_signature=(tf.TensorSpec([None], dtype),) * 2,
    )


def lists(dataset):
    return [tf.nest.map_structure(lambda part: np.asarray(part).tolist(), each) for each in dataset.as_numpy_iterator()]


ELEMENTS = {
    "nest": (
        [
            {"a": np.full([n, 3], n, np.float32), "b": (np.int64(n), np.array([b"w"] * n, object)), "c": np.ones(2)}
            for n in (2, 0, 3)
        ],
        {
            "a": tf.TensorSpec([None, 3], tf.float32),
            "b": (tf.TensorSpec([], tf.int64), tf.TensorSpec([None], tf.string)),
            "c": tf.TensorSpec([2], tf.float64),
        },
    ),
    "tensor": ([np.arange(3), np.arange(0), np.arange(1)], tf.TensorSpec([None], tf.int64)),
    "scalars": ([np.float32(2), np.float32(3)], tf.TensorSpec([], tf.float32)),
    "none": ([], (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.string))),
    "one": ([(np.ones(4, bool),)], (tf.TensorSpec([None], tf.bool),)),
}


@pytest.mark.parametrize("name", quick(ELEMENTS, few=["nest", "none", "tensor"]))
def test_the_examples_of_a_dataset_and_of_a_cache(tmp_path, name):
    elements, spec = ELEMENTS[name]
    dataset = tf.data.Dataset.from_generator(lambda: iter(elements), output_signature=spec)
    dataset.apply(data.cached(tmp_path, examples_per_block=2, num_shards=3))
    for examples in (data.InMemory(dataset), data.InMemory.from_cache(tmp_path)):
        assert len(examples) == len(elements) and examples.element_spec == spec
        assert examples.dataset().element_spec == spec
        assert lists(examples.dataset()) == lists(dataset)
        if name != "scalars":
            found, expected = examples.lengths(), data.lengths(dataset)
            assert found.dtype == expected.dtype and found.tolist() == expected.tolist()


def test_lengths_and_numbers():
    examples = data.InMemory(pairs())
    assert examples.lengths().tolist() == [list(each) for each in LENGTHS]
    assert examples.lengths(("S", None)).tolist() == [3, 1, 4, 2, 1]
    assert list(examples.numbers().as_numpy_iterator()) == [0, 1, 2, 3, 4]
    assert list(examples.numbers((examples.lengths() < 5).all(axis=1)).as_numpy_iterator()) == [0, 2, 3, 4]
    with pytest.raises(ValueError, match=r"Lengths of example 0: 3 and 2"):
        examples.lengths(("T", "T"))
    with pytest.raises(ValueError, match=r"a bool for each of 5 examples. Received: \(2,\)"):
        examples.numbers([True, False])


def test_steps_before_bucketing_take_numbers():
    """A part, a shard and a repetition of the examples, and a stream that never ends."""
    examples = data.InMemory(pairs())
    step = data.bucketed(examples_per_batch=2, examples=examples)

    def seen(numbers):
        return [batch[0][:, 0].tolist() for batch in numbers.apply(step).as_numpy_iterator()]

    assert seen(examples.numbers()) == [[1, 3], [4, 5], [2]]
    assert seen(examples.numbers().shard(2, 1)) == [[4], [2]]
    assert seen(examples.numbers().take(3).repeat(2)) == [[1, 3], [2, 2], [1, 3]]
    assert len(list(examples.numbers().repeat().apply(step).take(70_000).apply(counted))) == 70


def counted(dataset):
    return dataset.map(lambda *batch: batch[0][0, 0]).batch(1000)


def test_an_empty_sequence_is_an_error_unless_it_is_left_out():
    examples = data.InMemory(pairs([(3, 2), (0, 4), (2, 2)]))
    step = data.bucketed(examples=examples)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"a row of padding only.*longer_than\(0\)"):
        list(examples.numbers().apply(step))
    (batch,) = examples.numbers((examples.lengths() > 0).all(axis=1)).apply(step)
    assert batch[0].numpy().tolist() == [[1, 1, 1], [3, 3, 0]]
    (batch,) = examples.numbers().apply(data.bucketed(axes=(None, "T"), examples=examples))
    assert batch[0].shape == [3, 3]


def test_what_cannot_be_kept_or_batched(tmp_path):
    frames = tf.data.Dataset.from_generator(
        lambda: iter([np.ones([2, 3])]), output_signature=tf.TensorSpec([None, None], tf.float64)
    )
    frames.apply(data.cached(tmp_path))
    for make in (lambda: data.InMemory(frames), lambda: data.InMemory.from_cache(tmp_path)):
        with pytest.raises(ValueError, match=r"Only the first axis.*`dataset.cache\(\)`.*\(None, None\)"):
            make()
    with pytest.raises(ValueError, match="before `repeat`"):
        data.InMemory(tf.data.Dataset.range(3).repeat())
    with pytest.raises(FileNotFoundError, match=r"holds no cache. Write one with `dataset.apply\(cached\("):
        data.InMemory.from_cache(tmp_path / "nowhere")
    examples = data.InMemory(pairs())
    with pytest.raises(ValueError, match=r"start with `examples.numbers\(\)`.*int32"):
        pairs().apply(data.bucketed(examples=examples))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 5\)"):
        list(tf.data.Dataset.range(7).apply(data.bucketed(examples=examples)))


def test_batches_with_a_cardinality():
    examples = data.InMemory(pairs())
    buckets = data.Buckets(examples.lengths(), 8)
    batches = examples.numbers().apply(buckets.batched(examples.lengths(), examples=examples))
    assert batches.cardinality() == len(list(batches)) == len(list(pairs().apply(buckets.batched(LENGTHS))))
