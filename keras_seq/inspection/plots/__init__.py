"""Plots of a run, as files. matplotlib is imported when the first one is drawn, and no display is needed."""

from keras_seq.inspection.plots.alignments import attention_map, speech_alignment
from keras_seq.inspection.plots.bucketing import buckets
from keras_seq.inspection.plots.curves import learning_curve, loss_by_position
from keras_seq.inspection.plots.rolls import piano_roll
from keras_seq.inspection.plots.series import errors_by_step, forecasts
from keras_seq.inspection.plots.tables import confusion_matrix, shares
from keras_seq.inspection.plots.tuning import parallel_coordinates, parameter_importance, score_against_cost

__all__ = [
    "attention_map",
    "buckets",
    "confusion_matrix",
    "errors_by_step",
    "forecasts",
    "learning_curve",
    "loss_by_position",
    "parallel_coordinates",
    "parameter_importance",
    "piano_roll",
    "score_against_cost",
    "shares",
    "speech_alignment",
]
