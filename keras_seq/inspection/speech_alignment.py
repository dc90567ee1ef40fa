"""The alignment between a recording and a model's output."""

from typing import NamedTuple

import keras
import numpy as np

__all__ = ["SpeechAlignment", "speech_alignment"]


class SpeechAlignment(NamedTuple):
    """The data of one recording for `plots.speech_alignment`.

    Attributes:
        features: float `(frames, bands)`, the log mel spectrogram.
        weights: float `(names, steps)`: for a decoder, the attention weights of each token; with CTC, the probability
            of each label at each step.
        names: names of the tokens or labels.
        blank: index of CTC's blank in the names, or None.
    """

    features: np.ndarray
    weights: np.ndarray
    names: list[str]
    blank: int | None


def speech_alignment(model: keras.Model, waveform: np.ndarray, vocabulary, text: str) -> SpeechAlignment:
    """Aligns a recording with the output of a model that transcribes it.

    Args:
        model: a `recognizer` with CTC, or a `Seq2Seq` or `Transformer` with a `source_front_end`. The front end is
            an `audio_front_end`.
        waveform: float `(samples,)`.
        vocabulary: vocabulary of the texts, with CTC's blank as its `pad_id`.
        text: target text for a decoder, such as its transcript. Unused with CTC.
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
    weights = weights.mean(axis=0) if weights.ndim == 3 else weights  # mean over the heads
    return SpeechAlignment(features, weights, vocabulary.pieces(target), None)
