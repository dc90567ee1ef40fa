"""Each reason has a case, and each claim is checked against the kernel that really runs."""

import importlib

import keras
import numpy as np
import pytest
from keras.src.trainers import trainer

if keras.backend.backend() != "tensorflow":
    pytest.skip("the kernels are those of TensorFlow", allow_module_level=True)

from keras_seq import layers, losses, models, optimizers
from keras_seq.inspection import fast_path
from keras_seq.layers import parallel_recurrent, recurrent_tensorflow

keras_rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
T, D = 4, 3
X = np.ones((2, T, D), "float32")


def of(*parts):
    """The kernels of a sequential model of these layers, and the model."""
    model = keras.Sequential([keras.Input((T, D)), *parts])
    return fast_path.explain_fast_path(model), model


@pytest.fixture
def ran(monkeypatch):
    """The kernels that ran, by name."""
    found = []

    def watched(owner, name, kernel, run=True):
        original = getattr(owner, name)

        def replacement(*args, **kwargs):
            found.append(kernel)
            if not run:  # there is no GPU here
                raise NotImplementedError
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, replacement)

    watched(recurrent_tensorflow, "loop", fast_path.FAST_LOOP)
    watched(recurrent_tensorflow, "linear_scan", fast_path.STEPWISE_SCAN)
    watched(parallel_recurrent, "parallel_scan", fast_path.PARALLEL_SCAN)
    watched(keras_rnn, "_cudnn_lstm", fast_path.CUDNN, run=False)
    watched(keras_rnn, "_cudnn_gru", fast_path.CUDNN, run=False)
    watched(keras.layers.RNN, "inner_loop", fast_path.KERAS_LOOP)
    return found


@pytest.fixture
def on_a_gpu(monkeypatch):
    monkeypatch.setattr(recurrent_tensorflow, "available", lambda: False)
    monkeypatch.setattr(keras_rnn, "_is_gpu_available", lambda: True)


def tanh(x):
    return keras.ops.tanh(x)


# (layer, options, the obstacles on a CPU, those on a GPU)
CASES = [
    ("LSTM", {}, [], []),
    ("GRU", {}, [], []),
    ("SimpleRNN", {}, [], None),
    ("LSTM", {"dropout": 0.2}, [], []),
    ("LSTM", {"go_backwards": True, "return_sequences": True}, [], []),
    ("LSTM", {"dtype": "mixed_float16"}, [], []),
    ("GRU", {"dtype": "mixed_bfloat16"}, [], []),
    ("LSTM", {"unroll": True}, ["unroll=True"], ["unroll=True"]),
    ("GRU", {"recurrent_dropout": 0.2}, [], ["recurrent_dropout=0.2"]),
    ("LSTM", {"dropout": 0.2, "recurrent_dropout": 0.5}, ["dropout=0.2"], ["recurrent_dropout=0.5"]),
    ("LSTM", {"zero_output_for_mask": True}, ["zero_output_for_mask=True"], []),
    ("LSTM", {"implementation": 1}, ["implementation=1"], []),
    ("LSTM", {"use_cudnn": False}, [], ["use_cudnn=False"]),
    ("LSTM", {"use_bias": False}, [], ["use_bias=False"]),
    ("GRU", {"reset_after": False}, ["reset_after=False"], ["reset_after=False"]),
    ("LSTM", {"activation": "relu"}, ["activation=relu"], ["activation=relu"]),
    ("GRU", {"recurrent_activation": "relu"}, ["recurrent_activation=relu"], ["recurrent_activation=relu"]),
    ("GRU", {"activation": tanh}, [f"activation={__name__}.tanh"], [f"activation={__name__}.tanh"]),
    ("SimpleRNN", {"activation": "relu"}, [], None),
    ("SimpleRNN", {"activation": "gelu"}, ["activation=gelu"], None),
    (
        "LSTM",
        {"unroll": True, "recurrent_dropout": 0.5, "activation": "relu"},
        ["unroll=True", "activation=relu"],
        ["recurrent_dropout=0.5", "unroll=True", "activation=relu"],
    ),
]


@pytest.mark.parametrize("name, options, cpu, gpu", CASES)
def test_the_loop_on_a_cpu(name, options, cpu, gpu, ran):
    (kernel,), model = of(getattr(layers, name)(5, **options))
    assert [reason.cause for reason in kernel.reasons if reason.device == "CPU"] == cpu
    assert kernel.cpu == kernel.here == (fast_path.KERAS_LOOP if cpu else fast_path.FAST_LOOP)
    ran.clear()
    model(X, training=True)
    assert [each for each in ran if each != fast_path.CUDNN] == [kernel.cpu]


@pytest.mark.parametrize("name, options, cpu, gpu", CASES)
def test_the_loop_on_a_gpu(name, options, cpu, gpu, ran, on_a_gpu):
    (kernel,), model = of(getattr(layers, name)(5, **options))
    causes = [reason.cause for reason in kernel.reasons if reason.device == "GPU"]
    assert causes == (["Keras has no cuDNN kernel for a SimpleRNN"] if gpu is None else gpu)
    assert kernel.gpu == kernel.here == (fast_path.CUDNN if gpu == [] else fast_path.KERAS_LOOP)
    ran.clear()
    model(X, training=True)
    assert (fast_path.CUDNN in ran) == (kernel.gpu == fast_path.CUDNN)
    assert fast_path.FAST_LOOP not in ran


def test_a_remedy_is_one():
    """The value that a reason names, in place of the one that it blames, gives the fast loop."""
    words = {"True": True, "False": False, "0": 0, "2": 2}
    for name, options, cpu, _ in CASES:
        (kernel,), _ = of(getattr(layers, name)(5, **options))
        for reason in kernel.reasons:
            if reason.device == "CPU":
                option, value = reason.remedy.split("=")
                options = {**options, option: words.get(value, value.split(" or ")[0])}
        (kernel,), _ = of(getattr(layers, name)(5, **options))
        assert kernel.cpu == fast_path.FAST_LOOP, (cpu, options)


@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM"])
def test_layers_of_keras_have_keras_loop(name, ran):
    (kernel,), model = of(getattr(keras.layers, name)(5))
    assert kernel.cpu == fast_path.KERAS_LOOP
    (reason,) = [each for each in kernel.reasons if each.device == "CPU"]
    assert reason.remedy == "layers.with_fast_recurrent_layers(model)"
    ran.clear()
    model(X)
    assert fast_path.FAST_LOOP not in ran
    (kernel,) = fast_path.explain_fast_path(layers.with_fast_recurrent_layers(model))
    assert kernel.cpu == fast_path.FAST_LOOP
    # A layer of Keras with an option that ours does not support would stay slow.
    (kernel,), _ = of(getattr(keras.layers, name)(5, unroll=True))
    assert "unroll=True" in [each.cause for each in kernel.reasons if each.device == "CPU"]


def test_layers_of_ones_own(ran):
    class OfKeras(keras.layers.GRU):
        def __init__(self, units, more=1, **kwargs):
            super().__init__(units, **kwargs)

    class Ours(layers.LSTM):
        pass

    class Changed(layers.LSTM):
        def inner_loop(self, sequences, initial_state, mask, training=False):
            return keras.layers.LSTM.inner_loop(self, sequences, initial_state, mask, training)

    for make, kernel, cause in (
        (OfKeras, fast_path.KERAS_LOOP, "OfKeras is derived from keras.layers.GRU"),
        (Ours, fast_path.FAST_LOOP, None),
        (Changed, fast_path.KERAS_LOOP, "Changed overrides `inner_loop`"),
    ):
        (found,), model = of(make(5))
        assert found.cpu == kernel
        assert [each.cause for each in found.reasons] == ([cause] if cause else [])
        ran.clear()
        model(X)
        assert (fast_path.FAST_LOOP in ran) == (kernel == fast_path.FAST_LOOP)


def test_cudnn_that_is_demanded_is_an_error_without_a_gpu():
    layer = layers.LSTM(5, use_cudnn=True)
    layer.build((None, T, D))
    with pytest.raises(ValueError, match="use_cudnn=True was specified"):
        layer(X)
    kernel = fast_path._kernel("lstm", layer, None)
    assert kernel.cpu == "Keras's loop, with an error" and kernel.gpu == fast_path.CUDNN
    assert [str(each) for each in kernel.reasons] == ["CPU: use_cudnn=True (remedy: use_cudnn=auto)"]


@pytest.mark.parametrize(
    "mask, cause",
    [
        ([[1, 1, 0, 0], [1, 1, 1, 1]], None),
        ([[0, 0, 1, 1], [1, 1, 1, 1]], "the mask is not right-padded"),
        ([[1, 0, 1, 1], [1, 1, 1, 1]], "the mask is not right-padded"),
        ([[0, 0, 0, 0], [1, 1, 1, 1]], "the mask has a row without a real step"),
    ],
)
def test_masks_that_cudnn_refuses(mask, cause):
    mask = np.array(mask, "bool")
    x = X * mask[:, :, None]
    model = keras.Sequential([keras.Input((T, D)), keras.layers.Masking(), layers.LSTM(5)])
    (kernel,) = fast_path.explain_fast_path(model, x)
    assert [each.cause for each in kernel.reasons] == ([cause] if cause else [])
    assert kernel.gpu == ("cuDNN, with an error" if cause else fast_path.CUDNN)
    # Keras asserts the same before it calls cuDNN.
    refused = False
    try:
        keras_rnn._assert_valid_mask(mask)
    except Exception as error:  # of TensorFlow
        refused = "right-padded" in str(error)
    assert refused == bool(cause)


@pytest.mark.parametrize("name", ["MinGRU", "MinLSTM", "RGLRU"])
def test_scans(name, ran, monkeypatch):
    (kernel,), model = of(getattr(layers, name)(5))
    model(X)
    assert kernel.here == kernel.cpu == ran[-1] == fast_path.STEPWISE_SCAN
    monkeypatch.setattr(recurrent_tensorflow, "available", lambda: False)
    (kernel,) = fast_path.explain_fast_path(model)
    model(X)
    assert kernel.here == kernel.gpu == ran[-1] == fast_path.PARALLEL_SCAN


def test_cells_and_wrappers(ran):
    (custom,), model = of(keras.layers.RNN(keras.layers.GRUCell(5)))
    assert custom.here == fast_path.KERAS_LOOP
    assert custom.reasons[0].cause == "cell=GRUCell has no kernel of its own"
    assert custom.reasons[0].remedy == "keras_seq.layers.GRU"
    ran.clear()
    model(X)
    assert ran == [fast_path.KERAS_LOOP]
    kernels, model = of(keras.layers.Bidirectional(layers.LSTM(5, activation="relu")))
    assert [each.layer for each in kernels] == ["Bidirectional", "LSTM", "LSTM"]
    assert {each.here for each in kernels} == {fast_path.KERAS_LOOP}
    model = keras.Sequential([keras.Input((T, 4, 4, 1)), layers.ConvLSTM2D(2, 3)])
    (kernel,) = fast_path.explain_fast_path(model)
    assert kernel.here == kernel.gpu == fast_path.KERAS_LOOP


def test_attention():
    kernels = fast_path.explain_fast_path(models.Transformer(9, units=4, num_heads=2, num_layers=1))
    assert [each.here for each in kernels] == [fast_path.PRODUCTS] * 3
    assert "no flash attention on TensorFlow" in kernels[0].reasons[0].cause
    heads = np.ones((1, 4, 2, 8), "float32")
    with pytest.raises(ValueError, match="not supported in tensorflow"):  # so the cause is true
        keras.ops.dot_product_attention(heads, heads, heads, flash_attention=True)
    model = models.Seq2Seq(9, units=4, num_layers=1, attention="location")
    assert fast_path.STEPWISE in [each.here for each in fast_path.explain_fast_path(model)]


def compiled(**options):
    model = keras.Sequential([keras.Input((T, D)), layers.MinGRU(5, return_sequences=True), keras.layers.Dense(4)])
    model.compile(**{"loss": losses.TokenCrossentropy(), "optimizer": optimizers.Adam(), **options})
    return model, {each.path: each for each in fast_path.explain_fast_path(model)}


@pytest.mark.parametrize(
    "optimizer, kernel, cause",
    [
        (lambda: optimizers.Adam(), fast_path.ONE_KERNEL, None),
        (lambda: optimizers.AdamW(), fast_path.ONE_KERNEL, None),
        (lambda: keras.optimizers.LossScaleOptimizer(optimizers.Adam()), fast_path.ONE_KERNEL, None),
        (lambda: optimizers.Adam(amsgrad=True), fast_path.KERAS_UPDATE, "amsgrad=True"),
        (lambda: keras.optimizers.Adam(), fast_path.KERAS_UPDATE, "keras.optimizers.Adam has some forty operations"),
    ],
)
def test_the_update_of_a_weight(optimizer, kernel, cause, monkeypatch):
    model, kernels = compiled(optimizer=optimizer(), run_eagerly=True)
    found = kernels["optimizer"]
    assert found.here == kernel
    assert cause is None or cause in str(found.reasons[0])
    updates, original = [], keras.optimizers.Adam.update_step
    monkeypatch.setattr(keras.optimizers.Adam, "update_step", lambda *args: updates.append(1) or original(*args))
    model.train_on_batch(X, np.ones((2, T), "int32"))
    assert bool(updates) == (kernel == fast_path.KERAS_UPDATE)


def test_the_loss():
    assert compiled()[1]["loss"].here == fast_path.SOFTMAX
    keras_loss = keras.losses.SparseCategoricalCrossentropy
    found = compiled(loss=keras_loss(from_logits=True))[1]["loss"]
    assert found.here == fast_path.KERAS_LOSS and len(found.reasons) == 1
    found = compiled(loss="sparse_categorical_crossentropy")[1]["loss"]
    assert [each.cause for each in found.reasons][1] == "from_logits=False"
    assert "loss" not in compiled(loss="mse")[1]


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_program(deterministic, monkeypatch, request):
    # conftest.py switches XLA off for tests.
    (conftest,) = [each for each in request.config.pluginmanager.get_plugins() if hasattr(each, "SUPPORTS_JIT")]
    monkeypatch.setattr(trainer, "model_supports_jit", request.config.stash[conftest.SUPPORTS_JIT])
    config = importlib.import_module("tensorflow.python.framework.config")
    monkeypatch.setattr(config, "is_op_determinism_enabled", lambda: deterministic)
    model, kernels = compiled()
    assert model.jit_compile is False
    assert kernels["training step"].cpu == fast_path.TENSORFLOW
    if deterministic:
        assert kernels["training step"].gpu == fast_path.TENSORFLOW
        assert "XLA is not deterministic" in kernels["training step"].reasons[0].cause
        return
    assert kernels["training step"].gpu == fast_path.XLA
    model, kernels = compiled(jit_compile=True)
    assert model.jit_compile is True and kernels["training step"].cpu == fast_path.XLA
    model = models.Seq2Seq(9, units=4, num_layers=1)
    model.compile("adam", losses.TokenCrossentropy())
    (*_, found) = fast_path.explain_fast_path(model)
    assert found.gpu == fast_path.TENSORFLOW and "XLA does not support cuDNN" in found.reasons[0].cause


def test_keras_switches_xla_off_where_cudnn_runs(on_a_gpu):
    """Which is the claim about a GPU above."""
    assert layers.LSTM(4).supports_jit is False
    assert layers.LSTM(4, use_cudnn=False).supports_jit is True


def test_a_model_that_is_not_built_is_refused():
    reason = "^`model` must be built, so that its options are final. Received: 'later', not built$"
    with pytest.raises(ValueError, match=reason):
        fast_path.explain_fast_path(keras.Sequential([keras.layers.Dense(2)], name="later"))


def test_other_losses_and_optimizers_have_no_choice_of_a_kernel():
    _, model = of(keras.layers.Dense(2))
    model.compile("sgd", "mse")
    assert [kernel.path for kernel in fast_path.explain_fast_path(model)] == ["training step"]


def test_layers_that_xla_does_not_support_are_named():
    class Plain(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_jit = False

        def call(self, x):
            return x

    _, model = of(Plain(), Plain())
    model.compile("sgd", "mse", jit_compile=False)
    (kernel,) = fast_path.explain_fast_path(model)
    assert str(kernel.reasons[0]) == "XLA does not support Plain (remedy: a model without it)"


def test_flash_attention_on_another_backend(monkeypatch):
    of_keras = keras.layers.MultiHeadAttention(1, 2)
    assert fast_path._without_flash(of_keras).cause == "Keras has no flash attention on TensorFlow"
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert str(fast_path._without_flash(of_keras)) == (
        "GPU: flash_attention=None (remedy: keras.config.enable_flash_attention())"
    )
    ours = fast_path._without_flash(keras.layers.Dense(2))
    assert ours.cause == "Dense of keras_seq computes its weights"
    assert ours.remedy == "keras.layers.MultiHeadAttention, keras.config.enable_flash_attention()"


def test_the_limits_of_our_loop_are_named():
    import tensorflow as tf

    (kernel,), model = of(layers.GRU(5))
    assert "second-order gradients are refused" in kernel.limits[0]
    x = tf.constant(X)
    with pytest.raises(NotImplementedError, match="second-order"):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.reduce_sum(model(x))
            slope = inner.gradient(y, x)
        outer.gradient(slope, x)


def test_the_table_names_each_reason_once():
    model = models.Seq2Seq(9, units=4, num_layers=2, recurrent_dropout=0.5)
    text = fast_path.shown(fast_path.explain_fast_path(model))
    assert text.count("GPU: recurrent_dropout=0.5 (remedy: recurrent_dropout=0)") == 1
    assert "decoder_top/forward_0" in text and "on a GPU" in text
    with pytest.raises(ValueError, match="must be built"):
        fast_path.explain_fast_path(keras.Sequential([layers.LSTM(4)]))
