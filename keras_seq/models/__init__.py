"""Classes for models that decode token by token from a state, and functions that build all other models."""

import keras_seq.optimizers  # noqa: F401  registers optimizers of compiled models
from keras_seq.models.binary_frames import binary_frame_predictor, probabilities
from keras_seq.models.calibration import calibrate
from keras_seq.models.classifier import classifier
from keras_seq.models.forecaster import forecaster
from keras_seq.models.language_model import LanguageModel
from keras_seq.models.recognizer import audio_front_end, recognizer
from keras_seq.models.seq2seq import Seq2Seq
from keras_seq.models.tagger import best_tags, tagger
from keras_seq.models.transformer import Transformer
from keras_seq.models.video import frame_predictor, next_frames, video_classifier

__all__ = [
    "LanguageModel",
    "Seq2Seq",
    "Transformer",
    "audio_front_end",
    "best_tags",
    "binary_frame_predictor",
    "calibrate",
    "classifier",
    "forecaster",
    "frame_predictor",
    "next_frames",
    "probabilities",
    "recognizer",
    "tagger",
    "video_classifier",
]

_INSTEAD = {  # names of other libraries, and names that come to mind
    "BiLSTM": "tagger, or classifier(..., architecture='lstm', bidirectional=True)",
    "CNN": "classifier(..., architecture='cnn')",
    "CTC": "recognizer",
    "Classifier": "classifier",
    "EncoderDecoder": "Seq2Seq or Transformer",
    "Forecaster": "forecaster",
    "GRU": "classifier, tagger, LanguageModel or Seq2Seq, with architecture='gru' or cell='gru'",
    "LSTM": "classifier, tagger, LanguageModel or Seq2Seq, with architecture='lstm' or cell='lstm'",
    "Recognizer": "recognizer",
    "Tagger": "tagger",
    "TextClassifier": "classifier",
    "TransformerEncoder": "classifier(..., architecture='transformer')",
}


def __getattr__(name):
    advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")
