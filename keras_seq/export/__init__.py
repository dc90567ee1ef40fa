"""Models as others run them, without this package."""

from keras_seq.export.saved_model import saved_model

__all__ = ["saved_model"]
