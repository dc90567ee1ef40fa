# %% [markdown]
# # A language model that streams
#
# A language model predicts the next character from all before it. You learn to train on one long text with a state
# that is carried from batch to batch, to sample, and to show a text as it is written.
#
# ## The data
#
# A text of lines that count. After the first number and the thing, all but the end of a line is determined.

# %%
import random

numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
things = ["hens", "cats", "goats", "mules", "ducks", "foxes", "pigs", "lambs"]


def line(draw):
    thing, start, count = draw.choice(things), draw.randrange(5), draw.randrange(2, 5)
    return ", ".join(f"{number} {thing}" for number in numbers[start : start + count]) + ".\n"


draw = random.Random(1)
train, valid = ("".join(line(draw) for _ in range(lines)) for lines in (3000, 150))
print(train[:100])

# %% [markdown]
# ## Streams
#
# The text is cut into 16 streams, and a batch has the next 50 characters of each. The state at the end of a batch is
# the state at the beginning of the next one, so the model can use more than 50 characters although the gradient stops
# there.

# %%
from keras_seq import data, text

characters = text.Characters.train(train.splitlines(keepends=True))
ids = data.token_ids([train], characters)
batches = data.streams(ids, batch_size=16, length=50, start_id=characters.start_id)
inputs, labels, weights = next(iter(batches))
print(
    f"{len(ids):,} characters of {characters.size} kinds;",
    inputs["tokens"].shape,
    "in each of",
    len(list(batches)),
    "batches",
)

# %%
import keras

from keras_seq import layers, losses, models, optimizers

keras.utils.set_random_seed(1)
model = models.LanguageModel(characters.size, layers.RecurrentStack("lstm", 128), streams=16)
model.compile(optimizers.Adam(0.006, global_clipnorm=1.0), losses.TokenCrossentropy())
history = model.fit(batches, epochs=5, verbose=0)
print([round(value, 2) for value in history.history["loss"]])

# %% [markdown]
# ## How good is it?
#
# The loss of each character of new text, in nats. Where the line is determined it is near zero. It is high where
# something new begins: the first number of a line, its thing, and whether the line goes on. Nobody can predict these,
# so there is a lowest loss: a line is one of 8 things x 5 first numbers x 3 counts.

# %%
import matplotlib.pyplot as plt
import numpy as np

from keras_seq import decoding

valid_ids = data.token_ids([valid], characters)
nats = decoding.TokenLosses(model)(data.streams(valid_ids, 1, 64, start_id=characters.start_id)).ravel()[
    : len(valid_ids)
]
lowest = 150 * np.log(8 * 5 * 3) / len(valid)
print(f"{np.nanmean(nats):.3f} nats per character; the lowest loss is {lowest:.3f}")

shown = slice(len(valid.splitlines(keepends=True)[0]), len(valid.splitlines(keepends=True)[0]) + 70)
figure, axes = plt.subplots(figsize=(9, 2.4), layout="constrained")
axes.bar(range(70), nats[shown])
axes.set_xticks(range(70), [character.replace("\n", "⏎") for character in valid[shown]], family="monospace")
axes.set(ylabel="nats")
plt.show()

# %% [markdown]
# ## A text as it is written
#
# `decoding.stream` yields each piece as soon as it is complete, for a page or a terminal. A low temperature prefers
# likely characters.

# %%
for piece in decoding.stream(model, characters, "three goats, ", echo=True, max_length=60, temperature=0.3, seed=1):
    print(piece, end="", flush=True)

# %%
for temperature in (0.3, 1.0, 2.0):
    pieces = decoding.stream(model, characters, "two ", echo=True, max_length=60, temperature=temperature, seed=2)
    print(f"temperature {temperature}: {''.join(pieces)!r}")

# %% [markdown]
# ## Next
#
# - `tasks.Generation(model, characters, search="sampling", temperature=0.8)` is the task. `keras-seq serve` sends its
#   pieces as server-sent events: [serving](../serving.md).
# - The carried state in detail: [state and long sequences](../guides/state.md).
# - A million characters of Shakespeare: [the recipe](../language_model.md).
