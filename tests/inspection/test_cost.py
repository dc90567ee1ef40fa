"""The formulas against formulas that are written here again, and against TensorFlow's own count of products."""

import dataclasses
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("compared with TensorFlow's profiler", allow_module_level=True)

import tensorflow as tf

from keras_seq import layers, models, optimizers
from keras_seq.inspection import cost, formulas, hardware
from keras_seq.inspection.shapes import counted_tokens, example_shapes, symbolic_inputs
from keras_seq.layers import recurrent_tensorflow

B, T, S, D, V = 3, 4, 5, 8, 11
# What TensorFlow's profiler counts as products. It counts the body of a loop once, so loops are unrolled here.
COUNTED = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropInput")


def counted_by_tensorflow(model, shapes):
    """FLOP of the products in the graph of a forward pass, by TensorFlow's profiler."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    kinds = {"int32": tf.int32, "float32": tf.float32}
    given = getattr(model, "inputs", None)
    dtypes = iter([x.dtype for x in given] if given else ["int32"] * 2)
    specs = keras.tree.map_shape_structure(lambda shape: tf.TensorSpec(shape, kinds[next(dtypes)]), shapes)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(specs)
    graph = convert_variables_to_constants_v2(function, lower_control_flow=False).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    found = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    counts = {}

    def collect(node):
        for child in node.children:
            counts[child.name] = child.float_ops
            collect(child)

    collect(found)
    return sum(count for name, count in counts.items() if name in COUNTED)


UNROLLED = {"cell_options": {"unroll": True}}


def sequential(*parts, shape=(T, D)):
    return keras.Sequential([keras.Input(shape), *parts])


# A forward pass of one model for each kind of layer and each builder.
MODELS = {
    "dense": (lambda: sequential(keras.layers.Dense(7)), (B, T, D)),
    "convolution": (
        lambda: sequential(
            keras.layers.Conv2D(4, 3, strides=2),
            keras.layers.Conv2DTranspose(2, 3, strides=2, padding="same"),
            shape=(9, 9, 2),
        ),
        (B, 9, 9, 2),
    ),
    "keras lstm": (lambda: sequential(keras.layers.LSTM(7, unroll=True, return_sequences=True)), (B, T, D)),
    "gru": (lambda: sequential(layers.GRU(7, unroll=True)), (B, T, D)),
    "simple rnn": (lambda: sequential(layers.SimpleRNN(7, unroll=True)), (B, T, D)),
    "custom cell": (lambda: sequential(keras.layers.RNN(keras.layers.LSTMCell(7), unroll=True)), (B, T, D)),
    "bidirectional": (
        lambda: sequential(keras.layers.Bidirectional(keras.layers.GRU(7, unroll=True, reset_after=False))),
        (B, T, D),
    ),
    "mingru": (lambda: sequential(layers.MinGRU(7)), (B, T, D)),
    "convlstm": (lambda: sequential(layers.ConvLSTM2D(3, 3, unroll=True), shape=(T, 8, 8, 2)), (B, T, 8, 8, 2)),
    "distributed": (lambda: sequential(keras.layers.TimeDistributed(keras.layers.Dense(4))), (B, T, D)),
    "classifier": (lambda: models.classifier(V, 3, units=D, architecture="mingru"), (B, T)),
    "cnn": (lambda: models.classifier(V, 3, units=D, architecture="cnn"), (B, T)),
    "tagger": (
        lambda: models.tagger(V, 4, units=D, architecture="transformer", characters="cnn", character_vocabulary_size=9),
        {"words": (B, T), "characters": (B, T, 4)},
    ),
    "n-grams": (lambda: models.tagger(V, 4, units=D, architecture="mingru", word_ngrams=2), (B, T)),
    "seq2seq": (
        lambda: models.Seq2Seq(V, units=D, num_layers=1, attention="additive", bridge="dense", **UNROLLED),
        {"source": (B, S), "target": (B, T)},
    ),
    "general": (
        lambda: models.Seq2Seq(V, units=D, num_layers=1, attention="general", cell="gru", **UNROLLED),
        {"source": (B, S), "target": (B, T)},
    ),
    "transformer": (
        lambda: models.Transformer(V, 13, units=D, num_heads=4, num_layers=1, num_key_value_heads=2),
        {"source": (B, S), "target": (B, T)},
    ),
    "language model": (
        lambda: models.LanguageModel(V, layers.TransformerStack(D, 2, num_layers=1, positions="alibi")),
        (B, T),
    ),
    "forecaster": (lambda: models.forecaster(2, 24, 4, units=D, num_layers=1, num_heads=2, patch_length=8), (B, 24, 2)),
    "linear": (lambda: models.forecaster(2, 24, 4, architecture="dlinear"), (B, 24, 2)),
    "recognizer": (
        lambda: models.recognizer(5, architecture="feedforward", units=D, front_end=models.audio_front_end(D)),
        (B, 1600),
    ),
    "video": (lambda: models.video_classifier((8, 8, 1), 3, architecture="transformer", units=D), (B, 3, 8, 8, 1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_products_are_what_tensorflow_counts(name):
    make, shapes = MODELS[name]
    model = make()
    found = cost.cost(model, shapes)
    assert found.parameters == model.count_params()
    assert not found.unknown
    counted = counted_by_tensorflow(model, shapes)
    assert sum(row.products for row in found.rows) == pytest.approx(counted, rel=1e-6)
    assert counted > 0


def test_what_the_profiler_cannot_count_by_a_formula_written_here():
    """The profiler counts the body of a loop once. An unrolled layer and a looped one do the same work."""
    d, h = D, 7
    for make, gates in ((layers.LSTM, 4), (layers.GRU, 3), (layers.SimpleRNN, 1), (keras.layers.LSTM, 4)):
        (row,) = cost.cost(sequential(make(h)), (B, T, d)).rows
        assert row.products == sum(2 * B * d * gates * h + 2 * B * h * gates * h for _ in range(T))
        assert row.steps == T
    assert cost.cost(models.Transformer(V, units=D, num_layers=1), {"source": (B, S), "target": (B, T)}).steps == 0
    model = models.Seq2Seq(V, units=D, num_layers=1, attention="location")
    found = {row.path: row for row in cost.cost(model, {"source": (B, S), "target": (B, T)}).rows}
    filters, kernel = model.attention.filters, model.attention.kernel_size
    step = 2 * B * D * D + 2 * B * S * (kernel * filters + filters * D + D) + 2 * B * S * D
    assert found["attention"].products == T * step + 2 * B * S * D * D  # and the projection of the memory


@pytest.mark.parametrize("gates, name", [(4, "lstm"), (3, "gru")])
def test_a_decoder_that_runs_step_by_step_counts_every_step(gates, name):
    model = models.forecaster(
        1, 12, 6, architecture=name, decoder="autoregressive", units=D, num_layers=1, patch_length=1
    )
    found = cost.cost(model, (B, 12, 1))
    rows = {row.path: row for row in found.rows}
    assert not found.unknown
    inputs = model.get_layer("decoder").stack.forward_layers[0].cell.kernel.shape[0]
    assert rows["decoder/stack/forward_0"].products == 6 * 2 * B * gates * D * (inputs + D)
    assert rows["decoder/dense"].products == 6 * 2 * B * D * 1
    assert rows["decoder/dense"].calls == 6


def test_attention_of_keras_by_a_formula_written_here():
    """The profiler does not count Einsum."""
    x, H, k = keras.Input((T, D)), 2, 3
    for layer in (
        keras.layers.MultiHeadAttention(H, k),
        keras.layers.GroupQueryAttention(k, H, H),
    ):
        found = cost.cost(keras.Model(x, layer(x, x)), (B, T, D))
        assert not found.unknown and found.parameters == 4 * D * H * k + 3 * H * k + D
        projections, products = 4 * 2 * B * T * D * H * k, 2 * 2 * B * H * T * T * k
        assert sum(row.products for row in found.rows) == projections + products
    found = cost.cost(keras.Model(x, keras.layers.Attention()([x, x])), (B, T, D))
    assert sum(row.products for row in found.rows) == 2 * 2 * B * T * T * D
    found = cost.cost(keras.Model(x, keras.layers.AdditiveAttention()([x, x])), (B, T, D))
    assert sum(row.products for row in found.rows) == 2 * B * T * T * D  # its score has no product


@pytest.mark.parametrize("name", ["custom cell", "convlstm", "classifier", "tagger", "transformer", "forecaster"])
def test_arrays_and_shapes_cost_the_same(name):
    make, shapes = MODELS[name]
    model = make()
    batch = keras.tree.map_shape_structure(
        lambda shape: np.ones(shape, "float32" if len(shape) > 3 else "int32"), shapes
    )
    if name in ("custom cell", "forecaster"):
        batch = batch.astype("float32")
    found, other = cost.cost(model, batch), cost.cost(model, shapes)
    assert [dataclasses.replace(row, real=None) for row in found.rows] == list(other.rows)
    assert found.tokens == other.tokens


def test_parameters_by_the_closed_formulas():
    d, h = 5, 7
    formulas = {
        layers.LSTM: 4 * (d * h + h * h + h),
        layers.GRU: 3 * (d * h + h * h + 2 * h),
        layers.SimpleRNN: d * h + h * h + h,
    }
    for make, count in formulas.items():
        (row,) = cost.cost(sequential(make(h), shape=(T, d)), (B, T, d)).rows
        assert row.parameters == count


def test_a_training_step_is_three_times_the_products_and_two_times_if_frozen():
    model = sequential(keras.layers.Dense(7), keras.layers.Dense(4))
    found = cost.cost(model, (B, T, D))
    assert [row.training_products for row in found.rows] == [3 * 2 * B * T * D * 7, 3 * 2 * B * T * 7 * 4]
    model.layers[0].trainable = False
    assert cost.cost(model, (B, T, D)).rows[0].training_products == 2 * 2 * B * T * D * 7
    # The products of an attention have no weights, and two gradients.
    (row, *_) = cost.cost(models.Transformer(V, units=D, num_layers=1), {"source": (B, S), "target": (B, T)}).rows
    assert row.training_products == 3 * row.products > 0


def test_the_gradient_has_the_products_that_tensorflow_computes():
    """Dense layers, the first of which gets no gradient of its input: TensorFlow leaves that product out."""
    model = sequential(keras.layers.Dense(7), keras.layers.Dense(4), shape=(D,))
    found = cost.cost(model, (B, D))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2)
        return tape.gradient(loss, [w.value for w in model.trainable_variables])

    graph = step.get_concrete_function(tf.TensorSpec((B, D))).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    nodes = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    while nodes.name != "MatMul":
        nodes = nodes.children[0]
    first = 2 * B * D * 7
    assert sum(row.training_products for row in found.rows) == nodes.float_ops + first


def test_scheduled_sampling_decodes_twice_in_training():
    def found(**options):
        model = models.Seq2Seq(V, units=D, num_layers=1, attention=None, **options)
        return cost.cost(model, {"source": (B, S), "target": (B, T)})

    plain, sampled = found(), found(scheduled_sampling=0.5)
    assert sampled.flop == plain.flop
    rows = {row.path: row for row in plain.rows}
    decoder = sum(rows[path].products for path in ("decoder_bottom/forward_0", "target_embedding"))
    twice = {row.path: row.training_products for row in sampled.rows}
    assert sum(twice.values()) == sum(row.training_products for row in plain.rows) + decoder
    assert twice["encoder/forward_0"] == rows["encoder/forward_0"].training_products


def test_padding_is_counted_by_layer():
    source, target = np.ones((2, 4), "int32"), np.ones((2, 4), "int32")
    source[0, 1:], target[1, 2:] = 0, 0  # 5 and 6 real tokens of 8
    model = models.Seq2Seq(V, units=D, num_layers=1)
    found = cost.cost(model, {"source": source, "target": target})
    rows = {row.path: row for row in found.rows}
    assert rows["encoder/forward_0"].real == 5 / 8
    assert rows["decoder_bottom/forward_0"].real == 6 / 8
    assert rows["attention"].real == (4 * 1 + 2 * 4) / 32  # pairs of real tokens
    assert (found.tokens, found.unit) == (6, "token")
    assert 1 / 4 < found.padded < 3 / 8 + 0.1
    shapes = cost.cost(model, {"source": (2, 4), "target": (2, 4)})
    assert shapes.padded is None and shapes.flop == found.flop and shapes.tokens == 8


def test_a_causal_mask_wastes_half_of_the_pairs():
    model = models.LanguageModel(V, layers.TransformerStack(D, num_heads=2, num_layers=1))
    rows = {row.path: row for row in cost.cost(model, np.ones((2, 6), "int32")).rows}
    (pairs,) = [row.real for path, row in rows.items() if path.endswith("self_attention")]
    assert pairs == pytest.approx((6 * 7 / 2) / 36)
    assert rows["embedding"].real == 1


def test_a_layer_without_a_formula_is_named():
    class Strange(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight((shape[-1], 3))

        def call(self, x):
            return keras.ops.matmul(x, self.kernel)

    class Own(layers.LSTM):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            return super().call(sequences, initial_state, mask, training) * 2

    inputs = keras.Input((T, D))
    model = keras.Model(
        inputs, keras.ops.einsum("btd,bsd->bts", Strange(name="odd")(inputs), keras.layers.Dense(3)(inputs))
    )
    found = cost.cost(model, (B, T, D))
    assert found.unknown == ("odd (Strange)", "einsum (Einsum)")
    assert "unknown" in cost.shown(found) and "odd (Strange)" in cost.shown(found)
    assert found.parameters == model.count_params()
    assert cost.cost(sequential(Own(4, name="own")), (B, T, D)).unknown == ("own (Own)",)


def test_a_cell_of_ones_own_is_named_and_its_layers_run_at_every_step():
    class Own(keras.layers.Layer):
        state_size = 6

        def __init__(self):
            super().__init__(name="own")
            self.dense = keras.layers.Dense(6, use_bias=False, name="dense")

        def build(self, shape):
            self.dense.build((None, shape[-1] + 6))

        def call(self, x, states):
            h = self.dense(keras.ops.concatenate([x, states[0]], axis=-1))
            return h, [h]

    found = cost.cost(sequential(keras.layers.RNN(Own(), name="loop")), (B, T, D))
    assert found.unknown == ("loop/own (Own)",)
    (dense,) = [row for row in found.rows if row.path == "loop/own/dense"]
    assert (dense.products, dense.calls) == (T * 2 * B * (D + 6) * 6, T)


def test_an_operation_of_a_functional_model_is_counted():
    inputs = keras.Input((T, D))
    model = keras.Model(inputs, keras.ops.matmul(inputs, keras.ops.transpose(inputs, (0, 2, 1))))
    found = cost.cost(model, (B, T, D))
    assert found.flop == 2 * B * T * T * D and not found.unknown


def test_bytes_and_memory():
    model = sequential(keras.layers.Dense(7, use_bias=False))
    (row,) = cost.cost(model, (B, T, D)).rows
    assert (row.read, row.written) == (4 * (B * T * D + D * 7), 4 * B * T * 7)
    assert row.activations == 4 * B * T * 7
    # Weights, gradients, and the two averages of Adam.
    assert cost.cost(model, (B, T, D)).memory == 4 * 4 * D * 7
    assert cost.cost(model, (B, T, D), optimizer="SGD").memory == 2 * 4 * D * 7
    model.compile(optimizers.Adam(), "mse")
    assert cost.cost(model, (B, T, D)).optimizer.bytes == 7 * 4 * D * 7
    model.compile("rmsprop", "mse")
    assert cost.cost(model, (B, T, D)).optimizer.bytes == 5 * 4 * D * 7
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    assert cost.cost(model, (B, T, D)).memory == 3 * 4 * D * 7
    model.compile("lion", "mse")
    assert cost.cost(model, (B, T, D)).unknown == ("update (Lion)",)
    # An embedding reads the rows of its ids alone.
    (ids, *_) = cost.cost(models.classifier(1000, 3, architecture="feedforward", units=D), (B, T)).rows
    assert (ids.path, ids.read) == ("embedding", 4 * B * T + 4 * B * T * D)


def test_what_our_loop_keeps_is_what_its_steps_say():
    """The values of each step, and the state before it."""
    for cell, step in (
        (formulas.LSTM, recurrent_tensorflow.LSTMStep),
        (formulas.GRU, recurrent_tensorflow.GRUStep),
        (formulas.SIMPLE_RNN, recurrent_tensorflow.SimpleRNNStep),
    ):
        assert cell.saved == step.num_saved + 1


def kept_by_tensorflow(model, specs):
    """Bytes of the activations that the gradient function of a graph receives from the forward one."""
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(specs)
    forward, _ = function._delayed_rewrite_functions.forward_backward()
    shapes = [(tuple(x.shape), x.dtype.size) for x in forward.function_type.flat_outputs]
    for weight in model.trainable_weights:  # a product keeps its weights too
        if (tuple(weight.shape), 4) in shapes:
            shapes.remove((tuple(weight.shape), 4))
    return sum(int(np.prod(shape)) * size for shape, size in shapes)


def test_what_is_kept_for_the_gradient_is_what_tensorflow_keeps():
    model = sequential(keras.layers.Dense(32, "relu"), keras.layers.Dense(4), shape=(16,))
    kept = kept_by_tensorflow(model, tf.TensorSpec((B, 16)))
    assert kept == cost.cost(model, (B, 16)).activations + 4 * B * 16  # the input is not an activation
    # TensorFlow keeps more of a normalization than its output, and masks.
    model = models.Transformer(100, units=32, num_layers=1, num_heads=4)
    specs = {name: tf.TensorSpec((8, 10), tf.int32) for name in ("source", "target")}
    found = cost.cost(model, {"source": (8, 10), "target": (8, 10)}).activations
    assert 0.75 < found / kept_by_tensorflow(model, specs) < 1


@pytest.mark.parametrize("name", MODELS)
def test_example_shapes_fit_the_model(name):
    model = MODELS[name][0]()
    shapes = example_shapes(model, batch_size=2, length=4)
    sizes = {shape[0] for shape in (shapes.values() if isinstance(shapes, dict) else [shapes])}
    assert sizes == {2}
    if name in ("recognizer", "forecaster", "tagger"):  # the others are cheap to trust
        assert cost.cost(model, shapes).flop > 0
    with pytest.raises(ValueError, match="must be positive. Received: 2, 0"):
        example_shapes(model, 2, 0)


def test_half_precision_halves_the_bytes_of_the_activations():
    rows = [
        cost.cost(sequential(keras.layers.Dense(7, use_bias=False, dtype=policy)), (B, T, D)).rows[-1]
        for policy in ("float32", "mixed_bfloat16")
    ]
    assert rows[1].written * 2 == rows[0].written


def test_a_call_leaves_the_model_as_it_was():
    model = models.LanguageModel(V, layers.RecurrentStack("lstm", D), streams=2)
    before = [np.array(w) for w in model.weights]
    batch = {"tokens": np.ones((2, 4), "int32"), "starts": np.array([True, False])}
    cost.cost(model, batch)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, np.array(new))
    assert not any("call" in layer.__dict__ for layer in model._flatten_layers())


def test_errors_name_the_value():
    model = sequential(keras.layers.Dense(7))
    with pytest.raises(ValueError, match=rf"each axis a size. Received: \(None, {T}, {D}\)"):
        cost.cost(model, (None, T, D))
    with pytest.raises(ValueError, match="one of .'Adam', 'AdamW'.*Received: 'Lion'"):
        cost.cost(model, (B, T, D), optimizer="Lion")
    with pytest.raises(ValueError, match="must be built"):
        cost.cost(keras.Sequential([keras.layers.Dense(7)]), (B, T, D))


def test_groups_add_up():
    found = cost.cost(models.Transformer(V, units=D, num_layers=2), {"source": (B, S), "target": (B, T)})
    group = cost.grouped(found)
    assert {row.path for row in group.rows} >= {"encoder_0", "encoder_1", "decoder_1", "target_embedding"}
    assert len(group.rows) < 12 < len(found.rows)
    for name in ("parameters", "flop", "training_flop", "bytes", "activations"):
        assert getattr(group, name) == getattr(found, name)


def test_groups_have_at_least_one_part_of_a_path():
    with pytest.raises(ValueError, match="^`depth` must be positive. Received: 0$"):
        cost.grouped(cost.Cost("m", (), cost.Row("update", "Adam"), B * T, "step", 0, ()), depth=0)


def test_the_share_of_padding_is_in_the_summary():
    made = cost.cost(sequential(keras.layers.Dense(7)), (B, T, D))
    line = "25.0% of the FLOP are spent on padding and on masked pairs."
    assert line not in cost.summary(made)
    padded = dataclasses.replace(made, rows=tuple(dataclasses.replace(row, real=0.75) for row in made.rows))
    assert line in cost.summary(padded)


def test_inputs_of_several_shapes_are_those_of_the_model_in_order():
    first, second = keras.Input((None, 2), name="first"), keras.Input((None,), dtype="int32", name="second")
    model = keras.Model([first, second], [first, second])
    made = symbolic_inputs(model, [(B, T, 2), (B, S)])
    assert [(each.shape, each.dtype) for each in made] == [((B, T, 2), "float32"), ((B, S), "int32")]
    assert counted_tokens(model, [], [(B, T, 2), (B, S)]) == (B * T, "step")
    assert counted_tokens(model, [], [(B, S), (B, T)]) == (B * S, "sample")


def test_a_model_without_a_list_of_inputs_needs_their_shapes():
    with pytest.raises(ValueError, match="^The inputs of a Layer are unknown. Pass their shapes as `batch`.$"):
        example_shapes(keras.layers.Layer())


def test_viterbi_looks_at_each_number_in_turn():
    call = types.SimpleNamespace(x=np.zeros((B, T, V)))
    assert formulas.viterbi(call) == formulas.Work(elementwise=2 * B * T * V, moved=B * T * V, steps=T)


def test_the_time_on_hardware_is_the_larger_of_two_quotients():
    found = cost.cost(sequential(keras.layers.Dense(7)), (B, T, D))
    slow_memory = hardware.Hardware("a", {"float32": 1e30}, 10.0, efficiency=0.5)
    slow_arithmetic = hardware.Hardware("b", {"float32": 10.0}, 1e30, efficiency=1.0)
    assert hardware.expected_seconds(found, slow_memory) == pytest.approx(found.bytes / 10 / 0.5)
    assert hardware.expected_seconds(found, slow_arithmetic) == pytest.approx(found.flop / 10)
    assert hardware.tokens_per_second(found, slow_arithmetic) == pytest.approx(B * T * 10 / found.flop)
    trained = hardware.expected_seconds(found, slow_arithmetic, training=True)
    assert trained == pytest.approx(found.training_flop / 10)
    for name, device in hardware.HARDWARE.items():
        assert device.source and hardware.tokens_per_second(found, name) > 0
    with pytest.raises(ValueError, match="one of .*Received: 'abacus'"):
        hardware.tokens_per_second(found, "abacus")
    with pytest.raises(ValueError, match="one of .'float32'.*Received: 'float64'"):
        hardware.tokens_per_second(found, "epyc core", dtype="float64")
    with pytest.raises(ValueError, match="must be positive"):
        dataclasses.replace(slow_memory, bandwidth=0)
