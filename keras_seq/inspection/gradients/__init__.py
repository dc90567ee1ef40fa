"""Gradients through time: norms at every step, Jacobians of a step, saturation of gates, updates, truncation."""

from keras_seq.inspection.gradients.norms import GradientNorms, gradient_norms

__all__ = ["GradientNorms", "gradient_norms"]
