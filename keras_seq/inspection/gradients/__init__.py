"""Gradients through time: norms at every step, Jacobians of a step, saturation, updates, truncation."""

from keras_seq.inspection.gradients.jacobians import jacobian_singular_values, step_jacobian
from keras_seq.inspection.gradients.norms import GradientNorms, gradient_norms
from keras_seq.inspection.gradients.saturation import DeadUnits, GateSaturation, dead_units, gate_saturation
from keras_seq.inspection.gradients.truncation import TruncationBias, truncation_bias
from keras_seq.inspection.gradients.updates import ParameterNorm, parameter_norms

__all__ = [
    "DeadUnits",
    "GateSaturation",
    "GradientNorms",
    "ParameterNorm",
    "TruncationBias",
    "dead_units",
    "gate_saturation",
    "gradient_norms",
    "jacobian_singular_values",
    "parameter_norms",
    "step_jacobian",
    "truncation_bias",
]
