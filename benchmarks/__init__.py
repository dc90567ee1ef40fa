"""Measurements side by side, for anyone to run again. `python -m benchmarks.NAME --help`."""
