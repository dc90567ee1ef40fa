"""Models as others run them, without this package. What a format needs is imported when it is written."""

from keras_seq.export.ctranslate2 import ctranslate2
from keras_seq.export.decoding_tasks import Generation, Translation
from keras_seq.export.litert import litert
from keras_seq.export.mapping_tasks import Classification, Forecasting, Tagging, Tensors
from keras_seq.export.onnx import onnx
from keras_seq.export.samples import SAMPLES
from keras_seq.export.saved_model import saved_model
from keras_seq.export.transcription import Transcription

__all__ = [
    "SAMPLES",
    "Classification",
    "Forecasting",
    "Generation",
    "Tagging",
    "Tensors",
    "Transcription",
    "Translation",
    "ctranslate2",
    "litert",
    "onnx",
    "saved_model",
]
