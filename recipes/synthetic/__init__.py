"""Generators of synthetic data, on which each recipe trains in about a minute."""
