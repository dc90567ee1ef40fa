"""The loop over the time steps, for TensorFlow on a CPU: Keras's numbers, with the gradient written out by hand.

What makes it faster than Keras's loop, whose gradient is derived from the loop's body:

- the inputs are projected for all steps at once, before the loop;
- the gradients of all weights, and of the inputs, are one product each over all steps, after the loop backwards; Keras
  computes and adds them up step by step;
- what a step leaves for its gradient are the gates' values, and what remains to be done to them are TensorFlow's own
  fused gradients of sigmoid and tanh.

What is left is the products themselves. Read `loop` first; a step below is the arithmetic of one architecture.
"""

import tensorflow as tf


def available() -> bool:
    """Whether this is the best loop to be had: on a GPU Keras takes cuDNN's."""
    return not tf.config.list_logical_devices("GPU")


class SimpleRNNStep:
    """h' = activation(zx + zr), for an activation whose slope its own value tells."""

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
):
    """Runs a step over a sequence.

        zx = x kernel + bias,   zr = h recurrent_kernel + recurrent_bias,   states = step.forward(zx, zr, states)

    Args:
        step: one of the steps above; the first of its states is its output, h.
        x: `(B, T, Dx)`.
        initial_state: list of `(B, D)`.
        kernel: `(Dx, gates * D)`.   recurrent_kernel: `(D, gates * D)`.
        bias, recurrent_bias: `(gates * D,)` or None.
        mask: bool `(B, T)` or None. At a masked step the states stay, and the output is that of the step before, zeros
            where there was none, as in Keras.
        go_backwards: whether to begin with the last step; the outputs come in the order of the computation.
        keep: whether to keep what the gradient needs. Without it less is written, and a gradient that is asked for all
            the same runs the loop once more.
    Returns:
        `(outputs, states)`: `(B, T, D)`, and the final states.
    Raises:
        NotImplementedError: where a second derivative is asked for.
    """
    B, T = tf.shape(x)[0], tf.shape(x)[1]
    units, width = recurrent_kernel.shape
    biases = [tf.zeros(width) if bias is None else bias] + ([] if recurrent_bias is None else [recurrent_bias])
    weights = [tf.cast(tf.convert_to_tensor(weight), x.dtype) for weight in (kernel, recurrent_kernel, *biases)]
    steps_mask = None if mask is None else tf.transpose(mask)[:, :, None]  # (T, B, 1)

    def at(t):  # where in x the t-th step of the computation stands
        return T - 1 - t if go_backwards else t

    def array(width):
        return tf.TensorArray(x.dtype, T, element_shape=(x.shape[0], width), clear_after_read=False)

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
            # One step of what stands in the order of time is a view of it; an array's elements would be copies.
            zx = tf.reshape(tf.nn.bias_add(tf.matmul(flat, kernel), bias), (T, B, width))

            def forward(t, states, outputs, before, saved):
                zr = tf.matmul(states[0], recurrent_kernel)
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
        def gradient(slopes, *_):  # the rest is there for a second tape to see what a gradient depends on
            before, saved = kept if keep else ahead(keep=True)[2:]
            d_outputs = tf.transpose(slopes[0], (1, 0, 2))  # (T, B, D)
            transposed = tf.transpose(recurrent_kernel)  # a product with it is faster than a transposing product

            def backward(t, slopes, dzx, dzr):
                slopes = [slopes[0] + d_outputs[t], *slopes[1:]]
                zeros = [tf.zeros_like(slope) for slope in slopes]
                inside = where_real(t, slopes, zeros)
                dx, dr, straight = step.backward([each.read(t) for each in saved], inside)
                new = [tf.matmul(dr, transposed), *straight[1:]]
                if straight[0] is not None:
                    new[0] += straight[0]
                if mask is not None:  # past a masked step goes all that comes
                    new = [a + b for a, b in zip(new, where_real(t, zeros, slopes), strict=True)]
                return t - 1, new, dzx.write(at(t), dx), dzr if step.shared_slope else dzr.write(at(t), dr)

            first = (T - 1, list(slopes[1:]), array(width), 0 if step.shared_slope else array(width))
            _, slopes, dzx, dzr = tf.while_loop(lambda t, *_: t >= 0, backward, first, maximum_iterations=T)
            dzx = tf.reshape(dzx.stack(), (-1, width))  # (T * B, gates * D)
            dzr = dzx if step.shared_slope else tf.reshape(dzr.stack(), (-1, width))
            d_x = tf.reshape(tf.matmul(dzx, kernel, transpose_b=True), (T, B, x.shape[2]))
            d_kernel = tf.matmul(flat, dzx, transpose_a=True)
            d_recurrent = tf.matmul(tf.reshape(before.stack(), (-1, units)), dzr, transpose_a=True)
            d_biases = [tf.raw_ops.BiasAddGrad(out_backprop=dz) for dz in (dzx, dzr)[: len(biases)]]
            return (tf.transpose(d_x, (1, 0, 2)), d_kernel, d_recurrent, *d_biases, *slopes), _no_second_derivative

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
        "The recurrent layers of keras_seq have no second derivative; take those of keras.layers, to which the same "
        "weights fit."
    )


def linear_scan(gates, values, initial_state, reverse=False):
    """h_t = gates_t h_(t-1) + values_t, one step after the other: on a CPU each step's numbers stay in the cache.

    Args:
        gates, values: float `(B, T, D)`.
        initial_state: `(B, D)`, of the same dtype.
        reverse: whether to begin with the last step; the outputs stay in the order of the inputs.
    Returns:
        `(B, T, D)`.
    Raises:
        NotImplementedError: where a second derivative is asked for.
    """
    shape, T = values.shape, tf.shape(values)[1]
    first, last, step = (T - 1, 0, -1) if reverse else (0, T - 1, 1)

    def array():
        return tf.TensorArray(values.dtype, T, element_shape=(shape[0], shape[2]))

    def in_time(x):
        return tf.transpose(x, (1, 0, 2))

    def refuse(*_):
        raise NotImplementedError("`linear_scan`, and so the layers built on it, have no second derivative.")

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
        def gradient(slopes, *_):  # the rest is there for a second tape to see what a gradient depends on
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
