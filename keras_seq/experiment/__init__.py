"""Shared parts of the recipes: common flags, setup of a run, training and reporting.

A recipe reads top to bottom: data, model, compile, fit, evaluate, export. It calls these functions in that order.
Nothing here calls a recipe.
"""

from keras_seq.experiment.attention import draw_alignment, draw_attention
from keras_seq.experiment.batching import batches
from keras_seq.experiment.clips import frame_batches, frames_of, read_clips
from keras_seq.experiment.folds import cross_validate
from keras_seq.experiment.labeled_text import LabeledTextFlags, hold_out_last
from keras_seq.experiment.options import Options, preset, with_defaults
from keras_seq.experiment.parallel_text import ParallelTextFlags
from keras_seq.experiment.reporting import (
    Result,
    confusions,
    data_name,
    finish,
    record,
    report,
    report_by_label,
    samples,
    write_rows,
)
from keras_seq.experiment.series import draw_forecasts, find_csv, find_season, forecast_windows
from keras_seq.experiment.setup import data_folder, initialize, run_folder, setup, vocabulary, with_data, word_vectors
from keras_seq.experiment.tagged_text import TaggedTextFlags, divide_tagged, usual_tags
from keras_seq.experiment.training import adamw, fit, learning_rate

__all__ = [
    "LabeledTextFlags",
    "Options",
    "ParallelTextFlags",
    "Result",
    "TaggedTextFlags",
    "adamw",
    "batches",
    "confusions",
    "cross_validate",
    "data_folder",
    "data_name",
    "divide_tagged",
    "draw_alignment",
    "draw_attention",
    "draw_forecasts",
    "find_csv",
    "find_season",
    "finish",
    "fit",
    "forecast_windows",
    "frame_batches",
    "frames_of",
    "hold_out_last",
    "initialize",
    "learning_rate",
    "preset",
    "read_clips",
    "record",
    "report",
    "report_by_label",
    "run_folder",
    "samples",
    "setup",
    "usual_tags",
    "vocabulary",
    "with_data",
    "with_defaults",
    "word_vectors",
    "write_rows",
]
