# %% [markdown]
# # Many workers
#
# The same training on one device, on several devices and in several processes. You learn the one line that is needed,
# that the updates are the same, and how processes are started.
#
# A notebook has one CPU, so it is divided in two first. With GPUs leave that line out. Nothing becomes faster here:
# the point is that the numbers are equal.

# %%
import tensorflow as tf

from keras_seq import distribution

tf.get_logger().setLevel("ERROR")  # TensorFlow reports each transfer between devices
distribution.divide_cpu(2)  # before anything else is computed

# %% [markdown]
# ## A model and its data
#
# Rows of different lengths, so that the parts of a batch have different numbers of tokens. This is where a mean of
# the means of the devices is wrong.

# %%
import keras
import numpy as np

from keras_seq import layers, losses

random = np.random.default_rng(1)
ids = np.zeros((240, 12), "int32")
for row in ids:
    length = random.integers(2, 13)
    row[:length] = random.integers(1, 50, length)
labels = np.roll(ids, 1, axis=1)  # at each step the id before it
batches = tf.data.Dataset.from_tensor_slices((ids, labels, ids != 0)).batch(48)


def build_model():
    tokens = keras.Input((None,), dtype="int32")
    x, states = layers.RecurrentStack("gru", units=24)(layers.TokenEmbedding(50, 16)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(50)(x))
    model.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), losses.TokenCrossentropy())
    return model


# %% [markdown]
# ## Two devices
#
# The model is built in the scope. `fit` stays as it is: each batch is split by rows, and the loss is divided by the
# tokens of all devices.

# %%
histories = {}
for name, strategy in (("one device", "one_device"), ("two devices", "mirrored")):
    keras.utils.set_random_seed(1)
    with distribution.scope(strategy, replicas=2 if strategy == "mirrored" else None):
        model = build_model()
    histories[name] = model.fit(batches, epochs=3, verbose=0).history["loss"]
    print(f"{name:12}", [f"{loss:.6f}" for loss in histories[name]])

# %% [markdown]
# ## A proof for your model
#
# `check_distributed` trains a model in each way and compares gradients, weights, losses and predictions. Call it once
# for a model of your own, before it trains on eight GPUs.

# %%
print(distribution.check_distributed(build_model, batches, steps=4))

# %% [markdown]
# ## Two processes
#
# Workers on several machines run the same program. On one machine the launcher starts them, with restarts if one
# dies. The program is a file, since every worker runs it from the beginning.

# %%
import pathlib

_ = pathlib.Path("train.py").write_text('''
import keras
import numpy as np
import tensorflow as tf

from keras_seq import distribution, layers, losses

scope = distribution.scope("multi_worker_mirrored")  # early: the workers connect here
random = np.random.default_rng(1)
ids = np.zeros((240, 12), "int32")
for row in ids:
    length = random.integers(2, 13)
    row[:length] = random.integers(1, 50, length)
batches = tf.data.Dataset.from_tensor_slices((ids, np.roll(ids, 1, axis=1), ids != 0)).batch(48)
keras.utils.set_random_seed(1)
with scope:
    tokens = keras.Input((None,), dtype="int32")
    x, states = layers.RecurrentStack("gru", units=24)(layers.TokenEmbedding(50, 16)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(50)(x))
    model.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), losses.TokenCrossentropy())
history = model.fit(batches, epochs=3, verbose=0).history["loss"]
print("losses", *[f"{loss:.6f}" for loss in history])
''')  # fmt: skip

# %%
import subprocess
import sys

command = [sys.executable, "-m", "keras_seq.distribution.launch", "--workers", "2", "--", "python", "train.py"]
done = subprocess.run(command, capture_output=True, text=True)
lines = sorted(line for line in done.stdout.splitlines() if "losses" in line)
print("\n".join(lines))

# %%
apart = max(
    abs(float(number) - loss)
    for line in lines
    for number, loss in zip(line.split()[2:], histories["one device"], strict=True)
)
print(f"{len(lines)} workers, largest difference from one device: {apart:.0e}")

# %% [markdown]
# ## Next
#
# - Slurm, Kubernetes, restarts, data workers: [many devices and workers](../distribution.md).
# - `training.Resume` saves and resumes on all workers: [the quick start](../start/your_data.md).
