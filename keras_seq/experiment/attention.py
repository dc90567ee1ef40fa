"""Plots of the alignment of a model's output with its input."""

import os

import numpy as np

from keras_seq import tasks
from keras_seq.inspection import plots
from keras_seq.inspection.speech_alignment import speech_alignment


def draw_attention(task: "tasks.Translation", sentence: str, path: str | os.PathLike[str]) -> None:
    """Draws the attention weights of each token of a translation over the source tokens. Does nothing for a model
    without attention.

    Args:
        task: task that translates the sentence. Its model is then run again on both sides.
        sentence: source text.
        path: file of the plot.
    """
    if not getattr(task.model, "has_attention", False):
        return
    plots.attention_map(*task.attention(sentence), path)


def draw_alignment(task: "tasks.Task", waveform: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Draws a waveform, its features and, at each time, the probabilities of the labels or the decoder's attention.

    Args:
        task: task that transcribes the recording.
        waveform: `(samples,)`, at the task's sampling rate.
        path: file of the plot.
    """
    features, weights, names, blank = speech_alignment(task.model, waveform, task.vocabulary, task(waveform))
    plots.speech_alignment(waveform, task.sampling_rate, features, weights, names, path, blank=blank)
