import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_seq import callbacks


def model_of(jit_compile=False):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("source", "target")}
    embed = keras.layers.Embedding(9, 4)
    source = keras.ops.mean(embed(inputs["source"]), axis=1, keepdims=True)
    model = keras.Model(inputs, keras.layers.Dense(9)(embed(inputs["target"]) + source))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, jit_compile=jit_compile)
    return model


def batches():
    """Two batches: 3 + 2 target tokens of 6 + 2 positions, 2 + 1 source tokens of 4 + 2."""

    def batch(source, target):
        source, target = np.array(source, "int32"), np.array(target, "int32")
        shifted = np.concatenate([np.full((len(target), 1), 2, "int32"), target[:, :-1]], axis=1)
        return {"source": source, "target": shifted}, target, (target != 0).astype("float32")

    both = [batch([[5, 0], [3, 0]], [[4, 3, 0], [3, 0, 0]]), batch([[7, 0]], [[3, 3]])]
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec([None, None], x.dtype), both[0])
    return tf.data.Dataset.from_generator(lambda: iter(both), output_signature=signature)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_throughput_counts_each_epoch(jit_compile):
    throughput = callbacks.Throughput(interval=0.0)
    history = (
        model_of(jit_compile)
        .fit(batches().apply(throughput.counted()), epochs=2, verbose=0, callbacks=[throughput])
        .history
    )
    # Real: 5 target + 3 source; positions: 8 target + 6 source.
    np.testing.assert_allclose(history["padding"], [1 - 8 / 14] * 2)
    assert all(rate > 0 for rate in history["tokens/s"])


def test_throughput_leaves_the_batches_alone_and_counts_without_weights():
    throughput = callbacks.Throughput()
    for ours, theirs in zip(batches().apply(throughput.counted()), batches(), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)
    assert throughput._read() == [5, 8, 14]
    pairs = batches().map(lambda inputs, labels, weights: (inputs["source"], labels))
    assert len(list(pairs.apply(throughput.counted()))) == 2
    assert throughput._read() == [10, 16, 28]


@pytest.mark.parametrize(
    ("inputs", "labels", "counts"),
    [
        ([[5, 3, 0], [4, 0, 0]], [0, 1], [3, 3, 6]),  # classes of sentences
        ([[[0.5], [0.0]], [[1.0], [1.0]]], [[5, 0, 0], [4, 4, 0]], [3, 3, 6]),  # frames, and what is said in them
        ([[[0.5], [0.0]], [[1.0], [1.0]]], [[0.5], [0.0]], [2, 0, 0]),  # numbers from numbers
    ],
)
def test_throughput_counts_what_there_is(inputs, labels, counts):
    throughput = callbacks.Throughput()
    batch = np.array(inputs), np.array(labels)
    assert len(list(tf.data.Dataset.from_tensors(batch).apply(throughput.counted()))) == 1
    assert throughput._read() == counts
    throughput._before, throughput._start, throughput._batch_ended = [0, 0, 0], 0.0, 0.5
    expected = {"tokens/s": 6.0, "padding": 0.5} if counts[2] else {"examples/s": 4.0}
    assert throughput._measure() == expected


def test_throughput_under_a_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    throughput = callbacks.Throughput()
    with strategy.scope():
        model = model_of()
    history = model.fit(batches().apply(throughput.counted()), verbose=0, callbacks=[throughput]).history
    np.testing.assert_allclose(history["padding"], [1 - 8 / 14])


def test_throughput_on_the_progress_bar(capsys):
    throughput = callbacks.Throughput(interval=0.0)
    model_of().fit(batches().apply(throughput.counted()), verbose=2, callbacks=[throughput])
    assert "tokens/s: " in (printed := capsys.readouterr().out) and "padding: 0.4286" in printed


def test_throughput_without_counts_says_what_to_do():
    with pytest.raises(ValueError, match="counted"):
        model_of().fit(batches(), verbose=0, callbacks=[callbacks.Throughput()])


def test_evaluator_reaches_the_callbacks_after_it():
    seen, count = [], iter(range(9))
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs.get("val_x")))
    evaluator = callbacks.Evaluator({"val_x": lambda: next(count)}, every=2)
    history = model_of().fit(batches(), epochs=5, verbose=0, callbacks=[evaluator, watch]).history
    # After every second epoch, and after the last.
    assert seen == [None, 0.0, None, 1.0, 2.0] and history["val_x"] == [0.0, 1.0, 2.0]


def test_evaluator_takes_one_function_for_several_numbers():
    evaluator, logs = callbacks.Evaluator(lambda: {"val_bleu": np.float32(30), "val_chrf": 50}), {"loss": 1.0}
    evaluator.on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "val_bleu": 30.0, "val_chrf": 50.0}
    with pytest.raises(ValueError, match="val_bleu"):
        evaluator.on_epoch_end(1, logs)
    with pytest.raises(ValueError, match="every"):
        callbacks.Evaluator(dict, every=0)
