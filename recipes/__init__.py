"""Recipes: one page for each application. `python -m recipes.NAME --help`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow starts: its greetings hide what a recipe prints
