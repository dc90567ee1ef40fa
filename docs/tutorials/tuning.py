# %% [markdown]
# # Tuning
#
# A search tries different options of a model and keeps the best. You learn to write a search space with a condition,
# to give all trials the same budget, to read the plots of a search, and why the best score is too good.
#
# Needs `pip install ".[tuning]"` in a checkout.
#
# ## The data
#
# Sentences with two clauses, where the second decides, as in [sentiment](sentiment.md).

# %%
import itertools
import random

from keras_seq import data, text

subjects = ["acting", "story", "music", "ending", "pace", "camera"]
words = {"good": ["warm", "fresh", "funny", "clever", "moving"], "bad": ["dull", "flat", "cold", "loud", "clumsy"]}
rows = [
    {"text": f"the {first} was {one} , but the {last} was {two} .", "label": mood}
    for mood, other in (("good", "bad"), ("bad", "good"))
    for (first, last), one, two in itertools.product(itertools.permutations(subjects, 2), words[other], words[mood])
]
random.seed(1)
random.shuffle(rows)

import pandas as pd

reviews = data.read_labeled_text(pd.DataFrame(rows))
vocabulary = text.Words.train(reviews.texts)
examples = reviews.dataset().apply(vocabulary.encoded()).cache()
train, valid = examples.take(400), examples.skip(400).take(300)
print(reviews.report)

# %% [markdown]
# ## What a trial builds
#
# `build` makes the model, `batches` the data. The batch size is a parameter of the data, so it is searched too.

# %%
import keras

from keras_seq import losses, models, optimizers, tuning


class Reviews(tuning.HyperModel):
    def build(self, hp):
        options = {"bidirectional": hp.get("bidirectional")} if hp.get("architecture") == "gru" else {}
        model = models.classifier(
            vocabulary.size, 2, architecture=hp.get("architecture"), units=16, dropout=hp.get("dropout"), **options
        )
        model.compile(optimizers.Adam(hp.get("learning_rate")), losses.TokenCrossentropy(), metrics=["accuracy"])
        return model

    def batches(self, hp):
        order = data.shuffled(seed=1)
        return (
            train.apply(order).apply(data.bucketed(hp.get("tokens_per_batch"))),
            valid.apply(data.bucketed(4096)),
            [order],
        )


# %% [markdown]
# ## The search space
#
# A bag of words, "feedforward", has no direction. So `bidirectional` has a condition, and a trial without a GRU lacks
# it.

# %%
space = (
    tuning.Space()
    .choice("architecture", ["gru", "feedforward"])
    .choice("bidirectional", [True, False], when={"architecture": ["gru"]})
    .float("learning_rate", 1e-3, 3e-2, log=True)
    .float("dropout", 0.0, 0.4)
    .choice("tokens_per_batch", [256, 1024])
)
print(space)

# %% [markdown]
# ## The search
#
# Every trial trains on 40,000 tokens, eight times all of its texts, in four rounds with a validation after each. A
# trial that is below the median of the others after the same round is stopped. The search survives a kill: the same
# program continues it.

# %%
tuner = tuning.Tuner(
    Reviews(), "val_accuracy", directory="search", space=space, trials=8, tokens=40_000, rounds=4, seed=1
)
trials = tuner.search()

# %%
best = tuner.best()
print(f"best: {best.trial}, validation accuracy {best.score:.0%}")
for name, value in best.values.items():
    print(f"  {name:17} {value if isinstance(value, str | int) else round(value, 4)}")

# %% [markdown]
# ## What the search tells
#
# A line for each trial, through its values to its score. The dark lines are the good ones: they show which values
# matter.

# %%
from IPython.display import Image

Image(filename="search/plots/parallel_coordinates.png")

# %%
Image(filename="search/plots/score_against_cost.png")

# %% [markdown]
# ## The best score is too good
#
# The best of many noisy scores is partly luck. The examples that no trial has seen give a fair one:

# %%
model = keras.models.load_model(f"search/trial_{best.trial}/run/best.keras")
model.compile(loss=losses.TokenCrossentropy(), metrics=["accuracy"])
loss, accuracy = model.evaluate(examples.skip(700).apply(data.bucketed(4096)), verbose=0)
print(f"validation {best.score:.1%}, unseen {accuracy:.1%}")

# %% [markdown]
# Both are perfect here, since the task is easy once the network reads the order of the words and learns fast enough.
# On real data expect a gap.
#
# ## Next
#
# - The same for a recipe and your files, without code: `keras-seq tune sentiment --data-dir DIR --trials 20`.
# - Oracles, several processes, a measured search: [tuning](../tuning.md).
# - All architectures, each at its best learning rate: [compare](../compare.md).
