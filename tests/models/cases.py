"""One tiny model for each architecture and each option that changes the path through it."""

import functools
import warnings

import numpy as np

from keras_seq import models
from tests.cells import LeakyCell
from tests.reference import backend_cases, fill, quick

PAD, START, END = 0, 2, 3
IDS = {"pad_id": PAD, "start_id": START, "end_id": END}
V = 9


def recurrent(cell, attention, target_vocabulary_size=None, num_layers=1, bidirectional=False, **options):
    options |= {"cell": cell, "attention": attention, "num_layers": num_layers, "bidirectional": bidirectional}
    return lambda dtype: models.Seq2Seq(V, target_vocabulary_size, units=4, dtype=dtype, **options)


def transformer(target_vocabulary_size=None, **options):
    options = {"units": 4, "num_heads": 2, "intermediate_dim": 6, "num_layers": 1, "dropout": 0.0, **options}
    return lambda dtype: models.Transformer(V, target_vocabulary_size, dtype=dtype, **options)


RECURRENT = {
    # A state of one tensor and of two, with each attention and without; each cell with two of them.
    **{f"{c}-{a or 'none'}": recurrent(c, a) for c in ("gru", "lstm") for a in (None, "general")},
    "rnn-dot": recurrent("rnn", "dot"),
    "lstm-additive": recurrent("lstm", "additive"),
    "gru-scaled-dot": recurrent("gru", "scaled_dot"),
    "gru-location-deep": recurrent("gru", "location", num_layers=2, bidirectional=True),
    "lstm-none-reversed-deep": recurrent("lstm", None, num_layers=2, reverse_source=True, bridge="dense"),
    "gru-additive-reversed-deep": recurrent("gru", "additive", 7, 2, True, reverse_source=True, bridge="zero"),
    "mingru-general-deep": recurrent("mingru", "general", num_layers=2, bidirectional=True),
    "minlstm-none-reversed": recurrent("minlstm", None, reverse_source=True),
    "rglru-additive-deep": recurrent("rglru", "additive", num_layers=3, residual_from=2, layer_norm=True),
    "own-general-deep": recurrent(LeakyCell, "general", None, 3, residual_from=1, layer_norm=True, bridge="dense"),
    "lstm-general-deep-untied": recurrent("lstm", "general", 7, 2, True, tie_embeddings=False, embedding_dim=3),
}
TRANSFORMERS = {
    "transformer-pre": transformer(num_decoder_layers=2),
    "transformer-post": transformer(7, normalize_first=False, activation="gelu"),
    "transformer-untied": transformer(tie_embeddings=False),
    "transformer-modern": transformer(
        num_heads=2, layer_normalization="rms", activation="swiglu", positions="rotary", num_key_value_heads=1
    ),
    "transformer-near": transformer(units=8, num_heads=4, num_key_value_heads=2, positions="alibi", attention_window=1),
    "transformer-learned": transformer(7, positions="learned", max_positions=9, normalize_first=False),
}
CASES = {**RECURRENT, **TRANSFORMERS}
# For what costs a compilation each: the cells, the attentions, the bridges and both kinds of vocabulary, once.
FEW = quick(
    ["rnn-dot", "lstm-none-reversed-deep", "gru-additive-reversed-deep", "lstm-general-deep-untied", *TRANSFORMERS],
    few=[
        "lstm-none-reversed-deep",
        "gru-additive-reversed-deep",
        "transformer-untied",
        "transformer-modern",
        "transformer-learned",
    ],
)
# Another backend compiles all that it runs: there, what has code of its own.
ALL = backend_cases(
    quick(
        CASES,
        few=[
            "rnn-dot",
            "lstm-additive",
            "gru-scaled-dot",
            "gru-location-deep",
            "lstm-none-reversed-deep",
            "mingru-general-deep",
            "rglru-additive-deep",
            "transformer-untied",
            "transformer-modern",
            "transformer-near",
            "transformer-learned",
        ],
    ),
    on_jax=[
        "lstm-none-reversed-deep",
        "gru-location-deep",
        "rglru-additive-deep",
        "own-general-deep",
        "transformer-modern",
        "transformer-near",
        "transformer-learned",
    ],
)
# One of each kind, for what does not depend on the architecture.
TWO = ["gru-additive-reversed-deep", "transformer-modern"]

SOURCE = np.array([[4, 5, 6, 7, END], [8, 4, END, PAD, PAD], [END, PAD, PAD, PAD, PAD]], "int32")
TARGET = np.array([[START, 4, 5, 6], [START, 6, PAD, PAD], [START, 5, 4, PAD]], "int32")
INPUTS = {"source": SOURCE, "target": TARGET}


@functools.cache
def model(name, dtype="float32"):
    """Shared between tests, which therefore do not train it."""
    return fresh(name, dtype)


def fresh(name, dtype="float32"):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of Keras: nothing is to be said of masks or unbuilt layers
        return fill(CASES[name](dtype), scale=1.0)  # large, so that what ought to matter matters visibly
