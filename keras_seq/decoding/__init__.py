"""Decoding: turns a model that scores the next token into whole sequences, on any Keras backend."""

from keras_seq.decoding.audit import AuditReport, audit
from keras_seq.decoding.beam import Beam
from keras_seq.decoding.constraints import (
    Allowed,
    Banned,
    MaxLength,
    MinLength,
    NoRepeat,
    Prefix,
    RepetitionPenalty,
)
from keras_seq.decoding.contrastive import Contrastive
from keras_seq.decoding.ctc import ctc
from keras_seq.decoding.ensemble import Ensemble
from keras_seq.decoding.forced_scoring import PENALTIES, gnmt_penalty, power_penalty, score, sockeye_penalty
from keras_seq.decoding.generate import generate
from keras_seq.decoding.greedy import Greedy
from keras_seq.decoding.lexical_constraints import RequiredPhrases, padded_phrases
from keras_seq.decoding.perplexity import PerplexityReport, perplexity
from keras_seq.decoding.prompting import PromptedModel
from keras_seq.decoding.protocol import Hypotheses
from keras_seq.decoding.reranking import minimum_bayes_risk, rerank, score_candidates, tune_weights
from keras_seq.decoding.sampling import Sampling
from keras_seq.decoding.search import SEARCHES, get_search, search
from keras_seq.decoding.streaming import stream
from keras_seq.decoding.token_losses import TokenLosses
from keras_seq.decoding.unknown_words import attended_positions, replace_unknown

__all__ = [
    "PENALTIES",
    "SEARCHES",
    "Allowed",
    "AuditReport",
    "Banned",
    "Beam",
    "PromptedModel",
    "Contrastive",
    "Ensemble",
    "RequiredPhrases",
    "Greedy",
    "Hypotheses",
    "MaxLength",
    "MinLength",
    "NoRepeat",
    "PerplexityReport",
    "Prefix",
    "RepetitionPenalty",
    "Sampling",
    "TokenLosses",
    "audit",
    "ctc",
    "get_search",
    "generate",
    "gnmt_penalty",
    "attended_positions",
    "minimum_bayes_risk",
    "padded_phrases",
    "perplexity",
    "power_penalty",
    "replace_unknown",
    "rerank",
    "score",
    "score_candidates",
    "search",
    "sockeye_penalty",
    "stream",
    "tune_weights",
]

_INSTEAD = {  # names of other libraries, and names that come to mind
    "BeamSampler": "Beam",
    "BeamSearch": "Beam",
    "BeamSearchDecoder": "Beam",
    "GreedyDecoder": "Greedy",
    "GreedySampler": "Greedy",
    "GreedySearch": "Greedy",
    "TopK": "Sampling(top_k=...)",
    "TopKSampler": "Sampling(top_k=...)",
    "TopPSampler": "Sampling(top_p=...)",
    "beam_search": "search(..., search='beam'), or Beam",
    "ctc_decode": "ctc",
    "decode": "generate for texts, or search for ids",
    "greedy_search": "search(..., search='greedy'), or Greedy",
    "sample": "search(..., search='sampling'), or Sampling",
    "translate": "generate",
}


def __getattr__(name):
    advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")
