"""Recipes: one file for each application. See `python -m recipes.NAME --help` or `keras-seq train NAME --help`."""

from keras_seq.quiet import start_quietly

start_quietly()  # before TensorFlow starts, whose log lines hide the output of a recipe
