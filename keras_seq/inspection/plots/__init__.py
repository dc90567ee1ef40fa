"""Plots of a run, as files. matplotlib is imported when the first one is drawn, and no display is needed."""

from keras_seq.inspection.plots.alignments import attention_map, speech_alignment
from keras_seq.inspection.plots.bucketing import buckets
from keras_seq.inspection.plots.comparison import compared_bars, compared_curves, score_grid, score_ranges
from keras_seq.inspection.plots.cost import cost_by_layer
from keras_seq.inspection.plots.curves import learning_curve, loss_by_position, score_by_length
from keras_seq.inspection.plots.gradients import (
    gate_saturation,
    gradient_curve,
    gradient_heat_map,
    singular_values,
    truncation_bias,
    unit_gradients,
)
from keras_seq.inspection.plots.representations import attention_heads, sentence_map, trajectories
from keras_seq.inspection.plots.rolls import piano_roll
from keras_seq.inspection.plots.series import errors_by_step, forecasts
from keras_seq.inspection.plots.tables import confusion_matrix, shares
from keras_seq.inspection.plots.tuning import parallel_coordinates, parameter_importance, score_against_cost

__all__ = [
    "attention_heads",
    "attention_map",
    "buckets",
    "compared_bars",
    "compared_curves",
    "confusion_matrix",
    "cost_by_layer",
    "errors_by_step",
    "forecasts",
    "gate_saturation",
    "gradient_curve",
    "gradient_heat_map",
    "learning_curve",
    "loss_by_position",
    "parallel_coordinates",
    "parameter_importance",
    "piano_roll",
    "score_against_cost",
    "score_by_length",
    "score_grid",
    "score_ranges",
    "sentence_map",
    "shares",
    "singular_values",
    "speech_alignment",
    "trajectories",
    "truncation_bias",
    "unit_gradients",
]
