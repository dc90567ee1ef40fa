"""Recipes: one page for each application. `python -m recipes.NAME --help`, or `keras-seq train NAME --help`."""

from keras_seq.quiet import start_quietly

start_quietly()  # before TensorFlow starts: its greetings hide what a recipe prints
