# %% [markdown]
# # Translation with attention, step by step
#
# An encoder reads a sentence, a decoder writes another one and looks back at the first through attention. You learn
# what the decoder gets in training, what it gets in use, and what its attention shows.
#
# ## The data
#
# Dates in words are translated into digits. The order changes: the year comes last in the source and first in the
# target.

# %%
import datetime
import random

random.seed(1)
days = [datetime.date(1950, 1, 1) + datetime.timedelta(number) for number in random.sample(range(40_000), 5000)]
sources = [f"{day.day} {day:%B} {' '.join(str(day.year))}" for day in days]
targets = [" ".join(day.isoformat()) for day in days]
print(sources[0], "->", targets[0])

# %% [markdown]
# ## Ids
#
# One vocabulary for both sides. Every vocabulary has four ids of its own: padding, unknown, start and end.

# %%
from keras_seq import text

words = text.Words.train(sources + targets)
print(words.get_vocabulary()[:6], words.size)

# %% [markdown]
# ## What the decoder is trained on
#
# The decoder predicts each token from the tokens before it. In training these are the right ones: the input is the
# target, moved by one step behind the start token. This is teacher forcing.

# %%
import tensorflow as tf

from keras_seq import data

pairs = tf.data.Dataset.from_tensor_slices((sources[:4500], targets[:4500])).apply(words.encoded()).cache()
batches = pairs.apply(data.shuffled(seed=1)).apply(data.bucketed(512)).apply(data.teacher_forcing(words.start_id))
inputs, labels, weights = next(iter(batches))
for name, row in {"source": inputs["source"], "target": inputs["target"], "label": labels}.items():
    print(f"{name:6}", words.pieces(row[0].numpy()))

# %% [markdown]
# ## The model
#
# `attention="additive"` is the attention of Bahdanau et al. 2015: a small network compares the decoder's state with
# each step of the encoder.

# %%
import keras

from keras_seq import losses, models, optimizers

keras.utils.set_random_seed(1)
model = models.Seq2Seq(words.size, units=48, num_layers=1, cell="gru", attention="additive", dropout=0.0)
model.compile(optimizers.Adam(0.01), losses.TokenCrossentropy())
history = model.fit(batches, epochs=8, verbose=0)
print([round(value, 3) for value in history.history["loss"]])

# %% [markdown]
# ## One step at a time
#
# In use there is no right answer to feed. Each predicted token is the next input. `encode` and `decode` are all that
# a search needs, and this loop is greedy search:

# %%
import numpy as np

source = words.tokenize(["14 July 1 7 8 9"]).to_tensor().numpy()
source = np.append(source, [[words.end_id]], axis=1)
state = model.encode(source, max_length=12)
token, written = words.start_id, []
while token != words.end_id and len(written) < 12:
    logits, state = model.decode(np.array([[token]]), state)
    token = int(np.argmax(logits[0, 0]))
    written.append(token)
print(words.pieces(written))

# %% [markdown]
# ## A task with beam search
#
# Greedy search cannot take a token back. Beam search keeps several candidates and returns the best ones with their
# scores.

# %%
from keras_seq import tasks

dates = tasks.Translation(model, words, num_beams=5, max_length=14)
right = [output == target for output, target in zip(dates(sources[4500:]), targets[4500:], strict=True)]
print(f"exact match {sum(right) / len(right):.1%} of {len(right)} dates that it has not seen")
best = dates.details(["29 February 2 0 0 0"], num_return=3)[0]
for output, log_prob in zip(best.texts, best.log_probs, strict=True):
    print(f"{log_prob:8.3f}  {output}")

# %% [markdown]
# ## What does it look at?
#
# A row for each token that it writes, a column for each token of the source. The digits of the year come from the
# year, in their order, and those of the day from the day. The weight is not always on the word itself: each step of a
# bidirectional encoder also knows its neighbors, so the month may be read one step beside it, or at the end of the
# source.

# %%
from IPython.display import Image

from keras_seq.inspection import plots

weights, pieces, output = dates.attention("14 July 1 9 8 9")
Image(filename=plots.attention_map(weights, pieces, output, "attention.png"))

# %% [markdown]
# ## Next
#
# - Sentences of a language, subwords and an hour of training: [the recipe](../../recipes/README.md).
# - Other searches, constraints, required words: [decoding](../decoding.md).
# - A step of one batch, and why its shapes matter: [batches and buckets](../guides/batches.md).
