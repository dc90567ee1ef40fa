# %% [markdown]
# # Sentiment from a DataFrame
#
# A table of reviews becomes a classifier that takes strings. You learn the path from a DataFrame to a task, and how
# to see what a recurrent network does with the order of words.
#
# ## The data
#
# Each review has two clauses, and the second one decides the mood. The same words in the other order have the other
# mood, so counting words does not help. In place of this table take one of yours, with a column of texts and a column
# of labels.

# %%
import itertools
import random

import pandas as pd

subjects = ["acting", "story", "music", "ending", "pace", "camera"]
words = {"good": ["warm", "fresh", "funny", "clever", "moving"], "bad": ["dull", "flat", "cold", "loud", "clumsy"]}
rows = []
for mood, other in (("good", "bad"), ("bad", "good")):
    for (first, last), one, two in itertools.product(itertools.permutations(subjects, 2), words[other], words[mood]):
        rows.append({"review": f"the {first} was {one} , but the {last} was {two} .", "mood": mood})
random.seed(1)
random.shuffle(rows)
frame = pd.DataFrame(rows)
print(frame.head().to_string(index=False))

# %% [markdown]
# ## Texts and labels
#
# `data.read_labeled_text` checks the table and counts what it reads. It refuses a column of identifiers or a single
# label.

# %%
from keras_seq import data, text

reviews = data.read_labeled_text(frame, text="review", label="mood")
train, test = reviews.select(range(1200)), reviews.select(range(1200, 1500))
vocabulary = text.Words.train(train.texts)
print(reviews.report)
print(train.class_counts(), vocabulary.size, "ids")
print(vocabulary.tokenize("the story was dull .").numpy())

# %% [markdown]
# ## Batches
#
# Texts of like length go into one batch. A batch has at most 1,024 ids, with the padding.

# %%
batches = train.dataset().apply(vocabulary.encoded()).cache().apply(data.shuffled(seed=1)).apply(data.bucketed(1024))
ids, labels = next(iter(batches))
print(ids.shape, labels.shape)

# %% [markdown]
# ## The model
#
# A bidirectional GRU reads the words, attention pooling takes a weighted mean of its steps, and a dense layer gives
# the scores.

# %%
import keras

from keras_seq import losses, models, optimizers

keras.utils.set_random_seed(1)
model = models.classifier(vocabulary.size, 2, architecture="gru", units=32, dropout=0.1)
model.compile(optimizers.Adam(0.01), losses.TokenCrossentropy(), metrics=["accuracy"])
history = model.fit(batches, epochs=4, verbose=0)
print([round(value, 3) for value in history.history["accuracy"]])

# %% [markdown]
# ## The task
#
# A task is the model with what stands before and after it: strings in, labels out.

# %%
from keras_seq import tasks

mood = tasks.Classification(model, vocabulary, reviews.label_names)
predicted = mood(test.texts)
right = [label == reviews.label_names[number] for label, number in zip(predicted, test.labels, strict=True)]
print(f"test accuracy {sum(right) / len(right):.0%}")
print(mood.details(["the music was flat , but the story was clever ."])[0])

# %% [markdown]
# ## When does the model decide?
#
# The probability of "good" after each word of two reviews with the same words in another order. Only the last values
# are answers: the model was trained on whole reviews, so it has no reason to doubt after half of one.

# %%
import matplotlib.pyplot as plt

pair = ["the story was clever , but the music was flat .", "the music was flat , but the story was clever ."]
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for review in pair:
    tokens = review.split()
    beginnings = [" ".join(tokens[:count]) for count in range(1, len(tokens) + 1)]
    good = [result.probabilities["good"] for result in mood.details(beginnings)]
    axes.plot(range(1, len(tokens) + 1), good, marker="o", label=review)
axes.set(xlabel="words read", ylabel="probability of good", ylim=(-0.05, 1.05), xticks=range(1, len(tokens) + 1))
figure.legend(loc="outside upper center", ncols=2, fontsize="small")
plt.show()

# %% [markdown]
# ## Next
#
# - `mood.save("runs/mood")` keeps it, and `export.saved_model(mood, "saved_models/mood")` writes a model for
#   processes without keras_seq: [export](../export.md).
# - Your own CSV from the command line: [your own data](../start/your_data.md).
# - Which architecture should you take? [Measurements](../guides/architectures.md).
