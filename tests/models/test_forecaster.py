import keras
import numpy as np
import pytest

from keras_seq import models
from keras_seq.losses import QuantileLoss
from keras_seq.optimizers import Adam
from tests.models.mapping import check_mapping
from tests.reference import array, backend_cases, fill, long_on_jax, quick, spread

pytestmark = pytest.mark.filterwarnings("error::UserWarning")
L, H, C = 12, 4, 3
PAST = 5 + spread((4, L, C))
KNOWN, STATIC = spread((4, H, 2), start=3), spread((4, 2), start=8)
MORE = {"past": PAST, "known_future": KNOWN, "static": STATIC}
SMALL = {"units": 8, "num_layers": 1, "patch_length": 4, "dropout": 0.0, "num_heads": 2}
STEPS = {"patch_length": 1}
CASES = {
    "patchtst": {},
    "transformer-mixed": {"channel_independent": False, "series_normalization": None},
    "nlinear": {"architecture": "linear", "series_normalization": "last"},
    "dlinear": {"architecture": "dlinear", "series_normalization": None},
    "feedforward": {"architecture": "feedforward"},
    "cnn": {"architecture": "cnn", "channel_independent": False},
    "lstm-steps": {"architecture": "lstm", "num_layers": 2, **STEPS},
    "mingru-patches": {"architecture": "mingru", "quantiles": (0.1, 0.5, 0.9)},
    "gru-autoregressive": {"architecture": "gru", "decoder": "autoregressive", **STEPS},
    "rnn-autoregressive-mixed-quantiles": {
        "architecture": "rnn",
        "decoder": "autoregressive",
        "decoder_stride": 2,
        "channel_independent": False,
        "quantiles": (0.2, 0.8),
    },
}
LAST = "rnn-autoregressive-mixed-quantiles"


def small(**options):
    return models.forecaster(C, L, H, **{**SMALL, **options})


def call(model, inputs):
    return array(model(inputs))


@pytest.mark.parametrize(
    "name",
    backend_cases(
        quick(CASES, few=[name for name in CASES if name not in ("lstm-steps", "gru-autoregressive")]),
        on_jax=["patchtst", "nlinear", "dlinear", "mingru-patches", LAST],
    ),
)
def test_promises(name, tmp_path):
    options = CASES[name]
    for more in ({}, {"targets": [2, 0], "num_known": 2, "num_static": 2}):
        if more and name in ("transformer-mixed", "cnn", "lstm-steps", "feedforward"):
            continue
        model = small(**options, **more)
        inputs = MORE if more else PAST
        forecasts = check_mapping(model, inputs, tmp_path, pads=None)
        quantiles = options.get("quantiles")
        assert forecasts.shape == (4, H, 2 if more else C, *([len(quantiles)] if quantiles else []))
        if quantiles:
            assert (np.diff(forecasts, axis=-1) >= 0).all(), "quantiles must not cross"

        # Of a past twice as long, the last steps are read; and the neighbors in the batch do not matter.
        longer = np.concatenate([100 * PAST, PAST], axis=1)[::-1]
        again = call(model, {**{name: x[::-1] for name, x in MORE.items()}, "past": longer} if more else longer)
        np.testing.assert_allclose(again[::-1], forecasts, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", backend_cases(["nlinear", "patchtst", "gru-autoregressive", LAST], on_jax=["nlinear", LAST])
)
def test_another_level_of_the_past_is_another_level_of_the_forecast(name):
    """And, where it is normalized by its deviation too, another unit of it another unit of the forecast."""
    model = fill(small(**CASES[name]))
    before = call(model, PAST)
    np.testing.assert_allclose(call(model, PAST + 3), before + 3, rtol=1e-3)
    if name != "nlinear":
        np.testing.assert_allclose(call(model, 7 * PAST), 7 * before, rtol=1e-3)


@pytest.mark.parametrize("independent", [True, False])
def test_channels_are_independent_where_asked_for(independent):
    model = fill(small(channel_independent=independent))
    other = PAST.copy()
    other[:, ::2, 1] += 2
    changed = np.abs(call(model, other) - call(model, PAST)).max(axis=(0, 1)) > 1e-4
    assert changed.tolist() == ([False, True, False] if independent else [True, True, True])


def test_columns_that_are_no_targets_are_read():
    model = fill(small(targets=[1]))
    other = PAST.copy()
    other[:, ::2, 0] += 2
    assert call(model, other).shape == (4, H, 1)
    assert np.abs(call(model, other) - call(model, PAST)).max() > 1e-4


@pytest.mark.parametrize("decoder", ["direct", "autoregressive"])
@long_on_jax
def test_what_is_known_of_a_step_matters_from_that_step_on(decoder):
    model = fill(small(architecture="gru", decoder=decoder, num_known=2, num_static=2))
    other = {**MORE, "known_future": KNOWN.copy()}
    other["known_future"][:, 2] += 1
    changed = np.abs(call(model, other) - call(model, MORE)).max(axis=(0, 2)) > 1e-5
    assert changed.tolist() == [False, False, True, decoder == "autoregressive"]
    assert np.abs(call(model, {**MORE, "static": STATIC + 1}) - call(model, MORE)).max() > 1e-4


def test_dlinear_is_two_products():
    model = fill(small(architecture="dlinear", series_normalization=None))
    kernel, bias = model.get_weights()  # (2 L, H), the trend's rows and the rest's in turn
    longer = np.concatenate([PAST[:, :1]] * 12 + [PAST] + [PAST[:, -1:]] * 12, axis=1)
    trend = np.stack([longer[:, t : t + 25].mean(axis=1) for t in range(L)], axis=1)
    expected = np.einsum("blc,lh->bhc", trend, kernel[::2]) + np.einsum("blc,lh->bhc", PAST - trend, kernel[1::2])
    np.testing.assert_allclose(call(model, PAST), expected + bias[:, None], rtol=1e-4)


def test_the_defaults_cut_336_steps_into_42_patches():
    model = models.forecaster(7, 336, 96)
    assert model.get_layer("patches").output.shape == (None, 42, 16)


@pytest.mark.parametrize("options", [{}, {"quantiles": (0.1, 0.9)}, {"channel_independent": False, "targets": [2, 0]}])
@long_on_jax
def test_a_residual_begins_as_the_linear_map(options):
    model = small(architecture="gru", residual=True, **options)
    kernel, bias = spread((L, H)), spread((H,), start=5)
    model.get_layer("linear").set_weights([kernel, bias])
    past = PAST[..., options.get("targets", [0, 1, 2])]
    mean, deviation = past.mean(axis=1, keepdims=True), np.sqrt(past.var(axis=1, keepdims=True) + 1e-5)
    expected = np.einsum("blc,lh->bhc", (past - mean) / deviation, kernel) + bias[:, None]
    found = call(model, PAST)
    found = found if "quantiles" not in options else found[..., 0]
    np.testing.assert_allclose(found, expected * deviation + mean, rtol=1e-3, atol=1e-4)
    assert "linear" not in {weight.path.split("/")[0] for weight in model.trainable_weights}


@pytest.mark.parametrize("options", [{"architecture": "linear"}, {"architecture": "gru", "decoder": "autoregressive"}])
def test_a_residual_of_nothing_is_refused(options):
    with pytest.raises(ValueError, match="residual"):
        small(residual=True, **options)


def waves(rows, seed):
    """Waves of one period, of any phase, height and level: the past tells all of the future."""
    random = np.random.default_rng(seed)
    phase, height, level = (random.uniform(low, high, (rows, 1, 1)) for low, high in ((0, 6.3), (1, 2), (-9, 9)))
    x = height * np.sin(phase + 2 * np.pi * np.arange(L + H)[:, None] / 6) + level
    return x[:, :L].astype("float32"), x[:, L:].astype("float32")


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="a step of training takes minutes to compile there")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"num_layers": 1}, id="patchtst"),
        pytest.param(
            {"architecture": "gru", "decoder": "autoregressive", "decoder_stride": 2},
            id="autoregressive",
            marks=pytest.mark.long,
        ),
    ],
)
def test_learns_to_go_on(options):
    keras.utils.set_random_seed(1)
    model = models.forecaster(1, L, H, **{**SMALL, "units": 16, **options})
    model.compile(Adam(0.01), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    model.fit(*waves(256, 1), batch_size=32, epochs=20, verbose=0)
    past, future = waves(128, 2)
    copy_last = np.mean((past[:, -1:] - future) ** 2)
    assert np.mean((model.predict(past, verbose=0) - future) ** 2) < 0.05 * copy_last


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="a step of training takes minutes to compile there")
def test_quantiles_hold_what_they_say():
    """Of numbers that nothing tells, eight in ten lie between the first and the ninth tenth of all."""
    keras.utils.set_random_seed(1)
    quantiles = (0.1, 0.5, 0.9)
    model = models.forecaster(1, L, H, architecture="linear", series_normalization=None, quantiles=quantiles)
    learning_rate = keras.optimizers.schedules.CosineDecay(0.02, 600)
    model.compile(Adam(learning_rate), QuantileLoss(quantiles), jit_compile=False)
    x = np.random.default_rng(1).exponential(size=(2048, L + H, 1)).astype("float32")
    model.fit(x[:, :L], x[:, L:], batch_size=64, epochs=20, verbose=0)
    low, median, high = np.moveaxis(model.predict(x[:, :L], verbose=0), -1, 0)
    shares = [(x[:, L:] < each).mean() for each in (low, median, high)]
    np.testing.assert_allclose(shares, quantiles, atol=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "prophet"}, "`architecture` must be one of .* Received: 'prophet'"),
        ({"decoder": "autoregressive"}, "needs a recurrent architecture. Received: 'transformer'"),
        ({"decoder": "beam"}, "`decoder` must be one of .* Received: 'beam'"),
        ({"decoder_stride": 3}, "must divide `horizon`=4. Received: 3"),
        ({"targets": [0, 3]}, r"the columns 0 to 2. Received: \[0, 3\]"),
        ({"quantiles": (0.9, 0.1)}, r"must be increasing. Received: \(0.9, 0.1\)"),
        ({"patch_length": 16}, "`patch_length` must not exceed `look_back`=12. Received: 16"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_past_that_is_too_short_is_named():
    with pytest.raises(ValueError, match="at least 12 steps. Received: 11"):
        small()(PAST[:, 1:])
