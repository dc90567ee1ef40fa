"""Baselines that a trained model must beat."""
