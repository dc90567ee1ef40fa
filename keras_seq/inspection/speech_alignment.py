"""Where in a recording a model hears what."""

from typing import NamedTuple

import keras
import numpy as np


class SpeechAlignment(NamedTuple):
    """What `plots.speech_alignment` draws of one recording.

    Attributes:
        features: float `(frames, bands)`, the log mel spectrogram.
        weights: float `(names, steps)`: of a decoder, where it looks for each token; with CTC, the probability of each
            label at each step.
        names: of the tokens or labels.
        blank: which of the names is CTC's blank; None: there is none.
    """

    features: np.ndarray
    weights: np.ndarray
    names: list[str]
    blank: int | None


def speech_alignment(model: keras.Model, waveform: np.ndarray, vocabulary, text: str) -> SpeechAlignment:
    """Looks into a model that writes down what it hears.

    Args:
        model: a `recognizer` with CTC, or a `Seq2Seq` or `Transformer` with a `source_front_end`; the front end is
            an `audio_front_end`.
        waveform: float `(samples,)`.
        vocabulary: of the texts, its `pad_id` CTC's blank.
        text: what a decoder is to say, token by token: what it heard, say. CTC needs none.
    """
    attends = hasattr(model, "encode")
    front_end = model.source_front_end if attends else model.get_layer("front_end")
    log_mel = keras.Model(front_end.input, front_end.get_layer("log_mel").output)
    features = keras.ops.convert_to_numpy(log_mel(waveform[None]))[0]
    if not attends:
        weights = keras.ops.convert_to_numpy(keras.ops.softmax(model(waveform[None])))[0].T
        names = vocabulary.pieces(range(vocabulary.size))
        names[vocabulary.pad_id] = "blank"
        return SpeechAlignment(features, weights, names, vocabulary.pad_id)
    target = [*vocabulary.tokenize(text).numpy(), vocabulary.end_id]
    state = model.encode(waveform[None], max_length=len(target), attention_weights=True)
    _, state = model.decode(np.array([[vocabulary.start_id, *target[:-1]]]), state)
    weights = keras.ops.convert_to_numpy(state["attention"])[0]
    weights = weights.mean(axis=0) if weights.ndim == 3 else weights  # the heads' mean
    return SpeechAlignment(features, weights, vocabulary.pieces(target), None)
