"""Exports of models for use without this package. The packages of a format are imported when it is written."""

from keras_seq.export.ctranslate2 import ctranslate2
from keras_seq.export.litert import litert
from keras_seq.export.onnx import onnx
from keras_seq.export.saved_model import saved_model

__all__ = ["ctranslate2", "litert", "onnx", "saved_model"]
