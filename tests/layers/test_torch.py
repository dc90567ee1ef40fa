"""Our layers against PyTorch's, with the weights copied over."""

import numpy as np
import pytest

from keras_seq.layers import MultiHeadAttention, RecurrentStack, TransformerDecoderLayer, TransformerEncoderLayer
from tests.reference import array, arrays, fill, spread

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

UNITS, HEADS, HIDDEN = 16, 4, 24
X, SOURCE = spread((3, 7, UNITS)), spread((3, 5, UNITS), start=500)
MASK = np.arange(7) < np.array([[7], [4], [1]])
SOURCE_MASK = np.arange(5) < np.array([[3], [5], [1]])
CAUSAL = torch.nn.Transformer.generate_square_subsequent_mask(7) != 0  # True: not to be seen
LAYER = {"dropout": 0.0, "batch_first": True}


def copy(parameter, *values):
    """Puts our matrices, side by side and turned as PyTorch has them, into a parameter."""
    with torch.no_grad():
        parameter.copy_(torch.tensor(np.concatenate([array(value).T for value in values])))


def copy_dense(linear, dense):
    copy(linear.weight, dense.kernel)
    copy(linear.bias, dense.bias)


def copy_attention(theirs, ours):
    projections = (ours.query_dense, ours.key_dense, ours.value_dense)
    copy(theirs.in_proj_weight, *(dense.kernel for dense in projections))
    copy(theirs.in_proj_bias, *(dense.bias for dense in projections))
    copy_dense(theirs.out_proj, ours.output_dense)


def copy_layer(theirs, ours, parts):
    copy_attention(theirs.self_attn, ours.self_attention)
    copy_dense(theirs.linear1, ours.hidden_dense)
    copy_dense(theirs.linear2, ours.output_dense)
    for number, part in enumerate(parts, start=1):
        norm = getattr(theirs, f"norm{number}")
        copy(norm.weight, ours.norms[part].gamma)
        copy(norm.bias, ours.norms[part].beta)


def tensor(x):
    return torch.tensor(np.asarray(x))


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_multi_head_attention():
    ours = MultiHeadAttention(UNITS, HEADS)
    ours(X, ours.project_memory(SOURCE))
    fill(ours)
    theirs = torch.nn.MultiheadAttention(UNITS, HEADS, batch_first=True)
    copy_attention(theirs, ours)
    source = tensor(SOURCE)
    expected, weights = theirs(tensor(X), source, source, key_padding_mask=tensor(~SOURCE_MASK))
    memory, mask = ours.project_memory(SOURCE), SOURCE_MASK[:, None, :]
    assert_same(array(ours(X, memory, attention_mask=mask)), expected)
    assert_same(array(ours.weights_for(X, memory, attention_mask=mask)), weights)


@pytest.mark.parametrize("num_key_value_heads", [1, 2])
def test_grouped_query_attention(num_key_value_heads):
    ours = MultiHeadAttention(UNITS, HEADS, num_key_value_heads=num_key_value_heads)
    ours(X, ours.project_memory(SOURCE))
    fill(ours)
    memory = ours.project_memory(SOURCE)
    # The product between the projections is PyTorch's, the projections are ours: (B, T, H, D / H) -> (B, H, T, D / H).
    heads = [ours._heads(ours.query_dense(X), HEADS), memory["keys"], memory["values"]]
    context = torch.nn.functional.scaled_dot_product_attention(
        *(tensor(array(x)).transpose(1, 2) for x in heads),
        attn_mask=tensor(SOURCE_MASK)[:, None, None, :],
        enable_gqa=True,
    )
    context = context.transpose(1, 2).reshape(3, 7, UNITS).numpy()
    expected = context @ array(ours.output_dense.kernel) + array(ours.output_dense.bias)
    np.testing.assert_allclose(array(ours(X, memory, attention_mask=SOURCE_MASK[:, None, :])), expected, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("normalize_first", [True, False], ids=["pre-norm", "post-norm"])
def test_encoder_layer(normalize_first, activation):
    ours = TransformerEncoderLayer(UNITS, HEADS, HIDDEN, normalize_first=normalize_first, activation=activation)
    ours(X)
    fill(ours)
    theirs = torch.nn.TransformerEncoderLayer(
        UNITS, HEADS, HIDDEN, norm_first=normalize_first, activation=activation, **LAYER
    )
    copy_layer(theirs, ours, ("self", "feed_forward"))
    expected = theirs(tensor(X), src_key_padding_mask=tensor(~MASK))
    assert_same(array(ours(X, mask=MASK))[MASK], expected[tensor(MASK)])


@pytest.mark.parametrize("normalize_first", [True, False], ids=["pre-norm", "post-norm"])
def test_decoder_layer(normalize_first):
    ours = TransformerDecoderLayer(UNITS, HEADS, HIDDEN, normalize_first=normalize_first)
    ours.project_memory(SOURCE)
    ours(X, ours.project_memory(SOURCE), SOURCE_MASK)
    fill(ours)
    theirs = torch.nn.TransformerDecoderLayer(UNITS, HEADS, HIDDEN, norm_first=normalize_first, **LAYER)
    copy_layer(theirs, ours, ("self", "cross", "feed_forward"))
    copy_attention(theirs.multihead_attn, ours.cross_attention)
    expected = theirs(
        tensor(X), tensor(SOURCE), tgt_mask=CAUSAL, memory_key_padding_mask=tensor(~SOURCE_MASK), tgt_is_causal=True
    )
    assert_same(array(ours(X, ours.project_memory(SOURCE), SOURCE_MASK)[0]), expected)


# PyTorch's gates in the order of ours: Keras's GRU has update before reset.
GATES = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}
MODULES = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("cell", GATES)
def test_recurrent_stack(cell, bidirectional):
    ours = RecurrentStack(cell, UNITS, num_layers=2, bidirectional=bidirectional)
    ours(X)
    fill(ours)
    units = UNITS // 2 if bidirectional else UNITS
    theirs = MODULES[cell](UNITS, units, num_layers=2, bidirectional=bidirectional, batch_first=True)

    def turned(x):  # (Dx, gates * D) or (gates * D,) -> PyTorch's order of gates
        gates = np.split(array(x), len(GATES[cell]), axis=-1)
        return np.concatenate([gates[g] for g in GATES[cell]], axis=-1)

    for layers, ending in ((ours.forward_layers, ""), (ours.backward_layers, "_reverse")):
        for i, layer in enumerate(layers):
            bias = array(layer.cell.bias)
            biases = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            values = (layer.cell.kernel, layer.cell.recurrent_kernel, *biases)
            for name, value in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), values, strict=True):
                copy(getattr(theirs, f"{name}_l{i}{ending}"), turned(value))
    expected, states = theirs(tensor(X))
    y, ours_states = arrays(ours(X))
    assert_same(y, expected)
    for number, state in enumerate(states if cell == "lstm" else (states,)):  # (layers * directions, B, D)
        by_layer = state.reshape(2, -1, 3, units).transpose(1, 2).flatten(2)  # directions side by side
        assert_same(np.stack([each[number] for each in ours_states]), by_layer)
