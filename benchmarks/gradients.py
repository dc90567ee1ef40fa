"""What each cure for vanishing and exploding gradients does at initialization: factors per step, updates, truncation.

python -m benchmarks.gradients --out DIR     # tables to standard output, plots into DIR

All models are untrained and get random inputs. The slope of a curve of norms is that of its logarithm against the
steps back from the loss, by least squares, without the first ten steps back.
"""

import dataclasses
import pathlib
import statistics
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from benchmarks import timing
from keras_seq import cli, layers
from keras_seq.cli import option
from keras_seq.inspection import gradients, plots


@dataclasses.dataclass(frozen=True)
class Options:
    """Gradients through time of recurrent layers and their cures."""

    steps: int = option(100, "time steps")
    units: int = option(64, "units of each layer")
    inputs: int = option(16, "width of the inputs, which are normal random numbers")
    batch: int = option(8, "sequences")
    seeds: int = option(3, "number of seeds of weights and inputs")
    windows: tuple[int, ...] = option((5, 10, 20, 50, 100), "windows of truncated backpropagation")
    out: pathlib.Path | None = option(None, "folder for plots; none: no plots")


class NormalizedCell(keras.layers.Layer):
    """h' = tanh(LayerNorm(x W + h U)): Ba et al. 2016, section 3.1, arXiv:1607.06450."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = units
        self.kernel = keras.layers.Dense(units, use_bias=False)
        self.recurrent = keras.layers.Dense(units, use_bias=False, kernel_initializer="orthogonal")
        self.norm = keras.layers.LayerNormalization()

    def build(self, x_shape):
        self.kernel.build(x_shape)
        for layer in (self.recurrent, self.norm):
            layer.build((x_shape[0], self.state_size))

    def call(self, x, states):
        h = ops.tanh(self.norm(self.kernel(x) + self.recurrent(states[0])))
        return h, [h]


class ResidualCell(keras.layers.Layer):
    """h' = h + rate * (tanh(x W + h U) - h): a connection past the nonlinearity, from step to step."""

    def __init__(self, units, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.state_size, self.rate = units, rate
        self.inner = keras.layers.SimpleRNNCell(units)

    def build(self, x_shape):
        self.inner.build(x_shape)

    def call(self, x, states):
        new, _ = self.inner(x, states)
        h = states[0] + self.rate * (new - states[0])
        return h, [h]


def simple_rnn(initializer, **options) -> Callable:
    return lambda units: layers.SimpleRNN(units, recurrent_initializer=initializer, **options)


def scaled_orthogonal(gain, **options) -> Callable:
    def make(units):  # the initializer draws its seed when it is made
        return layers.SimpleRNN(units, recurrent_initializer=keras.initializers.Orthogonal(gain), **options)

    return make


def uniform(units):
    """PyTorch's: between -1 / sqrt(units) and 1 / sqrt(units)."""
    return layers.SimpleRNN(units, recurrent_initializer=keras.initializers.RandomUniform(*_limits(units)))


def _limits(units):
    return -(units**-0.5), units**-0.5


def lstm(forget_bias) -> Callable:
    def make(units):
        bias = np.repeat([0.0, forget_bias, 0.0, 0.0], units)
        return layers.LSTM(units, bias_initializer=keras.initializers.Constant(bias), unit_forget_bias=False)

    return make


CURES = {
    "RNN, uniform (PyTorch's default)": uniform,
    "RNN, Glorot": simple_rnn("glorot_uniform"),
    "RNN, orthogonal (Keras's default)": simple_rnn("orthogonal"),
    "RNN, identity and ReLU": simple_rnn("identity", activation="relu"),
    "RNN, orthogonal x 1.5": scaled_orthogonal(1.5),
    "RNN, orthogonal x 1.5, ReLU": scaled_orthogonal(1.5, activation="relu"),
    "RNN, orthogonal x 1.7, ReLU": scaled_orthogonal(1.7, activation="relu"),
    "RNN, layer norm in the cell": lambda units: keras.layers.RNN(NormalizedCell(units)),
    "RNN, residual from step to step": lambda units: keras.layers.RNN(ResidualCell(units)),
    "GRU": layers.GRU,
    "LSTM, forget bias 0": lstm(0.0),
    "LSTM, forget bias 1 (Keras's default)": lstm(1.0),
    "LSTM, forget bias 4": lstm(4.0),
    "minGRU": layers.MinGRU,
    "minLSTM": layers.MinLSTM,
    "RG-LRU": layers.RGLRU,
}
DRAWN = ("RNN, uniform (PyTorch's default)", "RNN, orthogonal (Keras's default)", "RNN, orthogonal x 1.7, ReLU", "GRU")
DRAWN += ("LSTM, forget bias 1 (Keras's default)", "LSTM, forget bias 4", "RG-LRU")
CLIPPED = ("RNN, orthogonal (Keras's default)", "RNN, orthogonal x 1.5, ReLU", "RNN, orthogonal x 1.7, ReLU")
STACKS = {
    "plain": {},
    "residual connections": {"residual_from": 1},
    "layer norm of the inputs": {"layer_norm": True},
    "both": {"residual_from": 1, "layer_norm": True},
}


def main(options: Options) -> None:
    print(f"{timing.machine()}\n\n{options.steps} steps, {options.units} units, {options.seeds} seeds\n")
    curves = {name: [seeded(options, seed, make) for seed in range(options.seeds)] for name, make in CURES.items()}
    print(
        timing.table(
            ["model", "factor per step back", "slope, nats", "norm at the first step / at the last"],
            [[name, *cells(each)] for name, each in curves.items()],
        )
    )
    print(
        timing.table(
            ["four layers of RNN", "lowest / highest layer, last step", "factor per step back, lowest"], depth(options)
        )
    )
    print(
        timing.table(
            ["loss of the last step, SGD 0.01", "gradient", "update", "largest update / weight", "finite updates"],
            clipping(options),
        )
    )
    biases = {name: truncation(options, name) for name in ("rnn", "gru", "lstm", "rglru")}
    head = ["relative error (cosine)", *(f"window {window}" for window in options.windows)]
    rows = [[name, *(f"{b.relative_error:.2f} ({b.cosine:.2f})" for b in each)] for name, each in biases.items()]
    print(timing.table(head, rows))
    if options.out is not None:
        plots.gradient_curve({name: curves[name][0] for name in DRAWN}, options.out / "gradient_curve.png")
        plots.truncation_bias(biases, options.out / "truncation_bias.png")


def data(options: Options, seed: int) -> np.ndarray:
    shape = (options.batch, options.steps, options.inputs)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def seeded(options: Options, seed: int, make: Callable) -> gradients.GradientNorms:
    """The gradients with respect to h, or for an LSTM to c, which is the state that its forget gate keeps."""
    keras.utils.set_random_seed(seed)
    *_, last = gradients.gradient_norms(make(options.units), data(options, seed)).values()
    return last


def cells(found: list) -> list[str]:
    slopes = [each.slope(first=10) for each in found]
    ratios = [each.mean[0] / each.mean[-1] for each in found]
    slope = statistics.median(slopes)
    return [
        f"{np.exp(slope):.3f}",
        f"{slope:+.3f} ({min(slopes):+.3f} to {max(slopes):+.3f})",
        f"{statistics.median(ratios):.1e}",
    ]


def depth(options: Options) -> list[list[str]]:
    """How much of the gradient reaches the lowest of four layers."""
    rows = []
    for name, extra in STACKS.items():
        ratios, slopes = [], []
        for seed in range(options.seeds):
            keras.utils.set_random_seed(seed)
            stack = layers.RecurrentStack("rnn", options.units, num_layers=4, return_state=False, **extra)
            model = keras.Sequential([keras.layers.Dense(options.units), stack, layers.LastPooling()])
            lowest, *_, highest = gradients.gradient_norms(model, data(options, seed)).values()
            ratios.append(lowest.mean[-1] / highest.mean[-1])
            slopes.append(lowest.slope(first=10))
        rows.append([name, f"{statistics.median(ratios):.2g}", f"{np.exp(statistics.median(slopes)):.3f}"])
    return rows


def clipping(options: Options) -> list[list[str]]:
    """The size of an update with and without clipping, for gradients that explode and for those that do not."""
    rows = []
    for name in CLIPPED:
        for clipnorm in (None, 1.0):
            found = []
            for seed in range(options.seeds):
                keras.utils.set_random_seed(seed)
                optimizer = keras.optimizers.SGD(0.01, global_clipnorm=clipnorm)
                found.append(
                    gradients.parameter_norms(CURES[name](options.units), data(options, seed), optimizer=optimizer)
                )
            total = [np.sqrt(sum(each.gradient**2 for each in one)) for one in found]
            update = [np.sqrt(sum(each.update**2 for each in one)) for one in found]
            ratio = [max(each.ratio for each in one if each.weight) for one in found]
            medians = [f"{np.nanmedian(each):.2g}" for each in (total, update, ratio)]
            medians.append(f"{np.isfinite(update).sum()} of {len(update)}")
            rows.append(
                [f"{name}, {'no clipping' if clipnorm is None else f'global norm at most {clipnorm:g}'}", *medians]
            )
    return rows


def truncation(options: Options, cell: str) -> list[gradients.TruncationBias]:
    """The bias for a loss of every step, whose label is the input of ten steps before."""
    keras.utils.set_random_seed(0)
    x = data(options, 0)
    stack = layers.RecurrentStack(cell, options.units, return_state=False)
    model = keras.Sequential([stack, keras.layers.Dense(options.inputs)])
    return gradients.truncation_bias(model, x, np.roll(x, 10, axis=1), "mean_squared_error", windows=options.windows)


if __name__ == "__main__":
    cli.run(main, Options)
