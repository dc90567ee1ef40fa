"""The loop over the time steps, for TensorFlow on a CPU: Keras's results, with a hand-written gradient.

It is faster than Keras's loop, whose gradient is derived from the loop's body, for three reasons:

- The inputs are projected for all steps at once, before the loop.
- The gradients of all weights, and of the inputs, are one product each over all steps, after the backward loop. Keras
  computes and adds them up step by step.
- A step stores the gates' values for its gradient. The rest is done by TensorFlow's fused gradients of sigmoid and
  tanh.

The remaining cost is that of the products. Read `loop` first. Each step class below is the arithmetic of one cell.
"""

import tensorflow as tf
from tensorflow.python.eager import record  # no public function says whether a tape records


def available() -> bool:
    """Whether this is the fastest loop available. On a GPU, Keras uses cuDNN."""
    return not tf.config.list_logical_devices("GPU")


def is_recorded() -> bool:
    """Whether a `tf.GradientTape` records the current operations. A gradient usually follows."""
    return record.could_possibly_record()


class SimpleRNNStep:
    """h' = activation(zx + zr), for an activation whose slope is a function of its value."""

    num_saved, shared_slope = 1, True
    SLOPES = {
        "tanh": lambda y, dy: tf.raw_ops.TanhGrad(y=y, dy=dy),
        "relu": lambda y, dy: tf.raw_ops.ReluGrad(gradients=dy, features=y),
        "sigmoid": lambda y, dy: tf.raw_ops.SigmoidGrad(y=y, dy=dy),
        "linear": lambda y, dy: dy,
    }
    ACTIVATIONS = {"tanh": tf.tanh, "relu": tf.nn.relu, "sigmoid": tf.sigmoid, "linear": tf.identity}

    def __init__(self, activation):
        self.activation = self.ACTIVATIONS[activation]
        self.slope = self.SLOPES[activation]

    def forward(self, zx, zr, states):
        h = self.activation(zx + zr)
        return [h], [h]

    def backward(self, saved, slopes):
        dz = self.slope(saved[0], slopes[0])
        return dz, dz, [None]


class LSTMStep:
    """i, f, o = sigmoid, g = tanh of zx + zr;   c' = f c + i g;   h' = o tanh(c')."""

    num_saved, shared_slope = 6, True

    def forward(self, zx, zr, states):
        i, f, g, o = tf.split(zx + zr, 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c = f * states[1] + i * g
        squashed = tf.tanh(c)
        return [o * squashed, c], [i, f, g, o, squashed, states[1]]

    def backward(self, saved, slopes):
        i, f, g, o, squashed, c_before = saved
        dh, dc = slopes
        dc = dc + tf.raw_ops.TanhGrad(y=squashed, dy=dh * o)
        di = tf.raw_ops.SigmoidGrad(y=i, dy=dc * g)
        df = tf.raw_ops.SigmoidGrad(y=f, dy=dc * c_before)
        dg = tf.raw_ops.TanhGrad(y=g, dy=dc * i)
        do = tf.raw_ops.SigmoidGrad(y=o, dy=dh * squashed)
        dz = tf.concat([di, df, dg, do], axis=1)
        return dz, dz, [None, dc * f]


class GRUStep:
    """z, r = sigmoid of zx + zr;   n = tanh(zx + r zr);   h' = z h + (1 - z) n   (`reset_after=True`)."""

    num_saved, shared_slope = 5, False

    def forward(self, zx, zr, states):
        (h,) = states
        xz, xr, xn = tf.split(zx, 3, axis=1)
        hz, hr, h_new = tf.split(zr, 3, axis=1)
        z, r = tf.sigmoid(xz + hz), tf.sigmoid(xr + hr)
        n = tf.tanh(xn + r * h_new)
        difference = h - n
        return [n + z * difference], [z, r, n, h_new, difference]

    def backward(self, saved, slopes):
        z, r, n, h_new, difference = saved
        (dh,) = slopes
        kept = dh * z
        dn = tf.raw_ops.TanhGrad(y=n, dy=dh - kept)
        dz = tf.raw_ops.SigmoidGrad(y=z, dy=dh * difference)
        dr = tf.raw_ops.SigmoidGrad(y=r, dy=dn * h_new)
        return tf.concat([dz, dr, dn], axis=1), tf.concat([dz, dr, dn * r], axis=1), [kept]


def loop(
    step,
    x,
    initial_state,
    kernel,
    recurrent_kernel,
    bias,
    recurrent_bias=None,
    mask=None,
    go_backwards=False,
    keep=True,
    bfloat16=False,
    state_dropout=(),
):
    """Runs a step class over a sequence.

        zx = x kernel + bias,   zr = h recurrent_kernel + recurrent_bias,   states = step.forward(zx, zr, states)

    Args:
        step: one of the steps above. The first of its states is its output, h.
        x: `(B, T, Dx)`.
        initial_state: list of `(B, D)`.
        kernel: `(Dx, gates * D)`.   recurrent_kernel: `(D, gates * D)`.
        bias, recurrent_bias: `(gates * D,)` or None.
        mask: bool `(B, T)` or None. A masked step keeps the states and repeats the output of the step before. As in
            Keras, outputs before the first real step are zeros.
        go_backwards: whether to start at the last step. Outputs are in the order of computation.
        keep: whether to store the values that the gradient needs. If False less is written, and a gradient, if
            requested anyway, runs the loop again.
        bfloat16: whether to compute the products in bfloat16, see `keras_seq.products`.
        state_dropout: dropout masks by which h is multiplied before its product, the same at all steps: `(B, D)` for
            each of the equal parts of `recurrent_kernel`'s columns, such as its gates.
    Returns:
        `(outputs, states)`: `(B, T, D)`, and the final states.
    Raises:
        NotImplementedError: if second-order gradients are requested.
    """
    B, T = tf.shape(x)[0], tf.shape(x)[1]
    units, width = recurrent_kernel.shape
    biases = [tf.zeros(width) if bias is None else bias] + ([] if recurrent_bias is None else [recurrent_bias])
    weights = [tf.cast(tf.convert_to_tensor(weight), x.dtype) for weight in (kernel, recurrent_kernel, *biases)]
    rounded = (lambda x: tf.cast(x, tf.bfloat16)) if bfloat16 else (lambda x: x)
    steps_mask = None if mask is None else tf.transpose(mask)[:, :, None]  # (T, B, 1)

    def at(t):  # the index in x of the t-th step of the computation
        return T - 1 - t if go_backwards else t

    def array(width):
        return tf.TensorArray(x.dtype, T, element_shape=(x.shape[0], width), clear_after_read=False)

    def product(a, b, **transposed):
        return tf.cast(tf.matmul(rounded(a), rounded(b), **transposed), x.dtype)

    def by_part(z):  # the columns of each mask
        return tf.split(z, len(state_dropout), axis=1) if state_dropout else [z]

    def joined(parts):
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)

    def dropped(h):  # h for each part
        return [h * mask for mask in state_dropout] or [h]

    def where_real(t, values, otherwise):
        if mask is None:
            return values
        real = steps_mask[at(t)]
        return [tf.where(real, value, other) for value, other in zip(values, otherwise, strict=True)]

    @tf.custom_gradient
    def run(x, kernel, recurrent_kernel, bias, *rest):
        recurrent_bias, initial_state = rest[: len(biases) - 1], list(rest[len(biases) - 1 :])
        flat = tf.reshape(tf.transpose(x, (1, 0, 2)), (-1, x.shape[2]))  # (T * B, Dx)

        def ahead(keep):
            # One step of a time-major tensor is a view of it. The elements of a TensorArray would be copies.
            zx = tf.reshape(tf.nn.bias_add(product(flat, kernel), bias), (T, B, width))
            of_each_step = [rounded(part) for part in by_part(recurrent_kernel)]

            def forward(t, states, outputs, before, saved):
                zr = joined([product(*pair) for pair in zip(dropped(states[0]), of_each_step, strict=True)])
                if recurrent_bias:
                    zr = tf.nn.bias_add(zr, recurrent_bias[0])
                new, values = step.forward(zx[at(t)], zr, states)
                new = where_real(t, new, states)
                if keep:
                    before = before.write(at(t), states[0])
                    saved = [each.write(t, value) for each, value in zip(saved, values, strict=True)]
                return t + 1, new, outputs.write(t, new[0]), before, saved

            empty = array(units), array(units) if keep else 0, [array(units) for _ in range(step.num_saved * keep)]
            return tf.while_loop(lambda t, *_: t < T, forward, (0, initial_state, *empty), maximum_iterations=T)[1:]

        states, outputs, *kept = ahead(keep)

        @tf.custom_gradient
        def gradient(slopes, *_):  # the rest shows a second tape the inputs of the gradient
            before, saved = kept if keep else ahead(keep=True)[2:]
            d_outputs = tf.transpose(slopes[0], (1, 0, 2))  # (T, B, D)
            # Faster than transposing in the product.
            transposed = [rounded(tf.transpose(part)) for part in by_part(recurrent_kernel)]

            def backward(t, slopes, dzx, dzr):
                slopes = [slopes[0] + d_outputs[t], *slopes[1:]]
                zeros = [tf.zeros_like(slope) for slope in slopes]
                inside = where_real(t, slopes, zeros)
                dx, dr, straight = step.backward([each.read(t) for each in saved], inside)
                slopes_of_h = [product(*pair) for pair in zip(by_part(dr), transposed, strict=True)]
                if state_dropout:
                    slopes_of_h = [slope * mask for slope, mask in zip(slopes_of_h, state_dropout, strict=True)]
                new = [tf.add_n(slopes_of_h), *straight[1:]]
                if straight[0] is not None:
                    new[0] += straight[0]
                if mask is not None:  # the whole gradient passes through a masked step
                    new = [a + b for a, b in zip(new, where_real(t, zeros, slopes), strict=True)]
                return t - 1, new, dzx.write(at(t), dx), dzr if step.shared_slope else dzr.write(at(t), dr)

            first = (T - 1, list(slopes[1:]), array(width), 0 if step.shared_slope else array(width))
            _, slopes, dzx, dzr = tf.while_loop(lambda t, *_: t >= 0, backward, first, maximum_iterations=T)
            dzx = tf.reshape(dzx.stack(), (-1, width))  # (T * B, gates * D)
            dzr = dzx if step.shared_slope else tf.reshape(dzr.stack(), (-1, width))
            d_x = tf.reshape(product(dzx, kernel, transpose_b=True), (T, B, x.shape[2]))
            d_kernel = product(flat, dzx, transpose_a=True)
            before = [tf.reshape(h, (-1, units)) for h in dropped(before.stack())]
            d_parts = [product(h, dz, transpose_a=True) for h, dz in zip(before, by_part(dzr), strict=True)]
            d_biases = [tf.raw_ops.BiasAddGrad(out_backprop=dz) for dz in (dzx, dzr)[: len(biases)]]
            d_weights = [d_kernel, joined(d_parts), *d_biases]
            return (tf.transpose(d_x, (1, 0, 2)), *d_weights, *slopes), _no_second_derivative

        inputs = (x, kernel, recurrent_kernel, bias, *rest)
        return (tf.transpose(outputs.stack(), (1, 0, 2)), *states), lambda *slopes: gradient(slopes, *inputs)

    outputs, *states = run(x, *weights, *initial_state)
    outputs.set_shape((*x.shape[:2], units))
    if mask is not None:
        steps = tf.reverse(mask, axis=[1]) if go_backwards else mask
        begun = tf.cumsum(tf.cast(steps, "int32"), axis=1)[:, :, None] > 0
        outputs = tf.where(begun, outputs, tf.zeros_like(outputs))
    return outputs, states


def _no_second_derivative(*_):
    raise NotImplementedError(
        "The recurrent layers of keras_seq do not support second-order gradients. Use those of keras.layers, which "
        "take the same weights."
    )


def linear_scan(gates, values, initial_state, reverse=False):
    """h_t = gates_t h_(t-1) + values_t, computed step by step. On a CPU each step's numbers stay in the cache.

    Args:
        gates, values: float `(B, T, D)`.
        initial_state: `(B, D)`, of the same dtype.
        reverse: whether to start at the last step. The outputs keep the order of the inputs.
    Returns:
        `(B, T, D)`.
    Raises:
        NotImplementedError: if second-order gradients are requested.
    """
    shape, T = values.shape, tf.shape(values)[1]
    first, last, step = (T - 1, 0, -1) if reverse else (0, T - 1, 1)

    def array():
        return tf.TensorArray(values.dtype, T, element_shape=(shape[0], shape[2]))

    def in_time(x):
        return tf.transpose(x, (1, 0, 2))

    def refuse(*_):
        raise NotImplementedError("`linear_scan` and the layers that use it do not support second-order gradients.")

    @tf.custom_gradient
    def run(gates, values, initial_state):
        gates, values = in_time(gates), in_time(values)

        def forward(n, h, outputs):
            t = first + n * step
            h = gates[t] * h + values[t]
            return n + 1, h, outputs.write(t, h)

        outputs = tf.while_loop(lambda n, *_: n < T, forward, (0, initial_state, array()), maximum_iterations=T)[2]
        outputs = outputs.stack()  # (T, B, D)

        @tf.custom_gradient
        def gradient(slopes, *_):  # the rest shows a second tape the inputs of the gradient
            slopes = in_time(slopes)

            def backward(n, carried, d_gates, d_values):
                t = last - n * step
                slope = slopes[t] + carried
                before = tf.cond(t == first, lambda: initial_state, lambda: outputs[t - step])
                return n + 1, gates[t] * slope, d_gates.write(t, slope * before), d_values.write(t, slope)

            begin = (0, tf.zeros_like(initial_state), array(), array())
            _, carried, d_gates, d_values = tf.while_loop(lambda n, *_: n < T, backward, begin, maximum_iterations=T)
            return (in_time(d_gates.stack()), in_time(d_values.stack()), carried), refuse

        inputs = (gates, values, initial_state)
        return in_time(outputs), lambda slopes: gradient(slopes, *inputs)

    outputs = run(gates, values, initial_state)
    outputs.set_shape(shape)
    return outputs
