"""What the recipes share: their common flags, how a run begins, how it is fit, what is reported.

A recipe is a page that reads top to bottom: data, model, compile, fit, evaluate, export. These are the functions it
calls, in that order; nothing here calls a recipe.
"""

from keras_seq.recipe.beginning import begin, data_folder, initialise, run_folder, vocabulary
from keras_seq.recipe.bucketing import batches
from keras_seq.recipe.fitting import fit, learning_rate
from keras_seq.recipe.options import Options, filled
from keras_seq.recipe.reporting import Result, by_kind, confusions, end, outputs, record, report, samples

__all__ = [
    "Options",
    "Result",
    "batches",
    "begin",
    "by_kind",
    "confusions",
    "data_folder",
    "end",
    "filled",
    "fit",
    "initialise",
    "learning_rate",
    "outputs",
    "record",
    "report",
    "run_folder",
    "samples",
    "vocabulary",
]
