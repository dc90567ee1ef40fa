"""Models that decode: they go on from a state, token by token."""

from keras_seq.models.language_model import LanguageModel
from keras_seq.models.seq2seq import Seq2Seq
from keras_seq.models.transformer import Transformer

__all__ = ["LanguageModel", "Seq2Seq", "Transformer"]
