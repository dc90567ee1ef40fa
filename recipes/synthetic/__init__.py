"""Generators of synthetic data: each recipe learns one of them in about a minute."""
