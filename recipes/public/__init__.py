"""Readers of published data sets in their original format."""
