"""Models as others run them, without this package."""

from keras_seq.export.saved_model import SAMPLES, saved_model

__all__ = ["SAMPLES", "saved_model"]
