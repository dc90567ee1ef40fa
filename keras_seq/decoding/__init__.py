"""Turning a model that scores the next token into whole sequences, on any Keras backend."""

from keras_seq.decoding.beam import beam_search
from keras_seq.decoding.generate import generate, search
from keras_seq.decoding.greedy import greedy_search
from keras_seq.decoding.scoring import gnmt_penalty, power_penalty, score
from keras_seq.decoding.step import Hypotheses

__all__ = [
    "Hypotheses",
    "beam_search",
    "generate",
    "gnmt_penalty",
    "greedy_search",
    "power_penalty",
    "score",
    "search",
]
