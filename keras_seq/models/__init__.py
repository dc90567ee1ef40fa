"""Models that decode: they `encode` a source and `decode` target tokens from a state."""

from keras_seq.models.seq2seq import Seq2Seq
from keras_seq.models.transformer import Transformer

__all__ = ["Seq2Seq", "Transformer"]
