# %% [markdown]
# # Digits from sound
#
# A recording of dialled digits becomes the digits. The labels do not tell where in the recording a digit begins: the
# model finds that by itself. You learn about features of sound, training with CTC, and how to look at an alignment.
#
# ## The data
#
# Each digit is two tones, first that of its row on the keypad, then that of its column. Length, tuning and loudness
# vary, and there is noise. In place of it take files of yours: `data.read_audio`.

# %%
import numpy as np

from keras_seq import data

names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
keys = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (None, 0, None))
tones = {key: (row, column) for row, line in zip((697, 770, 852, 941), keys, strict=True)
         for column, key in zip((1209, 1336, 1477), line, strict=True)}  # fmt: skip
random = np.random.default_rng(1)
rate = 8000  # samples a second


def dialled(digit):
    length = random.integers(1000, 1600)
    time = random.uniform(0.985, 1.015) * np.arange(length) / rate
    row, column = (np.sin(2 * np.pi * tone * time) for tone in tones[digit])
    wave = random.uniform(0.1, 0.6) * np.where(np.arange(length) < length // 2, row, column)
    return (wave + 0.02 * random.standard_normal(length)).astype("float32")


def takes(count):
    digits = [number % 10 for number in range(count)]
    return data.Audio(rate, [dialled(digit) for digit in digits], digits)


train = data.concatenate_recordings(takes(300), random.integers(1, 5, 600), seed=1)
test = data.concatenate_recordings(takes(100), random.integers(1, 7, 60), seed=2)
print(f"{len(train)} recordings for training; the first has {len(train.waveform(0)) / rate:.2f} s: {train.labels[0]}")

# %% [markdown]
# ## What the model gets
#
# A waveform has 8,000 numbers a second, too many steps for a recurrent network. Its energy in 40 bands, 100 times a
# second, is what the ear hears. Convolutions then leave 25 steps a second.

# %%
import matplotlib.pyplot as plt

from keras_seq import layers

number = max(range(60), key=lambda number: len(test.labels[number]))
wave = test.waveform(number)
figure, axes = plt.subplots(2, 1, figsize=(9, 3.6), layout="constrained")
axes[0].plot(np.arange(len(wave)) / rate, wave, linewidth=0.4)
axes[0].set(xlim=(0, len(wave) / rate), ylabel="waveform")
bands = layers.LogMel(rate, num_mel_bins=40)(wave[None])[0]
axes[1].imshow(np.asarray(bands).T, origin="lower", aspect="auto", extent=(0, len(wave) / rate, 0, 40))
axes[1].set(xlabel="seconds", ylabel="mel band")
plt.show()

# %% [markdown]
# ## CTC
#
# At each of the 25 steps a second the model predicts a digit or the blank, 0. CTC adds up the probability of all ways
# to place the digits among the steps, so that no alignment is needed. Digit d is the label d + 1.
#
# A batch has up to 12 seconds of sound, in recordings whose lengths differ by at most half a second. The learning
# rate rises over the first 100 updates and then falls.

# %%
import keras

from keras_seq import losses, models, optimizers, schedules

labels = [[digit + 1 for digit in digits] for digits in train.labels]
examples = data.Audio(rate, train.waveforms, labels).dataset().cache()
bucketed = data.bucketed(12 * rate, width=rate // 2, axes=("S", None))  # the sound decides, not the labels
batches = examples.apply(data.shuffled(seed=1)).apply(bucketed)
updates = 8 * len(list(batches))

keras.utils.set_random_seed(1)
front_end = models.audio_front_end(48, sampling_rate=rate, num_masks=0, dropout=0.1)
model = models.recognizer(11, front_end=front_end, architecture="gru", units=48, num_layers=1, dropout=0.1)
learning_rate = schedules.LinearDecay(0.01, warmup_steps=100, total_steps=updates)
model.compile(optimizers.Adam(learning_rate, global_clipnorm=1.0), losses.CTCLoss())
history = model.fit(batches, epochs=8, verbose=0)
print([round(value, 2) for value in history.history["loss"]])

# %% [markdown]
# At first the model predicts only blanks, and the loss stands still. Then it finds the first digits, and the loss
# falls.
#
# ## Transcripts
#
# The task takes waveforms or sound files. Recordings of the test have up to six digits, those of the training up to
# four.

# %%
from keras_seq import scores, tasks

dial = tasks.Transcription(model, names, search="greedy")
heard = dial([test.waveform(number) for number in range(60)])
said = [" ".join(names[digit] for digit in digits) for digits in test.labels]
print("true      ", said[number])
print("recognized", heard[number])
print(f"word error rate {scores.word_error_rate(heard, said):.1%}")

# %% [markdown]
# ## Where is each digit?
#
# The probability of each label at each step. A digit is a short peak at the change from its first tone to its second,
# and the blank fills the time between.

# %%
from IPython.display import Image

from keras_seq.inspection import plots

probabilities = np.asarray(keras.ops.softmax(model(wave[None]))[0]).T  # (11, T)
path = plots.speech_alignment(wave, rate, np.asarray(bands), probabilities, ["blank", *names], "alignment.png", blank=0)
Image(filename=path)

# %% [markdown]
# ## Next
#
# - Recorded digits, attention in place of CTC, your own files: [the recipe](../speech.md).
# - Beam search with a lexicon or a language model: `decoding.ctc`.
