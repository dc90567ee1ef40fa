"""What the recipes share: their common flags, how a run begins, how it is fit, what is reported.

A recipe is a page that reads top to bottom: data, model, compile, fit, evaluate, export. These are the functions it
calls, in that order; nothing here calls a recipe.
"""

from keras_seq.experiment.batching import batches
from keras_seq.experiment.options import Options, with_defaults
from keras_seq.experiment.reporting import (
    Result,
    confusions,
    finish,
    predict_batches,
    record,
    report,
    report_by_label,
    samples,
)
from keras_seq.experiment.setup import data_folder, initialize, run_folder, setup, vocabulary
from keras_seq.experiment.training import fit, learning_rate

__all__ = [
    "Options",
    "Result",
    "batches",
    "setup",
    "report_by_label",
    "confusions",
    "data_folder",
    "finish",
    "with_defaults",
    "fit",
    "initialize",
    "learning_rate",
    "predict_batches",
    "record",
    "report",
    "run_folder",
    "samples",
    "vocabulary",
]
