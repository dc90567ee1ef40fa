"""Recurrent layers whose gates do not depend on the state, so that all steps can be computed at once."""

from typing import Any

import keras
from keras import ops

from keras_seq.layers.masks import at_least_float32, carried_mask, without_padding

if keras.backend.backend() == "tensorflow":
    from keras_seq.layers import recurrent_tensorflow


def linear_scan(gates, values, initial_state=None, reverse=False) -> Any:
    """Computes the linear recurrence of the layers below, for all steps at once.

        h_t = gates_t h_(t-1) + values_t

    Args:
        gates: float `(B, T, D)`, between 0 and 1.   values: float `(B, T, D)`.
        initial_state: `(B, D)`. None means zeros.
        reverse: whether to start at the last step. The outputs keep the order of the inputs.
    Returns:
        `(B, T, D)`, with the dtype of `values`. Sums are computed at least in float32.
    Raises:
        NotImplementedError: if second-order gradients are requested.
    Source: the parallel form is that of Blelloch 1990, "Prefix Sums and Their Applications", section 1.4.1.
    """
    dtype = keras.backend.standardize_dtype(values.dtype)
    if initial_state is None:
        initial_state = ops.zeros_like(values[:, 0])
    inputs = [ops.cast(x, at_least_float32(dtype)) for x in (gates, values, initial_state)]
    scan = recurrent_tensorflow.linear_scan if scans_step_by_step() else parallel_scan
    return ops.cast(scan(*inputs, reverse=reverse), dtype)


def scans_step_by_step() -> bool:
    """Whether `linear_scan` computes one step after another, which is fastest on a CPU, or all in parallel."""
    return keras.backend.backend() == "tensorflow" and recurrent_tensorflow.available()


def parallel_scan(gates, values, initial_state, reverse=False):
    """`linear_scan` in about log2(T) passes over all steps, which is fastest on a GPU."""

    @ops.custom_gradient
    def run(gates, values, initial_state):
        outputs = _prefixes(gates, values, initial_state, reverse)

        def gradient(*args, upstream=None):
            return once(args[0] if upstream is None else upstream, gates, values, initial_state, outputs)

        return outputs, gradient

    @ops.custom_gradient
    def once(slopes, gates, values, initial_state, outputs):
        # The gradient of h_t is its direct gradient plus, through the next step's gate, the gradient of h_(t+1).
        nothing = ops.zeros_like(initial_state)
        d_values = _prefixes(_shifted(gates, nothing, not reverse), slopes, nothing, not reverse)
        d_gates = d_values * _shifted(outputs, initial_state, reverse)
        first = -1 if reverse else 0
        return (d_gates, d_values, gates[:, first] * d_values[:, first]), _no_second_derivative

    return run(gates, values, initial_state)


def _no_second_derivative(*_, **__):
    raise NotImplementedError("`linear_scan` and the layers that use it do not support second-order gradients.")


def _prefixes(gates, values, initial_state, reverse):
    """Composes the maps h -> a h + b of all steps up to each. First (a, b), then (c, d), is (a c, c b + d)."""

    def compose(first, then):
        return first[0] * then[0], then[0] * first[1] + then[1]

    if keras.backend.backend() == "jax" and isinstance(values.shape[1], int):
        gates, values = ops.associative_scan(compose, (gates, values), reverse=reverse, axis=1)
        return gates * initial_state[:, None] + values

    # Keras has no `associative_scan` for unknown T. After n rounds here, each step covers the last 2^n steps.
    T = ops.shape(values)[1]
    steps = ops.arange(T, dtype="int32")[::-1] if reverse else ops.arange(T, dtype="int32")

    def double(distance, gates, values):
        there = (steps >= distance)[None, :, None]
        shift = -distance if reverse else distance
        earlier = [ops.roll(x, (shift,), axis=(1,)) for x in (gates, values)]  # Keras 3.16 rejects single values
        earlier = ops.where(there, earlier[0], 1.0), ops.where(there, earlier[1], 0.0)
        return 2 * distance, *compose(earlier, (gates, values))

    _, gates, values = ops.while_loop(lambda distance, *_: distance < T, double, (1, gates, values))
    return gates * initial_state[:, None] + values


def _shifted(x, first, reverse):
    """The values of the step before. The first step gets `first`."""
    parts = (x[:, 1:], first[:, None]) if reverse else (first[:, None], x[:, :-1])
    return ops.concatenate(parts, axis=1)


class ParallelRecurrent(keras.layers.Layer):
    """Base class of the three layers: Keras's interface of a recurrent layer for h_t = gates_t h_(t-1) + values_t.

    Subclasses set `parts` and define `gates_and_values`.

    Args:
        units: width of state and output, D.
        return_sequences: whether to return the outputs of all steps, or only that of the last step.
        return_state: whether to return the final state too.
        go_backwards: whether to start at the last step. As in Keras, outputs are in the order of computation.
        kernel_initializer, bias_initializer: initializers of the kernel `(Dx, parts * D)` and its bias.
    Call arguments:
        x: float `(B, T, Dx)`.
        initial_state: list of one `(B, D)`. None means zeros.
        mask: bool `(B, T)` or None. A masked step does not change the state, and its output is that state.
    Returns:
        `(B, T, D)`, or `(B, D)` without `return_sequences`. With `return_state`: `(outputs, state)`.
    Raises:
        ValueError: if `units` is not positive.
    """

    parts = 2
    stateful, states = False, None  # read by `keras.layers.Bidirectional`

    def __init__(
        self,
        units,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if units <= 0:
            raise ValueError(f"`units` must be positive. Received: {units}")
        self.supports_masking = True
        self.units = units
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.state_size = [units]

    def gates_and_values(self, *parts) -> tuple[Any, Any]:
        """Maps the projections of the inputs, `parts` times `(..., D)`, to the gates and values of the recurrence."""
        raise TypeError(f"{type(self).__name__} must define `gates_and_values(*parts)`")

    def build(self, x_shape, initial_state_shape=None):
        width = self.parts * self.units
        self.kernel = self.add_weight((x_shape[-1], width), initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight((width,), initializer=self.bias_initializer, name="bias")

    def get_initial_state(self, batch_size) -> list:
        return [ops.zeros((batch_size, self.units), self.compute_dtype)]

    def cell(self, x, states, training=False):
        """One step, `(B, Dx)` and states to `(output, states)`, like the cell of a Keras layer."""
        gates, values = self._projected(x)
        h = ops.cast(gates * ops.cast(states[0], gates.dtype) + values, self.compute_dtype)
        return h, [h]

    def call(self, x, initial_state=None, mask=None, training=False):
        mask = carried_mask(x, mask)
        x = without_padding(x, mask)
        final, outputs, _ = self.inner_loop(x, initial_state, mask, training)
        outputs = outputs if self.return_sequences else final
        return (outputs, final) if self.return_state else outputs

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """All steps, like the method of a Keras layer: `(last output, outputs, final states)`."""
        if self.go_backwards:
            sequences, mask = (None if each is None else ops.flip(each, axis=1) for each in (sequences, mask))
        gates, values = self._projected(sequences)
        if mask is not None:
            real = mask[:, :, None]
            gates, values = ops.where(real, gates, 1.0), ops.where(real, values, 0.0)
        (state,) = [None] if initial_state is None else keras.tree.flatten(initial_state)
        outputs = ops.cast(linear_scan(gates, values, state), self.compute_dtype)
        return outputs[:, -1], outputs, [outputs[:, -1]]

    def _projected(self, x):
        # In float32 even if the layer computes in half precision, which cannot represent a gate of 0.999.
        x = ops.matmul(ops.cast(x, self.compute_dtype), self.kernel) + self.bias
        x = ops.cast(x, at_least_float32(self.compute_dtype))
        return self.gates_and_values(*ops.split(x, self.parts, axis=-1))

    def compute_output_shape(self, x_shape, initial_state_shape=None):
        final = (x_shape[0], self.units)
        outputs = (*x_shape[:2], self.units) if self.return_sequences else final
        return (outputs, final) if self.return_state else outputs

    def compute_mask(self, _, mask):
        (mask, *_) = keras.tree.flatten(mask) or [None]
        mask = mask if self.return_sequences else None
        return [mask, None] if self.return_state else mask

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


@keras.saving.register_keras_serializable("keras_seq")
class MinGRU(ParallelRecurrent):
    """A GRU whose gate and candidate depend only on the input.

        z = sigmoid(W_z x + b_z),   h_t = (1 - z) h_(t-1) + z activation(W_h x + b_h)

    Args:
        activation: activation of the candidate. None as in the paper.
        units and the rest: see `ParallelRecurrent`.
    Example:
        >>> tuple(layers.MinGRU(8, return_sequences=True)(np.zeros((4, 10, 3), "float32")).shape)
        (4, 10, 8)
    Source: Feng et al. 2024, section 3.1, arXiv:2410.01201.
    """

    def __init__(
        self,
        units,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        activation=None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs,
    ):
        initializers = {"kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer}
        super().__init__(units, return_sequences, return_state, go_backwards, **initializers, **kwargs)
        self.activation = keras.activations.get(activation)

    def gates_and_values(self, z, candidate):
        z = ops.sigmoid(z)
        return 1 - z, z * self.activation(candidate)

    def get_config(self):
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}


@keras.saving.register_keras_serializable("keras_seq")
class MinLSTM(MinGRU):
    """An LSTM whose gates and candidate depend only on the input, and whose two gates add up to one.

        f, i = sigmoid(W_f x + b_f), sigmoid(W_i x + b_i)
        h_t = f / (f + i) h_(t-1) + i / (f + i) activation(W_h x + b_h)

    Args:
        activation: activation of the candidate. None as in the paper.
        units and the rest: see `ParallelRecurrent`.
    Example:
        >>> tuple(layers.MinLSTM(8, return_sequences=True)(np.zeros((4, 10, 3), "float32")).shape)
        (4, 10, 8)
    Source: Feng et al. 2024, section 3.2, arXiv:2410.01201.
    """

    parts = 3

    def gates_and_values(self, f, i, candidate):
        # i / (f + i) = sigmoid(log i - log f), which avoids the sum of two zero gates. The rest is MinGRU.
        return super().gates_and_values(ops.log_sigmoid(i) - ops.log_sigmoid(f), candidate)


@keras.saving.register_keras_serializable("keras_seq")
class RGLRU(ParallelRecurrent):
    """The real-gated linear recurrent unit of Griffin, combined with the linear layer before it in a block.

        r, i = sigmoid(W_r x + b_r), sigmoid(W_i x + b_i),   a = sigmoid(Lambda)^(c r)
        h_t = a h_(t-1) + sqrt(1 - a^2) (i (W x + b))

    In a Griffin block the gates are computed from W x + b. Here they are computed from x, with one kernel for all
    three: the product of two matrices is one matrix. `Lambda` is initialized so that sigmoid(Lambda)^c is uniform
    between 0.9 and 0.999. RecurrentGemma's code, log a = -c softplus(a_param) r, stores -Lambda.

    Args:
        c: largest exponent of sigmoid(Lambda), which speeds up forgetting.
        units and the rest: see `ParallelRecurrent`.
    Example:
        >>> tuple(layers.RGLRU(8, return_sequences=True)(np.zeros((4, 10, 3), "float32")).shape)
        (4, 10, 8)
    Source: De et al. 2024, section 2.4, arXiv:2402.19427.
    """

    parts = 3

    def __init__(
        self,
        units,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        c=8.0,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs,
    ):
        initializers = {"kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer}
        super().__init__(units, return_sequences, return_state, go_backwards, **initializers, **kwargs)
        if c <= 0:
            raise ValueError(f"`c` must be positive. Received: {c}")
        self.c = c

    def build(self, x_shape, initial_state_shape=None):
        super().build(x_shape)

        def initial(shape, dtype=None):
            log_a = ops.log(keras.initializers.RandomUniform(0.9, 0.999)(shape, dtype)) / self.c
            return log_a - ops.log(-ops.expm1(log_a))  # sigmoid's inverse

        self.Lambda = self.add_weight((self.units,), initializer=initial, name="lambda")

    def gates_and_values(self, r, i, x):
        log_a = self.c * ops.log_sigmoid(ops.cast(self.Lambda, r.dtype)) * ops.sigmoid(r)
        # The slope of the root is infinite at zero, where a gate is one.
        scale = ops.sqrt(ops.maximum(-ops.expm1(2 * log_a), 1e-30))
        return ops.exp(log_a), scale * ops.sigmoid(i) * x

    def get_config(self):
        return {**super().get_config(), "c": self.c}
