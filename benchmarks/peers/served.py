"""A SavedModel that translates, for the servers of other projects: it notes the lengths of its batches."""

import json
import os
import pathlib

import tensorflow as tf
import tensorflow_text  # noqa: F401, its operations are in the graph


class Translator:
    """Translates lists of texts. Each batch is a line of the file BATCHES: the lengths of its texts in tokens, by the
    estimate of `keras-seq serve`."""

    def __init__(self):
        self.module = tf.saved_model.load(os.environ["MODEL"])
        self.function = self.module.signatures["translate"]
        self.batches = pathlib.Path(os.environ["BATCHES"])
        self(["a"])

    def __call__(self, texts: list[str]) -> list[str]:
        with self.batches.open("a") as file:
            file.write(json.dumps([max(len(text.split()), len(text.encode()) // 4) + 1 for text in texts]) + "\n")
        found = self.function(text=tf.constant(texts))["text"].numpy().tolist()
        return [text.decode("utf-8", "replace") for text in found]
