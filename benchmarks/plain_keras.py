"""The two models of the benchmarks out of Keras's own layers, as one would write them, equal in shape to ours."""

import keras
from keras import layers, ops


class PositionEmbedding(layers.Layer):
    def __init__(self, longest, units):
        super().__init__()
        self.scale = units**0.5
        self.table = layers.Embedding(longest, units)

    def call(self, x):
        return x * self.scale + self.table(ops.arange(ops.shape(x)[1])[None, :])


def transformer(vocabulary_size, units=128, num_heads=4, intermediate_dim=256, num_layers=4, dropout=0.1, longest=256):
    """Pre-norm, tied scores, no dropout on attention weights; positions are learned, which costs less than sines."""
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    embedding = layers.ReversibleEmbedding(vocabulary_size, units)
    positions = PositionEmbedding(longest, units)
    source_mask = ops.expand_dims(ops.not_equal(source, 0), 1)  # (B, 1, S)

    def embed(tokens):
        return layers.Dropout(dropout)(positions(embedding(tokens)))

    def around(x, part):
        return x + layers.Dropout(dropout)(part(layers.LayerNormalization(epsilon=1e-5)(x)))

    def attend(memory=None, **options):
        attention = layers.MultiHeadAttention(num_heads, units // num_heads)
        return lambda x: attention(x, x if memory is None else memory, **options)

    def feed_forward(x):
        hidden = layers.Dropout(dropout)(layers.Dense(intermediate_dim, activation="relu")(x))
        return layers.Dense(units)(hidden)

    x = embed(source)
    for _ in range(num_layers):
        x = around(x, attend(attention_mask=source_mask))
        x = around(x, feed_forward)
    memory = layers.LayerNormalization(epsilon=1e-5)(x)
    x = embed(target)
    for _ in range(num_layers):
        x = around(x, attend(use_causal_mask=True))
        x = around(x, attend(memory=memory, attention_mask=source_mask))
        x = around(x, feed_forward)
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return keras.Model({"source": source, "target": target}, embedding(x, reverse=True))


def lstm(vocabulary_size, units=256, num_layers=2, dropout=0.1):
    """A bidirectional encoder; a decoder whose first layer asks the attention; scores tied to the embedding."""
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    embedding = layers.ReversibleEmbedding(vocabulary_size, units)
    mask = ops.not_equal(source, 0)

    x, states = layers.Dropout(dropout)(embedding(source)), []
    for i in range(num_layers):
        x = layers.Dropout(dropout)(x) if i else x
        layer = layers.Bidirectional(layers.LSTM(units // 2, return_sequences=True, return_state=True))
        x, *halves = layer(x, mask=mask)  # h and c ahead, h and c back
        states.append([layers.Concatenate()(halves[i::2]) for i in range(2)])
    memory = x

    x = layers.Dropout(dropout)(embedding(target))
    x = layers.LSTM(units, return_sequences=True)(x, initial_state=states[0])
    keys = layers.Dense(units, use_bias=False)(memory)
    context = layers.Attention()([x, memory, keys], mask=[None, mask])
    for state in states[1:]:
        x = layers.Dropout(dropout)(ops.concatenate([x, context], axis=-1))
        x = layers.LSTM(units, return_sequences=True)(x, initial_state=state)
    x = layers.Dense(units, activation="tanh")(ops.concatenate([x, context], axis=-1))
    x = layers.Dropout(dropout)(x)
    return keras.Model({"source": source, "target": target}, embedding(x, reverse=True))
