"""Turning a model that scores the next token into whole sequences, on any Keras backend."""

from keras_seq.decoding.audit import AuditReport, audit
from keras_seq.decoding.beam import beam_search
from keras_seq.decoding.ctc import ctc
from keras_seq.decoding.generate import generate, search
from keras_seq.decoding.greedy import greedy_search
from keras_seq.decoding.perplexity import PerplexityReport, perplexity
from keras_seq.decoding.reranking import minimum_bayes_risk, rerank, score_candidates, tune_weights
from keras_seq.decoding.scoring import gnmt_penalty, power_penalty, score
from keras_seq.decoding.step import Hypotheses

__all__ = [
    "AuditReport",
    "Hypotheses",
    "PerplexityReport",
    "audit",
    "beam_search",
    "ctc",
    "generate",
    "gnmt_penalty",
    "greedy_search",
    "minimum_bayes_risk",
    "perplexity",
    "power_penalty",
    "rerank",
    "score",
    "score_candidates",
    "search",
    "tune_weights",
]
