# %% [markdown]
# # A cell of your own
#
# A recurrent cell is a few lines. You learn what a cell needs, that it then works in stacks and models like the
# built-in ones, and how to see whether it can learn from distant steps.
#
# ## The equations
#
# The minimal gated unit of Zhou et al. 2016 (arXiv:1603.09420) has one gate, where a GRU has two:
#
#     f = sigmoid(W x + U h)            how much of the state is replaced
#     c = tanh(V x + R (f * h))         the new content
#     h' = (1 - f) * h + f * c

# %%
import keras
from keras import ops


@keras.saving.register_keras_serializable("tutorial")
class MinimalGatedUnit(keras.layers.Layer):
    """A cell for `keras.layers.RNN` and for the stacks of keras_seq."""

    def __init__(self, units, gate_bias=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.gate_bias = units, gate_bias
        self.state_size = units  # one state vector

    def build(self, input_shape):
        bias = keras.initializers.Constant(self.gate_bias)  # far below zero: f is near 0, and the state is kept
        self.gate = keras.layers.Dense(self.units, activation="sigmoid", bias_initializer=bias)
        self.content = keras.layers.Dense(self.units, activation="tanh")
        for dense in (self.gate, self.content):
            dense.build((None, input_shape[-1] + self.units))

    def call(self, x, states):
        (h,) = states  # (B, units)
        f = self.gate(ops.concatenate([x, h], axis=-1))
        c = self.content(ops.concatenate([x, f * h], axis=-1))
        h = (1 - f) * h + f * c
        return h, [h]  # the output and the new state

    def gates(self, x, states):  # for inspection.gradients.gate_saturation
        return {"f": self.gate(ops.concatenate([x, states[0]], axis=-1))}

    def get_config(self):
        return {**super().get_config(), "units": self.units, "gate_bias": self.gate_bias}


# %% [markdown]
# ## A task that needs memory
#
# The first id of a row, 1 or 2, is its label. Sixty random ids follow. Guessing gives 50%.

# %%
import numpy as np

random = np.random.default_rng(1)
labels = random.integers(0, 2, 1500)
ids = np.concatenate([labels[:, None] + 1, random.integers(3, 20, (1500, 60))], axis=1)
print(ids[0, :8], "->", labels[0])

# %% [markdown]
# ## A stack of it
#
# `RecurrentStack` takes the class and creates as many cells as it needs: for several layers, for two directions.
# `cell_options` are the arguments of the cell. Here is the same model twice, with two biases of the gate at the start
# of the training.

# %%
from keras_seq import layers, losses, optimizers


def build(gate_bias):
    keras.utils.set_random_seed(1)
    tokens = keras.Input((None,), dtype="int32")
    x = layers.TokenEmbedding(20, 16)(tokens)
    x, states = layers.RecurrentStack(MinimalGatedUnit, units=32, cell_options={"gate_bias": gate_bias})(x)
    model = keras.Model(tokens, keras.layers.Dense(2)(layers.LastPooling()(x)))
    model.compile(optimizers.Adam(0.005, global_clipnorm=1.0), losses.TokenCrossentropy(), metrics=["accuracy"])
    return model


trained = {}
for gate_bias in (0.0, -3.0):
    trained[gate_bias] = build(gate_bias)
    trained[gate_bias].fit(ids[:1200], labels[:1200], batch_size=50, epochs=6, verbose=0)
    loss, accuracy = trained[gate_bias].evaluate(ids[1200:], labels[1200:], verbose=0)
    print(f"bias {gate_bias:2g}: test accuracy {accuracy:.0%}")

# %% [markdown]
# ## Why?
#
# The norm of the gradient by the number of steps back from the loss, before the training. Sixty steps back is the id
# that decides. With a bias of 0 half of the state is replaced at each step, and the gradient has fallen by many
# powers of ten: nothing can be learned from that step.

# %%
from IPython.display import Image

from keras_seq.inspection import gradients, plots

curves = {}
for gate_bias in (0.0, -3.0):
    norms = gradients.gradient_norms(build(gate_bias), ids[:32], labels[:32])
    curves[f"bias {gate_bias:g}"] = next(iter(norms.values()))
Image(filename=plots.gradient_curve(curves, "gradients.png"))

# %% [markdown]
# ## It is one of the cells now
#
# Models take the class as their architecture, masks work, and a saved model finds it by its registered name.

# %%
from keras_seq import models

model = trained[-3.0]
model.save("memory.keras")
same = keras.models.load_model("memory.keras")
outputs = model.predict(ids[:9], verbose=0)
print("loaded, equal outputs:", np.allclose(outputs, same.predict(ids[:9], verbose=0), atol=1e-6))
padded = np.pad(ids[:9], ((0, 0), (0, 5)))
print("padding changes nothing:", np.allclose(outputs, model.predict(padded, verbose=0), atol=1e-6))
translator = models.Seq2Seq(50, units=16, num_layers=2, cell=MinimalGatedUnit, attention="additive")
print(translator({"source": ids[:2], "target": ids[:2, :5]}).shape)

# %% [markdown]
# ## Next
#
# - More measurements of gradients, gates and dead units: [gradients through time](../gradients.md).
# - Published memory tasks for your cell: `python -m recipes.memory`, [memory](../memory.md).
# - Biases for memory of a given length: `layers.chrono_options`. Which built-in cell to take:
#   [architectures](../guides/architectures.md).
