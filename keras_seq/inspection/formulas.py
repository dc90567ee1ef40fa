"""The work of one call of a layer, as a closed formula for each kind of layer.

A product of an `(m, k)` and a `(k, n)` matrix counts 2 m n k: a multiplication and an addition for each term. All other
arithmetic is elementwise and counts one for each number and operation, whatever the operation: exp, tanh and + alike.
Reshapes, gathers and comparisons count nothing. `FORMULAS` has the formula of each class.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_seq import layers
from keras_seq.inspection.calls import Call, specs
from keras_seq.layers.autoregressive import _FeedbackCell
from keras_seq.layers.recurrent_stack import RecurrentStack
from keras_seq.models.tagger import LikeliestTags


class Work(NamedTuple):
    """The work of one call in the forward pass, in numbers, not bytes.

    Attributes:
        products: FLOP of matrix products and convolutions.
        elementwise: operations on single numbers.
        training: further ones in training.
        outputs: 0 if the layers inside write the outputs. None: the layer itself does.
        moved: numbers read and written besides inputs, weights and outputs.
        saved: numbers kept for the gradient besides the outputs.
        weights: numbers of weights that are read. None: all.
        steps: steps that must run one after another.
        formula: the formula of `products`, in letters.
    """

    products: int = 0
    elementwise: int = 0
    training: int = 0
    outputs: int | None = None
    moved: int = 0
    saved: int = 0
    weights: int | None = None
    steps: int = 0
    formula: str = ""


def each(operations: float) -> Callable[[Call], Work]:
    """Some operations for each number of the output."""
    return lambda call: Work(elementwise=round(operations * call.y.size))


def inside(operations: float = 0) -> Callable[[Call], Work]:
    """The formula of a layer of layers: they have their own rows. Some operations for each output connect them."""
    return lambda call: Work(elementwise=round(operations * call.y.size) if operations else 0, outputs=0)


def dense(call: Call) -> Work:
    activated = (call.layer.activation is not keras.activations.linear) + call.layer.use_bias
    return Work(2 * call.y.size * call.x.shape[-1], activated * call.y.size, formula="2ndh")


def einsum_dense(call: Call) -> Work:
    _, kernel, output = call.layer.equation.replace("->", ",").split(",")
    sizes = dict(zip(kernel, call.layer.kernel.shape, strict=True))
    summed = math.prod(size for letter, size in sizes.items() if letter not in output)
    return Work(2 * call.y.size * summed, (call.layer.bias is not None) * call.y.size, formula="2ndh")


def ngram_scores(call: Call) -> Work:
    """Sums of rows of a table. Hashes of ids count nothing."""
    summed = call.layer.num_ngrams * call.y.size
    return Work(elementwise=summed, moved=summed, weights=summed)


def embedding(call: Call) -> Work:
    """Ids to vectors, which reads their rows alone, or for `reverse=True` vectors to scores."""
    layer = call.layer
    if call.arguments.get("reverse"):
        return Work(2 * call.y.size * call.x.shape[-1], weights=layer.input_dim * layer.output_dim, formula="2nDV")
    return Work(elementwise=call.y.size if getattr(layer, "scale", False) else 0, weights=call.y.size)


def convolution(call: Call) -> Work:
    layer = call.layer
    terms = math.prod(layer.kernel_size) * call.x.shape[-1] // layer.groups  # channels last
    activated = (layer.activation is not keras.activations.linear) + layer.use_bias
    return Work(2 * call.y.size * terms, activated * call.y.size, formula="2nkCF")


def transposed_convolution(call: Call) -> Work:
    layer = call.layer
    activated = (layer.activation is not keras.activations.linear) + layer.use_bias
    terms = math.prod(layer.kernel_size) * layer.filters
    return Work(2 * call.x.size * terms, activated * call.y.size, formula="2nkCF")


class Cell(NamedTuple):
    """Gates, elementwise operations for each unit and step, and numbers saved for each unit and step by our loop."""

    gates: int
    operations: int
    saved: int


# The operations, in the order of the classes in `layers/recurrent_tensorflow.py`: biases, sums, activations, the rest.
SIMPLE_RNN, GRU, LSTM = Cell(1, 1 + 1 + 1, 2), Cell(3, 6 + 4 + 3 + 4, 6), Cell(4, 4 + 4 + 5 + 4, 7)


def recurrent(cell: Cell) -> Callable[[Call], Work]:
    """The formula of a layer that projects its inputs for all steps at once, and then runs step by step."""

    def work(call: Call) -> Work:
        B, T, d = call.x.shape
        g, h = cell.gates, call.layer.units
        return Work(
            2 * B * T * g * h * (d + h),
            B * T * h * cell.operations,
            moved=2 * B * T * g * h + (T - 1) * g * h * h,  # the projections, and the recurrent kernel at each step
            saved=B * T * h * cell.saved,
            steps=T,
            formula=f"2BT {g if g > 1 else ''}h(d + h)",
        )

    return work


def recurrent_cell(cell: Cell) -> Callable[[Call], Work]:
    def work(call: Call) -> Work:
        (B, d), h, g = call.x.shape, call.layer.units, cell.gates
        numbers = B * h * cell.operations
        return Work(
            2 * B * g * h * (d + h),
            numbers,
            saved=B * h * cell.saved,
            steps=1,
            formula=f"2B {g if g > 1 else ''}h(d + h)",
        )

    return work


def parallel_recurrent(operations: int) -> Callable[[Call], Work]:
    """The formula of a recurrence without products. A parallel scan of a GPU adds 3 log2(T) operations a number."""

    def work(call: Call) -> Work:
        B, T, d = call.x.shape
        width = call.layer.parts * call.layer.units
        numbers = B * T * call.layer.units
        return Work(
            2 * B * T * d * width,
            numbers * operations,
            moved=2 * B * T * width,
            saved=B * T * width + 2 * numbers,  # the projections, the gates and the values
            steps=T,
            formula=f"2BT {call.layer.parts}dh",
        )

    return work


def conv_lstm(call: Call) -> Work:
    """A convolution of the input with strides, and one of the state without, to four times the filters."""
    B, T, *_, channels = call.x.shape
    layer = call.layer
    (*_, height, width, F) = layer.compute_output_shape(call.x.shape)
    places, k = B * T * height * width, math.prod(layer.kernel_size)
    return Work(
        2 * places * k * 4 * F * (channels + F),
        places * F * LSTM.operations,
        moved=2 * places * 4 * F + (T - 1) * k * 4 * F * F,
        saved=places * F * LSTM.saved,
        steps=T,
        formula="2BThw k 4F(C + F)",
    )


SOFTMAX = 5  # the maximum, the difference, exp, the sum, the quotient


def scaled_dot(N: int, T: int, S: int, H: int, key_dim: int, value_dim: int) -> Work:
    """Scores, their softmax, and the weighted sum of the values, for N T queries and S keys."""
    scores = N * H * T * S
    return Work(
        2 * scores * (key_dim + value_dim),
        scores * SOFTMAX + N * T * H * key_dim,
        moved=4 * scores,  # scores and weights, written and read
        saved=scores,
        weights=0,
        formula="4NTS D",
    )


def multi_head_attention(call: Call) -> Work:
    """The work apart from the four projections, which have their own rows. `projected` runs over all heads."""
    (N, T, _), layer = call.x.shape, call.layer
    S = call.arguments["memory"]["keys"].shape[2]
    return scaled_dot(N, T, S, layer.num_heads, layer.head_dim, layer.head_dim)


def keras_multi_head_attention(call: Call) -> Work:
    query, value = call.arguments["query"], call.arguments["value"]
    (N, T, _), S, layer = query.shape, value.shape[1], call.layer
    if isinstance(layer, keras.layers.GroupQueryAttention):
        return scaled_dot(N, T, S, layer.num_query_heads, layer.head_dim, layer.head_dim)
    # The softmax is a layer of its own.
    work = scaled_dot(N, T, S, layer.num_heads, layer.key_dim, layer.value_dim)
    return work._replace(elementwise=N * T * layer.num_heads * layer.key_dim)


def keras_attention(call: Call) -> Work:
    query, value, *keys = specs(call.arguments["inputs"])
    (N, T, D), (_, S, V) = query.shape, value.shape
    if call.layer.score_mode == "dot" and not isinstance(call.layer, keras.layers.AdditiveAttention):
        return scaled_dot(N, T, S, 1, D, V)
    scores = N * T * S
    return Work(2 * scores * V, scores * (3 * D + SOFTMAX), moved=4 * scores, saved=scores * (1 + D), formula="2NTS V")


def memory_attention(call: Call) -> Work:
    """The attentions for decoders, apart from the dense layers inside, which have their own rows."""
    (N, T, D), (_, S, V), layer = call.x.shape, call.arguments["memory"]["values"].shape, call.layer
    scores = N * T * S
    context = Work(2 * scores * V, scores * SOFTMAX, moved=4 * scores, saved=scores, weights=0, formula="2NTS V")
    if isinstance(layer, layers.AdditiveAttention):
        hidden = scores * layer.units  # (N, T, S, units): a sum and its tanh
        return context._replace(elementwise=scores * SOFTMAX + 2 * hidden, saved=scores + hidden, moved=4 * hidden)
    return context._replace(products=2 * scores * (D + V), formula="2NTS (D + V)")


def location_attention(call: Call) -> Work:
    """For each step a convolution, two dense layers, and the context. The memory is projected by another call."""
    (N, T, D), (_, S, V), layer = call.x.shape, call.arguments["memory"]["values"].shape, call.layer
    scores = N * T * S
    f, u, k = layer.filters, layer.units, layer.kernel_size
    hidden = scores * u
    return Work(
        2 * N * T * D * u + 2 * scores * (k * f + f * u + u + V),
        N * T * u + 3 * hidden + scores * (SOFTMAX + 1),
        moved=4 * hidden,
        saved=scores * (1 + f) + hidden,
        weights=D * u + u + k * f + f * u + u,
        steps=T,
        formula="2NT Du + 2NTS (kf + fu + u + V)",
    )


def attention_pooling(call: Call) -> Work:
    B, T, D = call.x.shape
    return Work(2 * B * T * D, SOFTMAX * B * T, weights=0, formula="2BT D")


def log_mel(call: Call) -> Work:
    """A Fourier transform of each frame, 5/2 N log2 N operations for N real samples, and the product with the bands.

    The layer computes N more samples of silence, whose frames it drops.
    """
    B, _, bands = call.y.shape
    N = call.layer.fft_length
    frames = 1 + (call.x.shape[1] + N) // call.layer.stride
    spectrum = B * frames * (N // 2 + 1)
    transform = round(B * frames * 2.5 * N * math.log2(N)) + B * frames * N  # and the window
    return Work(2 * spectrum * bands, transform + 3 * spectrum + 2 * call.y.size, moved=4 * spectrum, formula="2nNM")


def dropout(call: Call) -> Work:
    """In training a comparison, a factor and a product. The random numbers are not counted."""
    return Work(training=3 * call.y.size, outputs=0)


def viterbi(call: Call) -> Work:
    return Work(elementwise=2 * call.x.size, moved=call.x.size, steps=call.x.shape[1])


K = keras.layers
MASKS = (K.InputLayer, K.Flatten, K.Reshape, K.Permute, K.RepeatVector, K.Concatenate, K.Masking, K.Cropping1D)
MASKS += (K.ZeroPadding1D, K.UpSampling1D, K.Identity)
WINDOWS = (K.MaxPooling1D, K.AveragePooling1D, K.MaxPooling2D, K.AveragePooling2D)
WINDOWS += (K.GlobalMaxPooling1D, K.GlobalAveragePooling1D)
FORMULAS: dict[type, Callable[[Call], Work]] = {
    **dict.fromkeys(MASKS, each(0)),
    **dict.fromkeys((K.Dropout, K.SpatialDropout1D, K.GaussianNoise, layers.SpecAugment), dropout),
    **dict.fromkeys(
        (K.Activation, K.ReLU, K.LeakyReLU, K.Add, K.Multiply, K.Subtract, K.Average, K.Rescaling), each(1)
    ),
    **dict.fromkeys((layers.TrailingPaddingMask, layers.BlankPadding, layers.QuantileOffsets), each(1)),
    **dict.fromkeys((layers.Affixes, layers.JoinFeatures, layers.LastSteps, layers.Patches), each(0)),
    **dict.fromkeys((layers.FramePairs, layers.FramePatches, layers.LastPooling), each(0)),
    **dict.fromkeys((K.Conv1D, K.Conv2D, K.Conv3D, layers.MaskedConv1D), convolution),
    **dict.fromkeys((K.Conv1DTranspose, K.Conv2DTranspose), transposed_convolution),
    **dict.fromkeys((K.LSTM, layers.LSTM), recurrent(LSTM)),
    **dict.fromkeys((K.GRU, layers.GRU), recurrent(GRU)),
    **dict.fromkeys((K.SimpleRNN, layers.SimpleRNN), recurrent(SIMPLE_RNN)),
    **dict.fromkeys((K.ConvLSTM2D, layers.ConvLSTM2D), conv_lstm),
    **dict.fromkeys(WINDOWS, lambda call: Work(elementwise=call.x.size)),
    **dict.fromkeys((layers.MeanPooling, layers.MaxPooling), lambda call: Work(elementwise=2 * call.x.size)),
    **dict.fromkeys((K.MultiHeadAttention, K.GroupQueryAttention), keras_multi_head_attention),
    **dict.fromkeys((K.Attention, K.AdditiveAttention), keras_attention),
    **dict.fromkeys((layers.DotAttention, layers.GeneralAttention, layers.AdditiveAttention), memory_attention),
    **dict.fromkeys((K.RNN, K.StackedRNNCells, K.Bidirectional, K.TimeDistributed), inside()),
    **dict.fromkeys((layers.Bridge, layers.CharacterEncoder, layers.FrameConvolution, layers.FrameDecoder), inside()),
    **dict.fromkeys((layers.ConvSubsampling, layers.FrameCNN, layers.AutoregressiveDecoder, _FeedbackCell), inside()),
    layers.ScheduledSampling: inside(),
    **dict.fromkeys((layers.TransformerEncoderLayer, layers.TransformerDecoderLayer), inside(3)),  # residuals, gate
    **dict.fromkeys((RecurrentStack, layers.TransformerStack), inside(1)),
    **dict.fromkeys((K.Dense, layers.Dense), dense),
    K.EinsumDense: einsum_dense,
    **dict.fromkeys((K.Embedding, K.ReversibleEmbedding, layers.TokenEmbedding), embedding),
    K.LSTMCell: recurrent_cell(LSTM),
    K.GRUCell: recurrent_cell(GRU),
    K.SimpleRNNCell: recurrent_cell(SIMPLE_RNN),
    # Biases, activations, the gates' arithmetic, and two for the scan.
    layers.MinGRU: parallel_recurrent(2 + 3 + 2),
    layers.MinLSTM: parallel_recurrent(3 + 7 + 2),
    layers.RGLRU: parallel_recurrent(3 + 11 + 2),
    K.Softmax: each(SOFTMAX),
    K.LayerNormalization: each(8),
    K.RMSNormalization: each(5),
    K.BatchNormalization: each(2),
    layers.ReversibleNormalization: each(7),
    layers.MovingAverage: lambda call: Work(elementwise=call.layer.window * call.y.size),
    layers.AttentionPooling: attention_pooling,
    layers.MultiHeadAttention: multi_head_attention,
    layers.LocationSensitiveAttention: location_attention,
    layers.ScaledDotAttention: memory_attention,
    layers.LearnedPositions: lambda call: Work(weights=call.y.size),
    layers.LogMel: log_mel,
    layers.CRF: each(2),
    layers.NgramScores: ngram_scores,
    layers.ViterbiDecoder: viterbi,
    LikeliestTags: lambda call: Work(elementwise=call.x.size),
}
# The formula covers the layers inside.
WHOLE = (K.LSTM, K.GRU, K.SimpleRNN, K.ConvLSTM2D, layers.LocationSensitiveAttention, layers.LogMel)
NOTHING = ("BroadcastTo", "Cast", "Concatenate", "Copy", "Equal", "ExpandDims", "Flip", "GetItem", "Greater")
NOTHING += ("GreaterEqual", "Less", "LessEqual", "NotEqual", "Pad", "Repeat", "Reshape", "Shape", "Slice", "Split")
NOTHING += ("Squeeze", "Stack", "Swapaxes", "Take", "TakeAlongAxis", "Tile", "Transpose", "Unstack", "Where")
UNKNOWN_PRODUCTS = ("Dot", "Einsum", "Tensordot", "Inner", "Outer", "Vdot", "Conv", "ConvTranspose", "DepthwiseConv")
UNKNOWN_PRODUCTS += ("SeparableConv", "DotProductAttention")


def formula_of(layer: keras.Operation) -> Callable[[Call], Work] | None:
    """The formula of a layer or operation, or None if it has none.

    A subclass has the formula of its base as long as it has the same `call`.
    """
    kind = type(layer)
    if not isinstance(layer, keras.Layer):
        if kind.__name__ == "Matmul":
            return lambda call: Work(2 * call.y.size * call.x.shape[-1], formula="2mnk")
        return None if kind.__name__ in UNKNOWN_PRODUCTS else each(kind.__name__ not in NOTHING)
    for base in kind.__mro__:
        if base in FORMULAS:
            return FORMULAS[base] if kind.call is base.call else None
    graph = isinstance(layer, keras.Sequential) or hasattr(layer, "operations")  # sequential or functional
    ours = isinstance(layer, keras.Model) and kind.__module__.startswith("keras_seq.")
    return inside() if graph or ours else None
